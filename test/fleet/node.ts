import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { signalQuietly } from '../support/process-family.ts'
import { freePort } from '../support/raw-backend.ts'
import { readYaml } from '../support/repository.ts'
import { type Link, openLink } from './link.ts'
import { giveAway, launch, signalTree } from './processes.ts'
import { TIMES } from './times.ts'

export const SUPERUSER = 'postgres'
/** Where Debian puts each version. */
export const POSTGRES = '/usr/lib/postgresql'

export interface Member {
  readonly name: string
  readonly role: string
  readonly state: string
}

/** One machine of the cluster: PostgreSQL and its Patroni. */
export interface Node {
  readonly name: string
  /** For gateways; the other nodes use links that can be cut. */
  readonly port: number
  readonly restPort: number
  readonly url: string
  /** By its own Patroni. */
  isLeader(): Promise<boolean>
  members(): Promise<readonly Member[]>
  switchover(): Promise<void>
  /** SIGKILL to the postmaster alone. */
  killPostmaster(): void
  /** SIGSTOP and SIGCONT to all its processes. */
  freeze(): void
  thaw(): void
  /** SIGKILL to Patroni; PostgreSQL goes on. */
  killAgent(): Promise<void>
  startAgent(): Promise<void>
  /** The other nodes and etcd are cut off, and gateways are not. */
  isolate(): void
  /** The agents of other nodes cannot ask its own. */
  hideAgent(): void
  /** Its standbys get nothing any more. */
  cutReplication(): void
  rejoin(): void
  close(): Promise<void>
}

export interface NodeOptions {
  readonly name: string
  /** Of the whole cluster. */
  readonly folder: string
  readonly patroni: string
  readonly toEtcd: Link
}

export async function startNode({ name, folder, patroni, toEtcd }: NodeOptions): Promise<Node> {
  const own = join(folder, name)
  await mkdir(own, { mode: 0o700 })
  const [port, restPort] = [await freePort(), await freePort()]
  const links = [toEtcd, await openLink(() => port), await openLink(() => restPort)] as const
  const [, toPostgres, toRest] = links
  const file = join(own, 'patroni.yml')
  await writeFile(
    file,
    stringify(configuration({ name, own, port, restPort, etcd: toEtcd, toPostgres, toRest }), {
      version: '1.1',
    }),
  )
  await giveAway(own)
  await giveAway(file)
  let agent: ChildProcess | null = null

  async function startAgent(): Promise<void> {
    agent = await launch([patroni, file], join(folder, `${name}.log`))
  }

  function postmaster(): number | null {
    try {
      return Number(readFileSync(join(own, 'data', 'postmaster.pid'), 'utf8').split('\n')[0])
    } catch {
      return null
    }
  }

  function signalAll(signal: NodeJS.Signals): void {
    // The agent first, or it would see its server stop.
    if (agent?.pid !== undefined) signalTree(agent.pid, signal)
    const pid = postmaster()
    if (pid !== null) signalTree(pid, signal)
  }

  async function rest(path: string, init: RequestInit = {}): Promise<Response | null> {
    const signal = AbortSignal.timeout(init.method === 'POST' ? 30_000 : 1000)
    return fetch(`http://127.0.0.1:${restPort}${path}`, { ...init, signal }).catch(() => null)
  }

  async function killAgent(): Promise<void> {
    const child = agent
    agent = null
    if (child === null || child.exitCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  await startAgent()
  return {
    name,
    port,
    restPort,
    url: `postgres://${SUPERUSER}@127.0.0.1:${port}/postgres`,
    isLeader: async () => (await rest('/primary'))?.status === 200,
    async members() {
      const answer = await rest('/cluster')
      if (answer === null) return []
      return ((await answer.json()) as { members: Member[] }).members
    },
    async switchover() {
      const body = JSON.stringify({ leader: name })
      const answer = await rest('/switchover', { method: 'POST', body })
      if (answer?.status !== 200) throw new Error(`switchover: ${await answer?.text()}`)
    },
    killPostmaster() {
      const pid = postmaster()
      if (pid !== null) signalQuietly(pid, 'SIGKILL')
    },
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
    killAgent,
    startAgent,
    isolate() {
      for (const link of links) link.cut()
    },
    hideAgent: () => toRest.cut(),
    cutReplication: () => toPostgres.cut(),
    rejoin() {
      for (const link of links) link.mend()
    },
    async close() {
      signalAll('SIGCONT')
      await killAgent()
      const pid = postmaster()
      if (pid !== null) signalTree(pid, 'SIGKILL')
      for (const link of links) link.close()
    },
  }
}

interface Ways {
  readonly name: string
  readonly own: string
  readonly port: number
  readonly restPort: number
  readonly etcd: Link
  readonly toPostgres: Link
  readonly toRest: Link
}

/** What deploy/patroni says, with shorter times. */
function configuration({ name, own, port, restPort, etcd, toPostgres, toRest }: Ways): object {
  const dcs = readYaml<{ postgresql: { parameters: object } }>('deploy/patroni/patroni-dcs.yml')
  const [version] = readdirSync(POSTGRES).sort((a, b) => Number(b) - Number(a))
  const user = (username: string) => ({ username, password: 'fleet' })
  return {
    scope: 'fleet',
    name,
    restapi: { listen: `127.0.0.1:${restPort}`, connect_address: `127.0.0.1:${toRest.port}` },
    // Otherwise it would go on with the address that etcd tells of itself, past the link.
    etcd: { host: `127.0.0.1:${etcd.port}`, use_proxies: true },
    bootstrap: {
      dcs: { ...dcs, ...TIMES },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }, 'data-checksums'],
      pg_hba: ['host all,replication all 127.0.0.1/32 trust'],
    },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${toPostgres.port}`,
      data_dir: join(own, 'data'),
      bin_dir: `${POSTGRES}/${version}/bin`,
      pgpass: join(own, 'pgpass'),
      authentication: {
        superuser: user(SUPERUSER),
        replication: user('replicator'),
        rewind: user('rewinder'),
      },
      parameters: { unix_socket_directories: own, fsync: 'off', max_connections: 150 },
    },
  }
}
