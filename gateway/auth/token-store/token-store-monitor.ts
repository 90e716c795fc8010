import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'
import { createConsecutiveFailures } from './consecutive-failures.ts'
import type { DiagnoseLateAnswer } from './late-answer-diagnosis.ts'
import { createMappingWatch, type MappingWatchParts } from './mapping-watch.ts'
import { isLate } from './token-store-faults.ts'
import type { TokenTable } from './token-table.ts'

/** Whether tokens can be looked up, found out without waiting for a request. */
export interface TokenStoreMonitor {
  readonly up: boolean
  /** Why not; null while it is up. */
  readonly fault: StoreFault | null
  /** What of the table does not fit the mapping, where that is why. */
  readonly mappingProblems: readonly string[]
  /** True where that may fit later without a restart: a table or a grant that is not there yet. */
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
  readonly scheduler: Scheduler
  /** Deadline of one probe. */
  readonly timeoutMs: number
  readonly describe: (error: unknown) => StoreFault
  readonly diagnoseLateAnswer: DiagnoseLateAnswer
  /** Connections to the database opened so far. */
  readonly connectionsOpened: () => number
  readonly onState: (up: boolean) => void
  /** Told of each kind of fault once it is known, after `onState`, and for how long the store has been away. */
  readonly onUnavailable: (fault: StoreFault, forMs: number) => void
  readonly onAvailable: () => void
  /** Told of what slows look-ups down, or is not as meant, when it is not what it was. */
  readonly onWarnings: (warnings: readonly string[]) => void
}

const UP_INTERVAL_MS = 1000
const DOWN_INTERVAL_MS = 250
/** Where each probe costs the server a new connection, they become fewer. */
const DOWN_INTERVAL_MAX_MS = 1000
/** What holds a late answer up is looked into no more often. */
const LATENESS_INTERVAL_MS = 5000

/** Nobody's tokens, one for each kind of id: the table is asked as for any other, by the same plan. */
const NOBODY = ['00000000-0000-0000-0000-000000000000', '-1']

const NOT_ASKED: StoreFault = {
  kind: 'not-asked',
  code: 'NOT_ASKED',
  cause: 'the database was asked at the start and has not answered yet',
}

/**
 * Probes one after the other. The mapping is checked each time the store has been away, and when it is due. Where the
 * probe is answered and look-ups are not, a probe that asks for one of their tokens decides.
 */
export function createTokenStoreMonitor(parts: MonitorParts): TokenStoreMonitor {
  const { table, scheduler, timeoutMs } = parts
  const mapping = createMappingWatch({ ...parts, now: scheduler.now, onWarnings: warn })
  const run = createConsecutiveFailures({ now: scheduler.now, longerThanMs: timeoutMs })
  const first = Promise.withResolvers<void>()
  let fault: StoreFault | null = NOT_ASKED
  let told: StoreFault | null = NOT_ASKED
  let changedAt = scheduler.now()
  let explainedAt: number | null = null
  let downIntervalMs = DOWN_INTERVAL_MS
  let probing = false
  let closed = false
  let cancel = () => {}

  function warn(warnings: readonly string[]): void {
    if (!closed) parts.onWarnings(warnings)
  }

  function become(next: StoreFault | null): void {
    const changed = (fault === null) !== (next === null)
    fault = next
    if (!changed) return
    changedAt = scheduler.now()
    parts.onState(next === null)
  }

  function tell(): void {
    const before = told
    told = fault
    if (fault === null) {
      if (before !== null) parts.onAvailable()
    } else if (before?.kind !== fault.kind) parts.onUnavailable(fault, scheduler.now() - changedAt)
  }

  /** @returns why tokens cannot be looked up, or null where they can */
  async function ask(suspect: string | null): Promise<StoreFault | null> {
    try {
      const misfit = fault !== null || mapping.isDue() ? await mapping.check() : null
      if (misfit !== null) return misfit
      await table.findMany(suspect === null ? NOBODY : [...NOBODY, suspect], timeoutMs)
      return null
    } catch (error) {
      return parts.describe(error)
    }
  }

  /** Readiness changes at once; what holds an answer up takes one more question. */
  async function settle(found: StoreFault | null): Promise<void> {
    if (found === null || !isLate(found)) {
      explainedAt = null
      return become(found)
    }
    if (explainedAt === null) become(found)
    else if (scheduler.now() - explainedAt < LATENESS_INTERVAL_MS) return
    first.resolve()
    const explained = await parts.diagnoseLateAnswer(found)
    explainedAt = scheduler.now()
    if (!closed) become(explained)
  }

  async function probe(): Promise<void> {
    probing = true
    const opened = parts.connectionsOpened()
    const { suspect } = run
    const found = await ask(suspect)
    if (closed) return
    // An answer says nothing against look-ups that failed meanwhile: the next probe asks for one of their tokens.
    const outdated = found === null && run.suspect !== null && run.suspect !== suspect
    if (!outdated) {
      if (found === null && suspect !== null) run.end()
      await settle(found)
    }
    probing = false
    first.resolve()
    if (closed) return
    tell()
    const costly = parts.connectionsOpened() !== opened
    downIntervalMs = costly ? Math.min(downIntervalMs * 2, DOWN_INTERVAL_MAX_MS) : DOWN_INTERVAL_MS
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
    lookupSucceeded: run.end,
    lookupFailed(error, id) {
      if (closed || !run.add(id) || fault !== null) return
      become(parts.describe(error))
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
