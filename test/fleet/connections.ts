import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import type { Node } from './node.ts'

/** The most connections that each role had at one server at once. */
export interface ConnectionWatch {
  /** Since the last call. */
  takeMost(role: string): number
  stop(): void
}

const EVERY_MS = 200

export function watchConnections(nodes: readonly Node[]): ConnectionWatch {
  const most = new Map<string, number>()
  let running = true

  async function watchNode({ url }: Node): Promise<void> {
    while (running) {
      const sql = postgres(url, { max: 1, connect_timeout: 2, fetch_types: false, onnotice: () => {} })
      try {
        while (running) {
          const rows = await sql<{ role: string; count: number }[]>`
            select usename as role, count(*)::int as count from pg_stat_activity
            where usename like 'fleet%' group by usename`
          for (const { role, count } of rows) most.set(role, Math.max(count, most.get(role) ?? 0))
          await delay(EVERY_MS)
        }
      } catch {
        // It is down, or starts up.
        await delay(EVERY_MS)
      } finally {
        void sql.end({ timeout: 0 }).catch(() => {})
      }
    }
  }

  for (const node of nodes) void watchNode(node)
  return {
    takeMost(role) {
      const count = most.get(role) ?? 0
      most.delete(role)
      return count
    },
    stop() {
      running = false
    },
  }
}
