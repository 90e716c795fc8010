import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../support/plain-gateway.ts'
import type { Cluster } from './cluster.ts'
import type { Node } from './node.ts'

/** What is done to the primary, and undone. */
export interface Fault {
  readonly name: string
  /** @returns when there was a new primary, by the clock of this process; null where there was to be none */
  run(cluster: Cluster, leader: Node): Promise<number | null>
}

/** Waits for one of the other nodes to lead. */
async function replaced(cluster: Cluster, leader: Node): Promise<number> {
  await cluster.leaderAmong(cluster.nodes.filter((node) => node !== leader))
  return performance.now()
}

export const FAULTS: readonly Fault[] = [
  {
    name: 'switchover',
    async run(cluster, leader) {
      const [at] = await Promise.all([replaced(cluster, leader), leader.switchover()])
      return at
    },
  },
  {
    name: 'killed postmaster',
    async run(cluster, leader) {
      leader.killPostmaster()
      await until(async () => (await cluster.leader()) === null, 5000, 10).catch(() => {})
      await cluster.leaderAmong(cluster.nodes)
      return performance.now()
    },
  },
  {
    name: 'frozen and woken node',
    async run(cluster, leader) {
      leader.freeze()
      try {
        const at = await replaced(cluster, leader)
        await delay(3000)
        return at
      } finally {
        leader.thaw()
      }
    },
  },
  {
    name: 'dead agent, living server',
    async run(cluster, leader) {
      await leader.killAgent()
      try {
        const at = await replaced(cluster, leader)
        await delay(5000)
        return at
      } finally {
        await leader.startAgent()
      }
    },
  },
  {
    name: 'lost etcd',
    async run(cluster) {
      await cluster.etcd.stop()
      await delay(12_000)
      await cluster.etcd.start()
      return null
    },
  },
  {
    name: 'partition',
    async run(cluster, leader) {
      leader.isolate()
      // Its own agent would otherwise still reach the others, and they would hold it to be alive (failsafe_mode).
      for (const node of cluster.nodes) node.hideAgent()
      try {
        const at = await replaced(cluster, leader)
        await delay(4000)
        return at
      } finally {
        for (const node of cluster.nodes) node.rejoin()
      }
    },
  },
  {
    name: 'lost commit',
    async run(cluster, leader) {
      // What the primary commits from now on reaches no standby, and with synchronous_mode no COMMIT returns.
      leader.cutReplication()
      await delay(2000)
      leader.freeze()
      try {
        return await replaced(cluster, leader)
      } finally {
        leader.thaw()
        leader.rejoin()
      }
    },
  },
]
