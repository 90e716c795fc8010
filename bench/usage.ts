import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** CPU time and memory of processes, from /proc, where CPU time has a resolution of 10 ms. */
export interface Usage {
  /** User and system time since their start, microseconds; also of children that have ended. */
  readonly cpuUs: number
  readonly rssBytes: number
}

const TICK_US = 10_000
const PAGE_BYTES = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }))

interface Stat {
  readonly parent: number
  readonly usage: Usage
}

/** The sum over these processes and all their descendants. */
export function usageOf(roots: readonly number[]): Usage {
  const stats = readAllStats()
  let cpuUs = 0
  let rssBytes = 0
  for (const [pid, stat] of stats) {
    if (!isDescendant(pid, roots, stats)) continue
    cpuUs += stat.usage.cpuUs
    rssBytes += stat.usage.rssBytes
  }
  return { cpuUs, rssBytes }
}

function isDescendant(pid: number, roots: readonly number[], stats: ReadonlyMap<number, Stat>): boolean {
  for (let at = pid; at > 1; at = stats.get(at)?.parent ?? 0) if (roots.includes(at)) return true
  return false
}

function readAllStats(): Map<number, Stat> {
  const stats = new Map<number, Stat>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = readStat(Number(name))
    if (stat !== null) stats.set(Number(name), stat)
  }
  return stats
}

/**
 * See proc_pid_stat(5). The command's name may contain spaces and parentheses. pgx closes the connections whose queries
 * wait when a load ends, and with them end PostgreSQL's processes, before they could be asked.
 */
function readStat(pid: number): Stat | null {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return null
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const ticks = fields.slice(11, 15).reduce((total, field) => total + Number(field), 0)
  return {
    parent: Number(fields[1]),
    usage: { cpuUs: ticks * TICK_US, rssBytes: Number(fields[21]) * PAGE_BYTES },
  }
}
