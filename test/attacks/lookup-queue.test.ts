import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { ask as askEither } from '../support/either-client.ts'
import { startGateway } from '../support/gateway.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { openConnection, rawRequest } from '../support/raw-http.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'
import { shot } from './support.ts'

const QUEUE = 20

/** A gateway whose database can be frozen, with the cookie of a good token. */
async function startStage(t: Test, env: Readonly<Record<string, string>>) {
  const [database, upstream] = await Promise.all([startPostgres(), startRecordingUpstream()])
  t.teardown(() => Promise.all([database.close(), upstream.close()]))
  const databaseUrl = await database.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  await sql.end()
  const gateway = await startGateway({
    databaseUrl,
    routing: {
      upstreams: { main: { targets: [upstream.url] } },
      routes: [{ path: '/', upstream: 'main' }],
    },
    env: { LOOKUP_QUEUE_MAX: String(QUEUE), ...env },
  })
  t.teardown(() => gateway.stop())
  const token = await signToken({ claims: { jti: row.id, exp: inSeconds(600) } })
  return { database, upstream, gateway, cookie: `auth_token=${token}` }
}

t.test(
  'past LOOKUP_QUEUE_MAX look-ups are refused at once: 503 overloaded, and nothing is forwarded',
  async (t) => {
    const { database, upstream, gateway, cookie } = await startStage(t, { LOOKUP_TIMEOUT_MS: '5000' })
    const ask = shot('request', '/x', [`Cookie: ${cookie}`])
    t.equal((await rawRequest(gateway.port, ask)).responses[0]?.status, 200)

    database.freeze()
    const waiting = await Promise.all(Array.from({ length: QUEUE }, () => openConnection(gateway.port)))
    for (const client of waiting) client.write(ask)
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) === QUEUE)
    for (let n = 0; n < 10; n++) {
      const since = performance.now()
      const { responses } = await rawRequest(gateway.port, ask)
      t.equal(responses[0]?.status, 503)
      t.equal(JSON.parse(responses[0]!.body.toString()).code, 'overloaded')
      t.ok(responses[0]?.header('retry-after'))
      t.ok(performance.now() - since < 1000, 'at once')
    }
    t.equal(upstream.requests.length, 1, 'none arrived')
    database.thaw()
    for (const client of waiting) {
      t.equal((await client.response()).status, 200, 'those that waited are served')
      client.destroy()
    }
  },
)

t.test('one connection of HTTP/2 does not fill LOOKUP_QUEUE_MAX: others get a place', async (t) => {
  const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
    'DNS:app.example.com',
  ])
  const { database, upstream, gateway, cookie } = await startStage(t, {
    LOOKUP_TIMEOUT_MS: '20000',
    TLS_CERT_FILE: certFile,
    TLS_KEY_FILE: keyFile,
  })
  database.freeze()
  const session = http2Client(t, gateway.port)
  let refused = 0
  const greedy = Array.from({ length: 100 }, async () => {
    const { status } = await askHttp2(session, { ':path': '/greedy', cookie })
    if (status === 503) refused++
    return status
  })
  const share = Math.floor((QUEUE * 7) / 8)
  await until(() => refused === 100 - share)
  const other = askEither(t, gateway.port, 'HTTP/1.1', { path: '/other', fields: [['Cookie', cookie]] })
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === share + 1)
  database.thaw()
  t.equal((await other.answer).status, 200)
  t.equal((await Promise.all(greedy)).filter((status) => status === 200).length, share)
  t.equal(upstream.requests.length, share + 1)
})
