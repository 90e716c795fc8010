import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import t from 'tap'
import { webSocketHandshake } from '../../bench/open-streams.ts'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { runCommand } from '../support/command.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby } from '../support/postgres.ts'
import { familyOf } from '../support/process-family.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'

/**
 * The attack: the agent that should stop an old primary is dead, and its server goes on. A second one is promoted, and a
 * token is revoked there. No connection to the old primary fails, and there the row is still ACTIVE.
 */
const KNOWN_WITHIN_MS = 250

const primary = await startPostgres()
const standby = await startStandby(primary)
const databaseUrl = await primary.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const agent = keepAliveAgent(32)

async function newCookie(type: 'access' | 'refresh', userId = 'alice'): Promise<string> {
  const { id } = await insertToken(sql, { userId, sessionId: `session of ${userId}` })
  const jwt = await signToken({ claims: { jti: id, type, exp: inSeconds(3600) } })
  return type === 'access' ? `auth_token=${jwt}` : `refresh_token=${jwt}`
}

const good = await newCookie('access', 'bob')
const goodRefresh = await newCookie('refresh', 'bob')
const access = await newCookie('access')
const refresh = await newCookie('refresh')
await newCookie('access', 'carol')
await until(async () => (await follower`select from "Token"`.catch(() => [])).length === 5)

const both = databaseUrl.replace(`:${primary.port}/`, `:${primary.port},127.0.0.1:${standby.port}/`)
const start = (env: Record<string, string>) =>
  startGateway({
    databaseUrl: both,
    routing: { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] },
    env: { ACCESS_LOG: 'off', SESSION_ENDPOINTS: 'on', STREAM_RECHECK_MS: '60000', ...env },
  })
const gateways = await Promise.all([start({ REVOCATION_CHANNEL: 'revoked' }), start({ WORKERS: '2' })])
const sockets: Socket[] = []
t.teardown(async () => {
  agent.destroy()
  for (const socket of sockets) socket.destroy()
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await Promise.all([echo.close(), sql.end({ timeout: 1 }), follower.end({ timeout: 1 })])
  await Promise.all([primary.close(), standby.close()])
})

const status = async ({ url }: TestGateway, cookie: string, path = '/', method = 'GET') =>
  (await ask({ url: url + path, method, agent, headers: { cookie } })).status

async function openStream({ port }: TestGateway, cookie: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  socket.write(webSocketHandshake('/ws', cookie.replace('auth_token=', '')))
  const [head] = await once(socket, 'data')
  if (!String(head).startsWith('HTTP/1.1 101')) throw new Error(String(head))
  socket.resume()
  return socket
}

const looks = async (server: postgres.Sql) =>
  (await server`select from pg_stat_activity where application_name = 'poweron-gateway-look'`).length

t.test('each worker looks at each server on one connection', async (t) => {
  for (const gateway of gateways) t.equal(await status(gateway, good), 200)
  await until(async () => (await looks(sql)) === 3 && (await looks(follower)) === 3)
  // One that is replaced is closed before the next one is opened.
  for (let n = 0; n < 10; n++)
    t.ok(Math.max(await looks(sql), await looks(follower)) <= 3, 'never more than one each')
})

t.test(
  'attack: an old primary that never stopped admits no token that was revoked at the new one',
  async (t) => {
    const streams = await Promise.all(
      gateways.flatMap((gateway) => [access, good].map((cookie) => openStream(gateway, cookie))),
    )
    await Promise.all(gateways.flatMap((gateway) => Array.from({ length: 8 }, () => status(gateway, access))))
    // Stopped meanwhile, so that they are sure to meet the new timeline after the revocation.
    const processes = gateways.flatMap(({ pid }) => familyOf(pid))
    for (const pid of processes) process.kill(pid, 'SIGSTOP')
    await follower`select pg_promote()`
    await follower`update "Token" set status = 'REVOKED' where "userId" = 'alice'`
    const [row] = await sql`select count(*)::int as count from "Token" where status = 'ACTIVE'`
    t.equal(row!.count, 5, 'the old primary goes on, and knows nothing of it')
    for (const pid of processes) process.kill(pid, 'SIGCONT')
    await delay(KNOWN_WITHIN_MS)

    const seen = new Set<number>()
    const end = performance.now() + 1500
    while (performance.now() < end) {
      const all = gateways.flatMap((gateway) => [
        status(gateway, access),
        status(gateway, access, '/-/session'),
        status(gateway, refresh, '/-/refresh', 'POST'),
      ])
      for (const each of await Promise.all(all)) seen.add(each)
    }
    t.same([...seen], [401])
    for (const gateway of gateways) t.equal(await status(gateway, good), 200, 'and the others are served')
    await until(() => streams.filter(({ closed }) => closed).length >= 2, 2000)
    t.same(
      streams.map(({ closed }) => closed),
      [true, false, true, false],
      'the streams of the revoked token were closed, long before their next recheck',
    )
  },
)

