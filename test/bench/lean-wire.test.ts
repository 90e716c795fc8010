import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const EXCHANGES = 20
const CONNECTIONS = 64

async function listen(server: ReturnType<typeof createServer>): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

t.test('a small exchange is one write to the upstream and one to the client', async (t) => {
  const pieces = { upstream: 0, client: 0, connections: 0 }
  const backend = createServer({ noDelay: true }, (socket) => {
    pieces.connections++
    socket.on('error', () => {})
    socket.on('data', (data) => {
      pieces.upstream++
      if (data.includes('\r\n\r\n')) socket.write(OK)
    })
  })
  const port = await listen(backend)
  const gateway = await plainGateway(t, { targets: [`http://127.0.0.1:${port}`] })
  t.teardown(() => backend.close())

  const client = connect({ port: gateway.port, host: '127.0.0.1', noDelay: true })
  t.teardown(() => client.destroy())
  let text = ''
  client.on('data', (data) => {
    pieces.client++
    text += data.toString('latin1')
  })
  for (let nth = 1; nth <= EXCHANGES; nth++) {
    client.write('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n')
    while (text.split('\r\n\r\nok').length <= nth) await once(client, 'data')
  }
  t.same(pieces, { upstream: EXCHANGES, client: EXCHANGES, connections: 1 })
})

t.test('64 requests while the database does not answer send one query for each connection', async (t) => {
  const database = await startPostgres()
  t.teardown(() => database.close())
  const url = await database.createDatabase()
  const sql = postgres(url, { max: 1 })
  const rows = await Promise.all(Array.from({ length: CONNECTIONS }, () => insertToken(sql)))
  await sql.end()
  const backend = await startRawBackend(({ socket }) => void socket.write(OK))
  t.teardown(() => backend.close())
  const gateway = await startGateway({
    databaseUrl: url,
    routing: { upstreams: { api: { targets: [backend.url] } }, routes: [{ path: '/', upstream: 'api' }] },
    env: { DATABASE_POOL_SIZE: '4', LOOKUP_TIMEOUT_MS: '30000', ACCESS_LOG: 'off' },
  })
  t.teardown(() => gateway.stop())
  const tokens = await Promise.all(
    rows.map(({ id }) => signToken({ claims: { jti: id, exp: inSeconds(60) } })),
  )
  const ask = (token: string) => fetch(gateway.url, { headers: { cookie: `auth_token=${token}` } })
  // Their signatures are remembered then, and none of them comes to its look-up late.
  for (const { status } of await Promise.all(tokens.map(ask))) t.equal(status, 200)
  const before = await gateway.metric('gateway_token_queries_total')

  database.freeze()
  const answers = Promise.all(tokens.map(ask))
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === CONNECTIONS)
  database.thaw()
  for (const { status } of await answers) t.equal(status, 200)
  const queries = (await gateway.metric('gateway_token_queries_total')) - before
  t.ok(queries >= 1 && queries <= 5, `${queries} queries: one a connection, and one for those that came last`)
})
