import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'

import { createFailureLog } from './failure-log.ts'
import type { FailureKind, TokenStoreEvent } from './token-store-events.ts'

/** Writes the log lines about the token store once for all processes: when it becomes unavailable, and when it is back. */
export interface TokenStoreLog {
  /** @param source the process that sent the event */
  record(source: number, event: TokenStoreEvent): void
  /** The process has ended. */
  forget(source: number): void
  /** Writes the lines that are pending. */
  close(): void
}

/** An outage of the store, for one process at least. */
interface Outage {
  readonly since: number
  /** When the store was back for all processes; null while it is unavailable. */
  endedAt: number | null
  times: number
  /** When each kind of fault was logged. */
  readonly loggedAt: Map<string, number>
  loggedKind: string
  lineAt: number
  fault: StoreFault
  readonly failed: Map<FailureKind, number>
}

/** An outage ends when the store has been back for this long, so that a store that comes and goes has few lines. */
const SETTLE_MS = 2000
/** The same after several outages within a minute. */
const UNSTEADY_SETTLE_MS = 10_000
const UNSTEADY_OUTAGES = 6
const UNSTEADY_WITHIN_MS = 60_000
/** The least time between a line and one about another cause, and between two lines about the same cause. */
const CAUSE_INTERVAL_MS = 5000
const SAME_CAUSE_INTERVAL_MS = 60_000

export function createTokenStoreLog(log: Log, scheduler: Scheduler): TokenStoreLog {
  const unavailableSources = new Set<number>()
  const failures = createFailureLog(log, scheduler)
  let outage: Outage | null = null
  let availableBefore = false
  let warnedBefore = ''
  let timelineBefore = 0
  let oldBefore = ''
  let recentEnds: readonly number[] = []
  let cancelEnd = () => {}
  let cancelCause = () => {}

  function begin(fault: StoreFault, forMs: number): Outage {
    const now = scheduler.now()
    const loggedAt = new Map([[fault.kind, now]])
    const failed = new Map(failures.take())
    log.error({ code: fault.code, cause: fault.cause }, 'the token store is unavailable')
    const loggedKind = fault.kind
    return { since: now - forMs, endedAt: null, times: 1, loggedAt, loggedKind, lineAt: now, fault, failed }
  }

  function settleMs(): number {
    recentEnds = recentEnds.filter((at) => scheduler.now() - at < UNSTEADY_WITHIN_MS)
    return recentEnds.length < UNSTEADY_OUTAGES ? SETTLE_MS : UNSTEADY_SETTLE_MS
  }

  function continueOutage(current: Outage, fault: StoreFault): void {
    cancelEnd()
    if (current.endedAt !== null) current.times++
    current.endedAt = null
    current.fault = fault
    logCause(current)
  }

  function logCause(current: Outage): void {
    cancelCause()
    const { fault, loggedAt } = current
    if (current.endedAt !== null || current.loggedKind === fault.kind) return
    const now = scheduler.now()
    const sameAt = (loggedAt.get(fault.kind) ?? Number.NEGATIVE_INFINITY) + SAME_CAUSE_INTERVAL_MS
    const dueAt = Math.max(current.lineAt + CAUSE_INTERVAL_MS, sameAt)
    if (now < dueAt) {
      cancelCause = scheduler.after(dueAt - now, () => logCause(current))
      return
    }
    loggedAt.set(fault.kind, now)
    current.loggedKind = fault.kind
    current.lineAt = now
    const { code, cause } = fault
    log.error({ code, cause }, 'the token store is still unavailable, for another cause')
  }

  function end(current: Outage): void {
    if (current.endedAt === null) return
    cancelEnd()
    cancelCause()
    outage = null
    recentEnds = [...recentEnds, scheduler.now()]
    const count = (what: FailureKind) => current.failed.get(what) ?? 0
    log.info(
      {
        awayMs: Math.round(current.endedAt - current.since),
        times: current.times,
        failedLookups: count('lookups') + count('overload'),
        failedRechecks: count('rechecks'),
        failedSessionChanges: count('sessions'),
      },
      'the token store is available again',
    )
  }

  function onAvailable(source: number): void {
    unavailableSources.delete(source)
    if (outage === null) {
      if (!availableBefore) log.info({}, 'the token store is available')
      availableBefore = true
      return
    }
    if (unavailableSources.size > 0 || outage.endedAt !== null) return
    availableBefore = true
    outage.endedAt = scheduler.now()
    const current = outage
    cancelEnd = scheduler.after(settleMs(), () => end(current))
  }

  function onUnavailable(source: number, fault: StoreFault, forMs: number): void {
    unavailableSources.add(source)
    if (outage === null) outage = begin(fault, forMs)
    else continueOutage(outage, fault)
  }

  function onFailed(what: FailureKind, count: number, fault: StoreFault): void {
    if (outage === null || what === 'verifications') failures.add(what, count, fault)
    else outage.failed.set(what, (outage.failed.get(what) ?? 0) + count)
  }

  function onWarnings(warnings: readonly string[]): void {
    const text = warnings.join('\n')
    if (text !== warnedBefore) log.warn({ warnings }, 'the token store is available, with warnings')
    warnedBefore = text
  }

  function onTimeline(number: number): void {
    if (number !== timelineBefore) log.info({ timeline: number }, 'the database has a newer timeline')
    timelineBefore = number
  }

  function onOldPrimaries(hosts: readonly string[]): void {
    const text = hosts.join()
    if (text === oldBefore) return
    oldBefore = text
    if (hosts.length === 0) log.info({}, 'no replaced primary goes on any more')
    else log.error({ hosts }, 'a replaced primary goes on, and is refused')
  }

  return {
    record(source, event) {
      if (event.kind === 'available') onAvailable(source)
      else if (event.kind === 'unavailable') onUnavailable(source, event.fault, event.forMs)
      else if (event.kind === 'failed') onFailed(event.what, event.count, event.fault)
      else if (event.kind === 'warnings') onWarnings(event.warnings)
      else if (event.kind === 'timeline') onTimeline(event.number)
      else if (event.kind === 'oldPrimaries') onOldPrimaries(event.hosts)
      else failures.listening()
    },
    // A process that ends is no sign of a fault of the store; the process that replaces it checks the store itself.
    forget: (source) => void unavailableSources.delete(source),
    close() {
      if (outage !== null) end(outage)
      failures.close()
    },
  }
}
