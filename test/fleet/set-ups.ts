import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { accepts } from '../support/accepts.ts'
import { startUserBackend } from '../support/fault-gateways.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { pgbouncerIsInstalled, pgbouncerKeepsStatements, startPgbouncer } from '../support/pgbouncer.ts'
import { until } from '../support/plain-gateway.ts'
import { programPath } from '../support/programs.ts'
import { freePort } from '../support/raw-backend.ts'
import { readText } from '../support/repository.ts'
import type { Cluster } from './cluster.ts'
import { giveAway, launch } from './processes.ts'
import { TIMES } from './times.ts'

const GATEWAYS = 3
/** What each gateway may have at a server: look-ups, refresh and logout, and one to look where there are several hosts. */
export const POOL_SIZE = 2

/** One way from gateways to the primary. */
export interface SetUp {
  readonly name: string
  /** The role of its gateways, by which their connections are told apart. */
  readonly role: string
  readonly gateways: readonly TestGateway[]
}

export interface SetUps {
  readonly all: readonly SetUp[]
  close(): Promise<void>
}

export const ROLES = ['fleet_hosts', 'fleet_haproxy', 'fleet_pgbouncer'] as const

/** Several hosts in DATABASE_URL; HAProxy that follows Patroni; PgBouncer before that HAProxy. */
export async function startSetUps({ nodes }: Cluster): Promise<SetUps> {
  const closers: (() => unknown)[] = []
  const backend = await startUserBackend()
  closers.push(() => backend.close())
  const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const haproxy = await startHaproxy({ nodes })
  closers.push(haproxy.close)
  const ways: { name: string; role: string; at: string; prepare: boolean }[] = [
    { name: 'several hosts', role: ROLES[0], at: hosts, prepare: true },
    { name: 'HAProxy', role: ROLES[1], at: `127.0.0.1:${haproxy.port}`, prepare: true },
  ]
  if (pgbouncerIsInstalled()) {
    const pooler = await startPgbouncer(haproxy.port, { roles: [ROLES[2]], poolSize: 6 })
    closers.push(pooler.close)
    ways.push({
      name: 'PgBouncer, HAProxy',
      role: ROLES[2],
      at: `127.0.0.1:${pooler.port}`,
      prepare: pgbouncerKeepsStatements(),
    })
  }
  const start = (at: string, role: string, prepare: boolean) =>
    startGateway({
      databaseUrl: `postgres://${role}@${at}/postgres`,
      routing: { upstreams: { app: { targets: [backend.url] } }, routes: [{ path: '/', upstream: 'app' }] },
      env: {
        ACCESS_LOG: 'off',
        DATABASE_POOL_SIZE: String(POOL_SIZE),
        DATABASE_PREPARE: String(prepare),
      },
    })
  const all: SetUp[] = []
  for (const { name, role, at, prepare } of ways) {
    const gateways = await Promise.all(Array.from({ length: GATEWAYS }, () => start(at, role, prepare)))
    closers.unshift(() => Promise.all(gateways.map((gateway) => gateway.stop())))
    all.push({ name, role, gateways })
  }
  return {
    all,
    async close() {
      for (const close of closers) await close()
    },
  }
}

/** deploy/haproxy/postgres.cfg, but for addresses, and checked twice as often as Patroni's times are shorter. */
async function startHaproxy({ nodes }: Pick<Cluster, 'nodes'>) {
  const program = programPath('haproxy')
  if (program === null) throw new Error('expected HAProxy: apt-get install haproxy')
  const port = await freePort()
  let text = readText('deploy/haproxy/postgres.cfg')
  const instead = [
    ['127.0.0.1:5000', `127.0.0.1:${port}`],
    ['inter 1s', 'inter 500ms'],
    ...nodes.map((node, n) => [
      `10.0.0.2${n + 1}:5432 port 8008`,
      `127.0.0.1:${node.port} port ${node.restPort}`,
    ]),
  ] as const
  for (const [from = '', to = ''] of instead) {
    if (!text.includes(from)) throw new Error(`deploy/haproxy/postgres.cfg has no ${from}`)
    text = text.replaceAll(from, to)
  }
  const fall = Number(/fall (\d+)/.exec(text)?.[1])
  if (!(fall * (0.5 + 1) < TIMES.ttl - TIMES.loop_wait)) throw new Error('HAProxy would give up too late')
  const folder = await mkdtemp(join(tmpdir(), 'gateway-fleet-haproxy-'))
  // The account that it runs as has to get in.
  await chmod(folder, 0o755)
  await giveAway(folder)
  const file = join(folder, 'haproxy.cfg')
  await writeFile(file, text, { mode: 0o644 })
  const child = await launch([program, '-db', '-f', file], join(folder, 'log'))
  await until(() => accepts(port))
  return {
    port,
    async close() {
      child.kill('SIGKILL')
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })
    },
  }
}
