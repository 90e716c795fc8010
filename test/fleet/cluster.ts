import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../support/plain-gateway.ts'
import { programPath } from '../support/programs.ts'
import { freePort } from '../support/raw-backend.ts'
import { openLink } from './link.ts'
import { type Node, POSTGRES, startNode } from './node.ts'
import { giveAway, launch } from './processes.ts'

export const NODES = 3

/** Three nodes of Patroni over one etcd, all on loopback. */
export interface Cluster {
  readonly nodes: readonly Node[]
  /** The node whose Patroni says that it is the primary; null where none does. */
  leader(): Promise<Node | null>
  /** Resolves with the leader once it is one of these, by its own Patroni. */
  leaderAmong(nodes: readonly Node[]): Promise<Node>
  /** Resolves once there is a leader, and all others stream from it, one of them synchronously. */
  whole(): Promise<Node>
  /** Stops etcd, and starts it again on its data. */
  readonly etcd: { stop(): Promise<void>; start(): Promise<void> }
  close(): Promise<void>
}

const WHOLE_WITHIN_MS = 90_000

/** @throws Error where a program is missing, with the names of Debian's packages */
export async function startCluster(): Promise<Cluster> {
  const etcd = programPath('etcd')
  const patroni = programPath('patroni')
  if (etcd === null || patroni === null || !existsSync(POSTGRES))
    throw new Error(
      'Patroni, etcd or PostgreSQL is missing; expected apt-get install patroni python3-etcd etcd-server postgresql haproxy',
    )
  const folder = await mkdtemp(join(tmpdir(), 'gateway-fleet-'))
  await chmod(folder, 0o755)
  const [client, peer] = [await freePort(), await freePort()]
  let etcdProcess: ChildProcess | null = null

  async function startEtcd(): Promise<void> {
    const data = join(folder, 'etcd')
    await mkdir(data, { recursive: true, mode: 0o700 })
    await giveAway(data)
    const url = (port: number) => `http://127.0.0.1:${port}`
    etcdProcess = await launch(
      [
        etcd!,
        ...['--name', 'one', '--data-dir', data, '--enable-v2=true', '--unsafe-no-fsync'],
        ...['--listen-client-urls', url(client), '--advertise-client-urls', url(client)],
        ...['--listen-peer-urls', url(peer), '--initial-advertise-peer-urls', url(peer)],
        ...['--initial-cluster', `one=${url(peer)}`],
      ],
      join(folder, 'etcd.log'),
    )
    await until(async () => (await fetch(`${url(client)}/health`).catch(() => null))?.ok ?? false)
  }

  async function stopEtcd(): Promise<void> {
    const child = etcdProcess
    etcdProcess = null
    if (child === null) return
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }

  await startEtcd()
  const nodes: Node[] = []

  async function leader(): Promise<Node | null> {
    const all = await Promise.all(nodes.map(async (node) => ((await node.isLeader()) ? node : null)))
    return all.find((node) => node !== null) ?? null
  }

  async function leaderAmong(some: readonly Node[]): Promise<Node> {
    let found: Node | null = null
    await until(
      async () => {
        const all = await Promise.all(some.map((node) => node.isLeader()))
        found = some[all.indexOf(true)] ?? null
        return found !== null
      },
      WHOLE_WITHIN_MS,
      50,
    )
    return found!
  }

  const cluster: Cluster = {
    nodes,
    leader,
    leaderAmong,
    async whole() {
      const first = await leaderAmong(nodes)
      await until(
        async () => {
          const members = await first.members()
          const role = (name: string) => members.filter((member) => member.role === name)
          const followers = members.filter(({ state }) => state === 'running' || state === 'streaming')
          return (
            role('leader').length === 1 && role('sync_standby').length === 1 && followers.length === NODES
          )
        },
        WHOLE_WITHIN_MS,
        200,
      )
      return (await leader()) ?? first
    },
    etcd: { stop: stopEtcd, start: startEtcd },
    async close() {
      await Promise.all(nodes.map((node) => node.close()))
      await stopEtcd()
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })
    },
  }
  try {
    for (let n = 1; n <= NODES; n++) {
      const toEtcd = await openLink(() => client)
      nodes.push(await startNode({ name: `pg${n}`, folder, patroni, toEtcd }))
      // The first one bootstraps the cluster.
      if (n === 1) await leaderAmong(nodes)
    }
    return cluster
  } catch (error) {
    await cluster.close()
    throw error
  }
}
