import { once } from 'node:events'
import type { Socket } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { openConnections, webSocketHandshake } from '../../bench/open-streams.ts'
import { schemaSql } from '../../gateway/cli/schema.ts'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const STREAMS = 1000
const RECHECK_MS = 500
const QUERIES = 'gateway_token_queries_total'

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const read = readSettings({ REVOCATION_CHANNEL: 'token_revoked' })
if (!read.ok) throw new Error(read.problems.join('; '))
await sql.unsafe(schemaSql(read.settings))
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const routing = {
  upstreams: { echo: { targets: [echo.url], maxConnections: STREAMS } },
  routes: [{ path: '/', upstream: 'echo' }],
}
const open: Socket[] = []
t.teardown(async () => {
  await echo.close()
  await sql.end({ timeout: 1 })
  await pg.close()
})

await sql`insert into "Token" select 't' || i, 'user-' || i, 's' || i, 'acme', 'ACTIVE', now() + interval '1 hour'
          from generate_series(0, ${STREAMS - 1}) i`
const tokens = await Promise.all(
  Array.from({ length: STREAMS }, (_, i) => signToken({ claims: { jti: `t${i}`, exp: inSeconds(3600) } })),
)

async function leave(gateway: TestGateway): Promise<void> {
  for (const socket of open.splice(0)) socket.destroy()
  await gateway.stop()
}

/** Half of them WebSockets, half server-sent events. */
async function openStreams(port: number): Promise<void> {
  await openConnections(open, STREAMS, (n) => {
    const token = tokens[n]!
    if (n % 2 === 0) return { port, bytes: webSocketHandshake('/ws', token), expected: ' 101 ' }
    const bytes = `GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: auth_token=${token}\r\n\r\n`
    return { port, bytes, expected: ' 200 ' }
  })
  for (const socket of open) socket.resume()
}

t.test('a thousand open streams are rechecked by one query in each interval', async (t) => {
  const gateway = await startGateway({
    databaseUrl,
    routing,
    env: { REVOCATION_CHANNEL: 'token_revoked', STREAM_RECHECK_MS: String(RECHECK_MS), ACCESS_LOG: 'off' },
  })
  t.teardown(() => leave(gateway))
  await openStreams(gateway.port)
  const before = await gateway.metric(QUERIES)
  const began = performance.now()
  await until(async () => (await gateway.metric(QUERIES)) >= before + 4)
  const lasted = performance.now() - began
  t.ok(lasted > 2.9 * RECHECK_MS, `four queries took ${lasted.toFixed(0)} ms: one in each interval`)
  t.equal(open.filter((socket) => socket.closed).length, 0)
})

t.test('streams of revoked tokens are closed by the notification, and the others stay', async (t) => {
  const gateway = await startGateway({
    databaseUrl,
    routing,
    env: { REVOCATION_CHANNEL: 'token_revoked', STREAM_RECHECK_MS: '0', ACCESS_LOG: 'off' },
  })
  t.teardown(() => leave(gateway))
  await openStreams(gateway.port)
  const closed = open.slice(10).map((socket) => once(socket, 'close'))
  await sql`update "Token" set status = 'REVOKED' where substring("id" from 2)::int >= 10`
  await Promise.all(closed)
  t.equal(await gateway.metric('gateway_streams_closed_total{reason="revoked"}'), STREAMS - 10)
  t.equal(open.filter((socket) => socket.closed).length, STREAMS - 10)
  t.equal(await gateway.metric('gateway_open_streams{kind="websocket"}'), 5)
  t.equal(await gateway.metric('gateway_open_streams{kind="sse"}'), 5)
})
