import type { StoreFault } from '../../core/store-fault.ts'
import { mappingFault } from './token-store-faults.ts'

/** Compares the mapping with the catalogue repeatedly, since a table may change while the gateway runs. */
export interface MappingWatch {
  /** What does not fit, by the last comparison. */
  readonly problems: readonly string[]
  /** True where the table may fit later without a restart, because only a table or a grant is missing. */
  readonly mayHeal: boolean
  /** True where half a minute has passed, or a connection was opened, which may lead to another table. */
  isDue(): boolean
  /** @returns what does not fit, as a fault; null where everything fits @throws DatabaseError */
  check(): Promise<StoreFault | null>
}

/** The result of a comparison. */
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
  /** What else is not as intended. */
  readonly otherWarnings?: (() => readonly string[]) | undefined
  /** Called with what slows look-ups down, or is not as intended, when that has changed. */
  readonly onWarnings: (warnings: readonly string[]) => void
}

const INTERVAL_MS = 30_000

export function createMappingWatch(parts: MappingWatchParts): MappingWatch {
  let report: MappingReport = { problems: [], warnings: [] }
  let checkedAt = Number.NEGATIVE_INFINITY
  let openedBefore = -1
  let warnedBefore = ''
  let hasFitted = false

  /** Once the table has fitted, problems that concern writing alone become warnings: look-ups still work. */
  function classify({ problems, warnings, mapped }: MappingReport) {
    const readable = hasFitted && (mapped ?? null) !== null
    return readable ? { problems: [], warnings: [...problems, ...warnings] } : { problems, warnings }
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
      // Read before the query: a connection that is opened during it may lead to another table.
      const opened = parts.connectionsOpened()
      const found = await parts.table.checkMapping(parts.timeoutMs)
      report = found
      checkedAt = parts.now()
      openedBefore = opened
      const { problems, warnings: ofMapping } = classify(found)
      const warnings = [...ofMapping, ...(parts.otherWarnings?.() ?? [])]
      if (problems.length > 0) return mappingFault(problems)
      hasFitted = true
      const text = warnings.join('\n')
      if (text !== warnedBefore && warnings.length > 0) parts.onWarnings(warnings)
      warnedBefore = text
      return null
    },
  }
}
