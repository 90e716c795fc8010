import postgres from 'postgres'
import t, { type Test } from 'tap'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import type { NameRecord } from '../support/name-server.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { rawRequest } from '../support/raw-http.ts'
import { startResolverStage, whyNoResolverStage } from '../support/resolver-stage.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

/*
 * Names that no name server answers. getaddrinfo holds one of libuv's four threads for each such query. With four of
 * them under way no other name could be resolved, so that every request would get 503.
 */

const reason = whyNoResolverStage()
const SILENT = Array.from({ length: 6 }, (_, n) => `silent${n}.test`)
const KNOWN: Readonly<Record<string, NameRecord>> = {
  'db.test': { addresses: ['127.0.0.1'], ttl: 1 },
  'api.test': { addresses: ['127.0.0.1'], ttl: 1 },
}
/** The deadline of a look-up includes connecting to the database. The C library waits 10 s for a silent server. */
const USUAL_MS = 3000

const HANDSHAKE = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n'

let server: TestPostgres
t.before(async () => {
  server = await startPostgres()
})
t.teardown(() => server.close())

async function setUp(t: Test, silent: readonly string[]) {
  const databaseUrl = await server.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  const token = await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })
  const upstream = await startRecordingUpstream()
  const records = {
    ...KNOWN,
    ...Object.fromEntries(silent.map((name) => [name, { silent: 'all' } as const])),
  }
  const stage = await startResolverStage(t, { records })
  const byName = new URL(databaseUrl)
  byName.hostname = 'db.test'
  const health = { path: '/', interval: '250ms', timeout: '1s' }
  const dead = silent.map((name) => [
    name,
    { targets: [`http://${name}:81`], health, timeouts: { connect: '1s' } },
  ])
  const gateway = await startGateway({
    databaseUrl: byName.href,
    program: stage.program,
    env: { LOOKUP_TIMEOUT_MS: String(USUAL_MS) },
    routing: {
      upstreams: {
        main: { targets: [`http://api.test:${upstream.port}`] },
        ...Object.fromEntries(dead),
      },
      routes: [
        { path: '/', upstream: 'main' },
        { path: '/open', upstream: 'main', auth: 'none' },
        ...silent.map((name) => ({ path: `/${name}`, upstream: name, auth: 'none' })),
      ],
    },
  })
  t.teardown(async () => {
    await gateway.stop()
    await upstream.close()
    await sql.end()
  })
  const visit = async () => {
    const began = performance.now()
    const { status } = await ask({ url: `${gateway.url}/x`, headers: { Cookie: `auth_token=${token}` } })
    return { status, ms: performance.now() - began }
  }
  return {
    gateway,
    stage,
    visit,
    /** Ends the gateway's connections to the database, so that the next look-up has to resolve its name. */
    cut: () =>
      sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'poweron%'`,
  }
}

const unlessThere = reason === null ? '' : ` (NOT TESTED HERE: ${reason})`

t.test(
  `six target names without an answer delay neither the database nor another target${unlessThere}`,
  async (t) => {
    if (reason !== null) {
      t.pass(reason)
      return
    }
    const { gateway, stage, visit, cut } = await setUp(t, SILENT)
    await until(async () => (await visit()).status === 200)
    const attempts: Promise<unknown>[] = []
    const flood = setInterval(() => {
      for (const name of SILENT) {
        attempts.push(ask({ url: `${gateway.url}/${name}` }).catch(() => {}))
        attempts.push(rawRequest(gateway.port, HANDSHAKE(`/${name}`)).catch(() => {}))
      }
    }, 500)
    t.teardown(() => clearInterval(flood))
    for (let n = 0; n < 12; n++) {
      const began = performance.now()
      await cut()
      // A look-up may first pick another connection that was cut, too.
      await until(async () => (await visit()).status === 200)
      const ms = performance.now() - began
      t.ok(ms < USUAL_MS, `in its usual time, not ${Math.round(ms)} ms`)
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
    clearInterval(flood)
    await Promise.all(attempts)
    for (const name of SILENT)
      t.ok(stage.server.asked(`${name} A`) < 20, `${stage.server.asked(`${name} A`)} questions for ${name}`)
  },
)

t.test(`with a silent name server the addresses of a target stay in use${unlessThere}`, async (t) => {
  if (reason !== null) {
    t.pass(reason)
    return
  }
  const { gateway, stage, visit } = await setUp(t, [])
  await until(async () => (await visit()).status === 200)
  stage.server.records.set('api.test', { silent: 'all' })
  // Each request uses a new connection.
  for (let n = 0; n < 10; n++) {
    const { responses } = await rawRequest(gateway.port, HANDSHAKE('/open'))
    t.equal(responses[0]?.status, 200, 'what the target answers to a handshake')
    const { status, ms } = await visit()
    t.equal(status, 200)
    t.ok(ms < USUAL_MS, `in its usual time, not ${Math.round(ms)} ms`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  t.ok(stage.server.asked('api.test A') > 1, 'it was asked for again')
})

t.test(`with a silent name server the addresses of the database stay in use${unlessThere}`, async (t) => {
  if (reason !== null) {
    t.pass(reason)
    return
  }
  const { stage, visit, cut } = await setUp(t, [])
  await until(async () => (await visit()).status === 200)
  for (const name of stage.server.records.keys()) stage.server.records.set(name, { silent: 'all' })
  for (let n = 0; n < 10; n++) {
    const began = performance.now()
    await cut()
    await until(async () => (await visit()).status === 200)
    const ms = performance.now() - began
    t.ok(ms < USUAL_MS, `in its usual time, not ${Math.round(ms)} ms`)
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
})
