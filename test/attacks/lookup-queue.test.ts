import postgres from 'postgres'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { openConnection, rawRequest } from '../support/raw-http.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'
import { shot } from './support.ts'

const QUEUE = 20

t.test(
  'past LOOKUP_QUEUE_MAX look-ups are refused at once: 503 overloaded, and nothing is forwarded',
  async (t) => {
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
      env: { LOOKUP_QUEUE_MAX: String(QUEUE), LOOKUP_TIMEOUT_MS: '5000' },
    })
    t.teardown(() => gateway.stop())
    const cookie = `Cookie: auth_token=${await signToken({ claims: { jti: row.id, exp: inSeconds(600) } })}`
    const ask = shot('request', '/x', [cookie])
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
