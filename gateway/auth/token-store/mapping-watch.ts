import type { StoreFault } from '../../core/store-fault.ts'
import { mappingFault } from './token-store-faults.ts'

/** Compares the mapping with the catalogue again and again: a table may change under a running gateway. */
export interface MappingWatch {
  /** What does not fit, by the last comparison. */
  readonly problems: readonly string[]
  /** True where that may fit later without a restart: a table or a grant that is not there yet. */
  readonly mayHeal: boolean
  /** True where half a minute has passed, or a connection was opened, behind which the table may be another. */
  isDue(): boolean
  /** @returns what does not fit, as a fault; null where all fits @throws DatabaseError */
  check(): Promise<StoreFault | null>
}

/** What a comparison finds, as far as it matters here. */
export interface MappingReport {
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
  readonly mayHeal?: boolean
  /** How the table is read; not null where what does not fit concerns refresh and logout alone. */
  readonly mapped?: unknown
}

export interface MappingWatchParts {
  readonly table: { checkMapping(deadlineMs: number): Promise<MappingReport> }
  readonly timeoutMs: number
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** Connections to the database opened so far. */
  readonly connectionsOpened: () => number
  /** Told of what slows look-ups down, or is not as meant, when it is not what it was. */
  readonly onWarnings: (warnings: readonly string[]) => void
}

const INTERVAL_MS = 30_000

export function createMappingWatch(parts: MappingWatchParts): MappingWatch {
  let report: MappingReport = { problems: [], warnings: [] }
  let checkedAt = Number.NEGATIVE_INFINITY
  let openedBefore = -1
  let warned = ''
  let hasFitted = false

  /** A table that could be written once, and cannot be now, is no reason to refuse what is only looked up. */
  function split({ problems, warnings, mapped }: MappingReport) {
    const readable = hasFitted && (mapped ?? null) !== null
    return readable ? { fatal: [], told: [...problems, ...warnings] } : { fatal: problems, told: warnings }
  }

  return {
    get problems() {
      return report.problems
    },
    get mayHeal() {
      return report.mayHeal ?? false
    },
    isDue: () => openedBefore !== parts.connectionsOpened() || parts.now() - checkedAt >= INTERVAL_MS,
    async check() {
      // Before the question: one that is opened meanwhile may lead to another table than the one that is read.
      const opened = parts.connectionsOpened()
      const found = await parts.table.checkMapping(parts.timeoutMs)
      report = found
      checkedAt = parts.now()
      openedBefore = opened
      const { fatal, told } = split(found)
      if (fatal.length > 0) return mappingFault(fatal)
      hasFitted = true
      const warnings = told.join('\n')
      if (warnings !== warned && told.length > 0) parts.onWarnings(told)
      warned = warnings
      return null
    },
  }
}
