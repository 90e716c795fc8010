import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { startUserBackend } from '../support/fault-gateways.ts'
import { startFront } from '../support/front.ts'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby } from '../support/postgres.ts'
import { programPath, run } from '../support/programs.ts'
import { freePort } from '../support/raw-backend.ts'
import { inRepository, readText, readYaml } from '../support/repository.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const HAPROXY = 'deploy/haproxy/postgres.cfg'
const DCS = 'deploy/patroni/patroni-dcs.yml'

const primary = await startPostgres()
const standby = await startStandby(primary, {
  settings: ['cluster_name=pg2', 'wal_receiver_status_interval=1s'],
})
const backend = await startUserBackend()
const databaseUrl = await primary.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
t.teardown(async () => {
  backend.close()
  await Promise.all([sql.end({ timeout: 1 }), follower.end({ timeout: 1 })])
  await Promise.all([primary.close(), standby.close()])
})

async function cookieOf(jti: string, type: 'access' | 'refresh' = 'access'): Promise<string> {
  const jwt = await signToken({ claims: { jti, type, exp: inSeconds(3600) } })
  return type === 'access' ? `auth_token=${jwt}` : `refresh_token=${jwt}`
}

const { id } = await insertToken(sql)
const cookie = await cookieOf(id)
const refresh = await cookieOf((await insertToken(sql, { sessionId: 'refreshed' })).id, 'refresh')
const unknown = await cookieOf('nobody')

function start(url: string, env: Record<string, string>) {
  return startGateway({
    databaseUrl: url,
    routing: { upstreams: { app: { targets: [backend.url] } }, routes: [{ path: '/', upstream: 'app' }] },
    env: { ACCESS_LOG: 'off', SESSION_ENDPOINTS: 'on', ...env },
  })
}

const seconds = (text: string) => Number(/^(\d+)s$/.exec(text)?.[1])

t.test('a server without Patroni is left before another one can be promoted', async (t) => {
  const cfg = readText(HAPROXY)
  const [, inter = '', fall] = /check inter (\S+) fall (\d+)/.exec(cfg) ?? []
  const [, check = ''] = /timeout check (\S+)/.exec(cfg) ?? []
  const { ttl, loop_wait } = readYaml<{ ttl: number; loop_wait: number }>(DCS)
  const leftAfter = Number(fall) * (seconds(inter) + seconds(check))
  t.ok(leftAfter < ttl - loop_wait, `${leftAfter} s < ${ttl - loop_wait} s`)
  t.match(cfg, /on-marked-down shutdown-sessions/)
  t.match(readYaml(DCS), { synchronous_mode: true, postgresql: { parameters: { synchronous_commit: 'on' } } })
  t.match(readYaml('deploy/patroni/patroni-node.yml'), { watchdog: { mode: 'required' } })
})

t.test(
  'fence.sql: a primary that does not hear its synchronous standby admits and refuses nobody',
  async (t) => {
    await sql.unsafe('create role poweron_gateway login')
    await sql.unsafe(readText('deploy/patroni/fence.sql'))
    await sql.unsafe('grant insert, update on token_fenced to poweron_gateway')
    const url = databaseUrl.replace('//gateway@', '//poweron_gateway@')
    const gateway = await start(url, { TOKEN_TABLE: 'token_fenced' })
    t.teardown(() => gateway.stop())
    const status = async (sent: string, path = '/', method = 'GET') =>
      (await ask({ url: gateway.url + path, method, headers: { cookie: sent } })).status
    const all = async () => [await status(cookie), await status(unknown)]
    t.same(await all(), [200, 401], 'without synchronous standbys it fences nobody')

    await sql.unsafe(`alter system set synchronous_standby_names = '2 ("pg2", pg3)'`)
    await sql`select pg_reload_conf()`
    await until(async () => (await status(cookie)) === 503)
    t.equal(await status(unknown), 503, 'one of the two was never heard of')
    await sql.unsafe(`alter system set synchronous_standby_names = '"pg2"'`)
    await sql`select pg_reload_conf()`
    await until(async () => (await status(cookie)) === 200)
    t.equal(await status(refresh, '/-/refresh', 'POST'), 204, 'a refresh writes through the view')

    const plan = await sql`explain select * from token_fenced where id = any('{a,b}'::text[])`
    t.match(
      plan.map((row) => row['QUERY PLAN']).join('\n'),
      /One-Time Filter: token_fence\(\).*Index Cond: .id = ANY/s,
    )

    standby.freeze()
    try {
      await until(async () => (await status(cookie)) === 503)
      t.same(await all(), [503, 503], 'an unknown token is not called unknown')
      t.equal(await status(refresh, '/-/refresh', 'POST'), 503)
    } finally {
      standby.thaw()
    }
    await until(async () => (await status(cookie)) === 200)
    await sql.unsafe('alter system reset synchronous_standby_names')
    await sql`select pg_reload_conf()`
  },
)

/** What Patroni's agent answers of one node. */
function startPatroni() {
  let server: Server | null = null
  let port = 0
  const agent = {
    isLeader: false,
    get port() {
      return port
    },
    async start() {
      server = createServer((_req, res) => {
        res.statusCode = agent.isLeader ? 200 : 503
        res.end()
      })
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
      port = (server.address() as AddressInfo).port
    },
    /** It dies, and its database goes on. */
    die() {
      server?.closeAllConnections()
      server?.close()
    },
  }
  return agent
}

t.test(
  'deploy/haproxy/postgres.cfg: a primary whose Patroni is dead is left, its sessions are cut',
  async (t) => {
    const program = programPath('haproxy')
    if (program === null) {
      t.pass('HAProxy is not installed here: deploy/haproxy/postgres.cfg was read, but not tried')
      return
    }
    const { code, output } = await run(program, ['-c', '-f', inRepository(HAPROXY)])
    t.equal(code, 0, output)
    const agents = [startPatroni(), startPatroni()] as const
    await Promise.all(agents.map((agent) => agent.start()))
    t.teardown(() => {
      for (const agent of agents) agent.die()
    })
    agents[0].isLeader = true
    const port = await freePort()
    await startFront(t, {
      program,
      file: HAPROXY,
      instead: {
        '127.0.0.1:5000': `127.0.0.1:${port}`,
        'inter 1s': 'inter 200ms',
        '10.0.0.21:5432 port 8008': `127.0.0.1:${primary.port} port ${agents[0].port}`,
        '10.0.0.22:5432 port 8008': `127.0.0.1:${standby.port} port ${agents[1].port}`,
        '10.0.0.23:5432 port 8008': `127.0.0.1:1 port ${await freePort()}`,
      },
      args: (file) => ['-db', '-f', file],
    })
    const gateway = await start(databaseUrl.replace(`:${primary.port}/`, `:${port}/`), {})
    t.teardown(() => gateway.stop())
    const status = async () => (await ask({ url: gateway.url, headers: { cookie } })).status
    await until(async () => (await status()) === 200)

    agents[0].die()
    await until(async () => (await status()) === 503)
    const [row] =
      await sql`select count(*)::int as count from pg_stat_activity where application_name = 'poweron-gateway'`
    t.equal(row!.count, 0, 'the old primary goes on, and has no session of the gateway')
    await follower`select pg_promote()`
    await follower`update "Token" set status = 'REVOKED' where id = ${id}`
    agents[1].isLeader = true
    const seen = new Set<number>()
    await until(async () => {
      const found = await status()
      seen.add(found)
      return found === 401
    })
    t.notOk(seen.has(200), 'the revocation at the new primary is not missed')
  },
)
