import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'
import { DatabaseError } from '../../database/database.ts'
import { createConsecutiveFailures } from './consecutive-failures.ts'
import { queryHosts } from './host-retries.ts'
import type { DiagnoseLateAnswer } from './late-answer-diagnosis.ts'
import { createMappingWatch, type MappingWatchParts } from './mapping-watch.ts'
import { isLate } from './token-store-faults.ts'
import type { TokenTable } from './token-table.ts'

/** Knows whether tokens can be looked up, by probes that do not wait for a request. */
export interface TokenStoreMonitor {
  readonly up: boolean
  /** Why the store is not up; null while it is. */
  readonly fault: StoreFault | null
  /** What of the table does not fit the mapping, by the last comparison. */
  readonly mappingProblems: readonly string[]
  /** True where the table may fit later without a restart, because only a table or a grant is missing. */
  readonly mayHeal: boolean
  /** Resolves with the first result. */
  readonly first: Promise<void>
  /** A request's look-up was answered. */
  lookupSucceeded(): void
  /** A request's look-up failed. @param id the token that was looked up */
  lookupFailed(error: unknown, id: string): void
  close(): void
}

export interface MonitorParts {
  readonly table: Pick<TokenTable, 'findMany'> & MappingWatchParts['table']
  /** How many servers the database has; one where absent. */
  readonly hosts?: number
  readonly scheduler: Scheduler
  /** Deadline of one probe. */
  readonly timeoutMs: number
  readonly describe: (error: unknown) => StoreFault
  readonly diagnoseLateAnswer: DiagnoseLateAnswer
  /** Connections to the database opened so far. */
  readonly connectionsOpened: () => number
  readonly onState: (up: boolean) => void
  /** Called for each kind of fault once it is known, after `onState`. @param forMs how long the store has been down */
  readonly onUnavailable: (fault: StoreFault, forMs: number) => void
  readonly onAvailable: () => void
  readonly otherWarnings?: MappingWatchParts['otherWarnings']
  /** Called with what slows look-ups down, or is not as intended, when that has changed. */
  readonly onWarnings: (warnings: readonly string[]) => void
}

const UP_INTERVAL_MS = 1000
const DOWN_INTERVAL_MS = 250
/** The interval grows up to this where each probe opens a new connection to the server. */
const MAX_DOWN_INTERVAL_MS = 1000
/** How often the cause of late answers is looked for. */
const DIAGNOSIS_INTERVAL_MS = 5000

/** Ids of no token, one for each type of id, so that the probe is planned and runs like any look-up. */
const PROBE_IDS = ['00000000-0000-0000-0000-000000000000', '-1']

const NOT_ASKED: StoreFault = {
  kind: 'not-asked',
  code: 'NOT_ASKED',
  cause: 'the database has not answered the first query yet',
}

/**
 * Runs one probe after the other. The mapping is checked after the store was down, and when it is due. Where probes are
 * answered but look-ups fail, a probe that includes one of their tokens decides.
 */
export function createTokenStoreMonitor(parts: MonitorParts): TokenStoreMonitor {
  const { table, scheduler, timeoutMs } = parts
  const mapping = createMappingWatch({ ...parts, now: scheduler.now, onWarnings: warn })
  const failures = createConsecutiveFailures({ now: scheduler.now, longerThanMs: timeoutMs })
  const first = Promise.withResolvers<void>()
  let fault: StoreFault | null = NOT_ASKED
  let reported: StoreFault | null = NOT_ASKED
  let changedAt = scheduler.now()
  let diagnosedAt: number | null = null
  let downIntervalMs = DOWN_INTERVAL_MS
  let probing = false
  let closed = false
  let cancel = () => {}

  function warn(warnings: readonly string[]): void {
    if (!closed) parts.onWarnings(warnings)
  }

  function setFault(next: StoreFault | null): void {
    const changed = (fault === null) !== (next === null)
    fault = next
    if (!changed) return
    changedAt = scheduler.now()
    parts.onState(next === null)
  }

  function report(): void {
    const before = reported
    reported = fault
    if (fault === null) {
      if (before !== null) parts.onAvailable()
    } else if (before?.kind !== fault.kind) parts.onUnavailable(fault, scheduler.now() - changedAt)
  }

  /** @returns why tokens cannot be looked up, or null where they can */
  async function query(suspectId: string | null): Promise<StoreFault | null> {
    try {
      const mismatch = fault !== null || mapping.isDue() ? await mapping.check() : null
      if (mismatch !== null) return mismatch
      await askHosts(suspectId === null ? PROBE_IDS : [...PROBE_IDS, suspectId])
      return null
    } catch (error) {
      return parts.describe(error)
    }
  }

  /**
   * Asks one server after the other. Where an old primary is among them, that is the fault: it is not the first one's
   * turn that decides whether an operator reads of it.
   */
  async function askHosts(ids: readonly string[]): Promise<void> {
    let fenced: unknown = null
    const ask = async () => {
      try {
        await table.findMany(ids, timeoutMs)
      } catch (error) {
        if (error instanceof DatabaseError && error.code === 'FENCED') fenced = error
        throw error
      }
    }
    try {
      await queryHosts((parts.hosts ?? 1) - 1, ask)
    } catch (error) {
      throw fenced ?? error
    }
  }

  /** Readiness changes at once; the cause of a late answer takes one more query. */
  async function applyResult(found: StoreFault | null): Promise<void> {
    if (found === null || !isLate(found)) {
      diagnosedAt = null
      return setFault(found)
    }
    if (diagnosedAt === null) setFault(found)
    else if (scheduler.now() - diagnosedAt < DIAGNOSIS_INTERVAL_MS) return
    first.resolve()
    const diagnosed = await parts.diagnoseLateAnswer(found)
    diagnosedAt = scheduler.now()
    if (!closed) setFault(diagnosed)
  }

  async function probe(): Promise<void> {
    probing = true
    const opened = parts.connectionsOpened()
    const { suspectId } = failures
    const found = await query(suspectId)
    if (closed) return
    // This answer does not cover look-ups that failed meanwhile; the next probe includes one of their tokens.
    const outdated = found === null && failures.suspectId !== null && failures.suspectId !== suspectId
    if (!outdated) {
      if (found === null && suspectId !== null) failures.reset()
      await applyResult(found)
    }
    probing = false
    first.resolve()
    if (closed) return
    report()
    const costly = parts.connectionsOpened() !== opened
    downIntervalMs = costly ? Math.min(downIntervalMs * 2, MAX_DOWN_INTERVAL_MS) : DOWN_INTERVAL_MS
    cancel = scheduler.after(fault === null ? UP_INTERVAL_MS : downIntervalMs, () => void probe())
  }

  void probe()
  return {
    get up() {
      return fault === null
    },
    get fault() {
      return fault
    },
    get mappingProblems() {
      return mapping.problems
    },
    get mayHeal() {
      return mapping.mayHeal
    },
    first: first.promise,
    lookupSucceeded: failures.reset,
    lookupFailed(error, id) {
      if (closed || !failures.record(id) || fault !== null) return
      setFault(parts.describe(error))
      if (probing) return
      cancel()
      void probe()
    },
    close() {
      closed = true
      cancel()
    },
  }
}
