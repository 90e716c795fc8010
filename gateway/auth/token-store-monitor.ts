import type { Scheduler } from '../scheduler.ts'
import type { TokenTable } from './token-table.ts'

/** Whether tokens can be looked up, found out without waiting for a request. */
export interface TokenStoreMonitor {
  readonly up: boolean
  /** Why not; null while it is up. */
  readonly reason: string | null
  /** What of the table does not fit the mapping, where that is why. */
  readonly mappingProblems: readonly string[]
  /** Resolves with the first result. */
  readonly first: Promise<void>
  close(): void
}

export interface MonitorParts {
  readonly table: Pick<TokenTable, 'probe' | 'checkMapping'>
  readonly scheduler: Scheduler
  /** Deadline of one probe. */
  readonly timeoutMs: number
  readonly onChange: (up: boolean, reason: string | null) => void
  /** Told of what slows look-ups down, or is not as meant, each time it can be asked again. */
  readonly onWarnings: (warnings: readonly string[]) => void
}

const UP_INTERVAL_MS = 1000
const DOWN_INTERVAL_MS = 250

/** Probes one after the other; the mapping is checked again each time the store has been away. */
export function createTokenStoreMonitor({
  table,
  scheduler,
  timeoutMs,
  onChange,
  onWarnings,
}: MonitorParts): TokenStoreMonitor {
  let up = false
  let reason: string | null = 'not asked yet'
  let mappingProblems: readonly string[] = []
  let closed = false
  let cancel = () => {}

  function become(nowUp: boolean, why: string | null): void {
    const changed = up !== nowUp || reason !== why
    up = nowUp
    reason = why
    if (changed && !closed) onChange(up, reason)
  }

  async function probe(): Promise<void> {
    try {
      if (!up) {
        const { problems, warnings } = await table.checkMapping(timeoutMs)
        mappingProblems = problems
        if (problems.length > 0) return become(false, problems.join('; '))
        await table.probe(timeoutMs)
        become(true, null)
        if (warnings.length > 0 && !closed) onWarnings(warnings)
        return
      }
      await table.probe(timeoutMs)
    } catch (error) {
      become(false, error instanceof Error ? error.message : String(error))
    } finally {
      if (!closed) cancel = scheduler.after(up ? UP_INTERVAL_MS : DOWN_INTERVAL_MS, () => void probe())
    }
  }

  const first = probe()
  return {
    get up() {
      return up
    },
    get reason() {
      return reason
    },
    get mappingProblems() {
      return mappingProblems
    },
    first,
    close() {
      closed = true
      cancel()
    },
  }
}