t.test('metrics, status, explain and log name the timeline and the old primary that goes on', async (t) => {
  const host = `127.0.0.1:${primary.port}`
  for (const gateway of gateways) {
    const admin = `http://127.0.0.1:${gateway.adminPort}`
    await until(async () => (await gateway.metric('gateway_token_store_old_primaries')) === 1)
    t.equal(await gateway.metric('gateway_token_store_timeline'), 2)
    const { tokenStore, problems } = JSON.parse((await ask({ url: `${admin}/status.json` })).body)
    t.match(tokenStore, { up: true, timelines: { newest: 2, untold: false, oldPrimaries: [host] } })
    t.match(problems, [{ severity: 'amber', section: 'GatewayOldPrimary', detail: host }])
    const { stdout } = await runCommand(['explain', '--admin', admin, `${gateway.url}/`])
    t.match(
      stdout,
      `the database is on timeline 2, and primaries on older ones are refused, of which ${host}`,
    )
    t.match(await gateway.line(({ msg }) => msg === 'a replaced primary goes on, and is refused'), {
      hosts: [host],
    })
    const newer = gateway.lines.filter(({ msg }) => msg === 'the database has a newer timeline')
    t.match(newer, [{ timeline: 2 }], 'once, also for two workers')
  }
})

t.test('token revoke revokes at the new primary, though the old one is the first host', async (t) => {
  const env = { NODE_ENV: 'production', DATABASE_URL: both, JWT_SECRET: TEST_SECRET }
  const { code, stdout } = await runCommand(['token', 'revoke', '--user', 'carol'], { env })
  t.same([code, stdout], [0, '1 token revoked\n'])
  const [row] = await follower`select status from "Token" where "userId" = 'carol'`
  t.equal(row!.status, 'REVOKED')
})

t.test('while the new primary is down the old one admits, refreshes and reports nothing', async (t) => {
  await standby.stop()
  for (const gateway of gateways) {
    const readyz = async () => {
      const { status, body } = await ask({ url: `${gateway.url}/-/readyz` })
      return { status, reasons: JSON.parse(body).reasons ?? [] }
    }
    // Each worker notices it by itself, and connections go to one after the other.
    const said = async () => JSON.stringify(await Promise.all(Array.from({ length: 8 }, readyz)))
    const fenced = JSON.stringify(Array(8).fill({ status: 503, reasons: ['fenced'] }))
    await until(async () => (await said()) === fenced)
    t.equal(await said(), fenced, 'and goes on to say so')
    for (let n = 0; n < 10; n++) {
      t.same(
        await Promise.all([
          status(gateway, access),
          status(gateway, good),
          status(gateway, good, '/-/session'),
          status(gateway, goodRefresh, '/-/refresh', 'POST'),
          status(gateway, goodRefresh, '/-/logout', 'POST'),
        ]),
        [503, 503, 503, 503, 503],
      )
    }
  }
  const [row] = await sql`select count(*)::int as count from "Token" where status = 'ACTIVE'`
  t.equal(row!.count, 5, 'nothing was written there')
  await standby.start()
  for (const gateway of gateways) {
    await until(async () => (await status(gateway, good)) === 200)
    t.equal(await status(gateway, access), 401)
  }
})

t.test('a role that may not ask for the timeline is served, and the start says so', async (t) => {
  await follower.unsafe(`
    create role untold login;
    grant select on "Token" to untold;
    revoke execute on function pg_walfile_name(pg_lsn) from public`)
  const gateway = await startGateway({
    databaseUrl: standby.url.replace('//gateway@', '//untold@'),
    routing: { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] },
  })
  t.teardown(() => gateway.stop())
  const { warnings } = await gateway.line(({ msg }) => msg === 'the token store is available, with warnings')
  t.match(warnings, [/does not tell its timeline.*pg_walfile_name/])
  t.equal(await status(gateway, good), 200)
  const { body } = await ask({ url: `http://127.0.0.1:${gateway.adminPort}/status.json` })
  t.match(JSON.parse(body).tokenStore.timelines, { newest: null, untold: true })
})
