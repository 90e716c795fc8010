import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'

import { createFailureLog } from './failure-log.ts'
import type { FailureKind, TokenStoreEvent } from './token-store-events.ts'

/** Writes what the log says of the token store, once for all processes: when it goes, and when it is back. */
export interface TokenStoreLog {
  /** @param source the process that found it out */
  record(source: number, event: TokenStoreEvent): void
  /** The process has ended. */
  forget(source: number): void
  /** Writes what waits. */
  close(): void
}

/** The store has been away, for one process at least. */
interface Outage {
  readonly since: number
  /** When it was back for all; null while it is away. */
  endedAt: number | null
  times: number
  /** When each kind of fault was told. */
  readonly toldAt: Map<string, number>
  toldKind: string
  lineAt: number
  fault: StoreFault
  readonly failed: Map<FailureKind, number>
}

/** An outage is over when the store has been back for so long: one that comes and goes makes one pair of lines. */
const SETTLE_MS = 2000
/** The same, after some outages within a minute. */
const UNSTEADY_SETTLE_MS = 10_000
const UNSTEADY_OUTAGES = 6
const UNSTEADY_WITHIN_MS = 60_000
/** Another cause is told no sooner than this after the last line, and the same one again no sooner than a minute. */
const CAUSE_MS = 5000
const SAME_CAUSE_MS = 60_000

export function createTokenStoreLog(log: Log, scheduler: Scheduler): TokenStoreLog {
  const away = new Set<number>()
  const failures = createFailureLog(log, scheduler)
  let outage: Outage | null = null
  let known = false
  let warned = ''
  let recentEnds: readonly number[] = []
  let cancelEnd = () => {}
  let cancelCause = () => {}

  function begin(fault: StoreFault, forMs: number): Outage {
    const now = scheduler.now()
    const toldAt = new Map([[fault.kind, now]])
    const failed = new Map(failures.take())
    log.error({ code: fault.code, cause: fault.cause }, 'the token store is unavailable')
    const toldKind = fault.kind
    return { since: now - forMs, endedAt: null, times: 1, toldAt, toldKind, lineAt: now, fault, failed }
  }

  function settleMs(): number {
    recentEnds = recentEnds.filter((at) => scheduler.now() - at < UNSTEADY_WITHIN_MS)
    return recentEnds.length < UNSTEADY_OUTAGES ? SETTLE_MS : UNSTEADY_SETTLE_MS
  }

  function goOn(current: Outage, fault: StoreFault): void {
    cancelEnd()
    if (current.endedAt !== null) current.times++
    current.endedAt = null
    current.fault = fault
    tellCause(current)
  }

  function tellCause(current: Outage): void {
    cancelCause()
    const { fault, toldAt } = current
    if (current.endedAt !== null || current.toldKind === fault.kind) return
    const now = scheduler.now()
    const sameAt = (toldAt.get(fault.kind) ?? Number.NEGATIVE_INFINITY) + SAME_CAUSE_MS
    const dueAt = Math.max(current.lineAt + CAUSE_MS, sameAt)
    if (now < dueAt) {
      cancelCause = scheduler.after(dueAt - now, () => tellCause(current))
      return
    }
    toldAt.set(fault.kind, now)
    current.toldKind = fault.kind
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
    away.delete(source)
    if (outage === null) {
      if (!known) log.info({}, 'the token store is available')
      known = true
      return
    }
    if (away.size > 0 || outage.endedAt !== null) return
    known = true
    outage.endedAt = scheduler.now()
    const current = outage
    cancelEnd = scheduler.after(settleMs(), () => end(current))
  }

  function onUnavailable(source: number, fault: StoreFault, forMs: number): void {
    away.add(source)
    if (outage === null) outage = begin(fault, forMs)
    else goOn(outage, fault)
  }

  function onFailed(what: FailureKind, count: number, fault: StoreFault): void {
    if (outage === null || what === 'verifications') failures.add(what, count, fault)
    else outage.failed.set(what, (outage.failed.get(what) ?? 0) + count)
  }

  function onWarnings(warnings: readonly string[]): void {
    const text = warnings.join('\n')
    if (text !== warned) log.warn({ warnings }, 'the token store is available, but not as it should be')
    warned = text
  }

  return {
    record(source, event) {
      if (event.kind === 'available') onAvailable(source)
      else if (event.kind === 'unavailable') onUnavailable(source, event.fault, event.forMs)
      else if (event.kind === 'failed') onFailed(event.what, event.count, event.fault)
      else if (event.kind === 'warnings') onWarnings(event.warnings)
      else failures.listening()
    },
    // That it has gone says nothing of the store; what takes its place finds out for itself.
    forget: (source) => void away.delete(source),
    close() {
      if (outage !== null) end(outage)
      failures.close()
    },
  }
}
