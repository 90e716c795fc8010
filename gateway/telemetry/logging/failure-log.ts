import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'
import type { FailureKind } from './token-store-events.ts'

/** Lines about what fails though the token store is available: one for many failures. */
export interface FailureLog {
  add(what: FailureKind, count: number, fault: StoreFault): void
  /** What failed for want of the store and has not been written yet; it is written no more. */
  take(): ReadonlyMap<FailureKind, number>
  /** Notices of revocations are heard, again. */
  listening(): void
  /** Writes what waits. */
  close(): void
}

const MESSAGES: Readonly<Record<FailureKind, string>> = {
  lookups: 'tokens could not be looked up',
  rechecks: 'open exchanges could not be looked up',
  sessions: 'sessions could not be changed',
  notices: 'revocations cannot be listened for',
  overload: 'look-ups were refused: too many wait already',
  verifications: 'tokens could not be verified',
}

/** A store that has gone is found out within this time: failures until then are the outage's. */
const FIRST_MS = 5000
/** What goes on failing is said less and less often. */
const MOST_MS = 60_000

interface Waiting {
  count: number
  fault: StoreFault
  readonly since: number
  readonly cancel: () => void
}

export function createFailureLog(log: Log, scheduler: Scheduler): FailureLog {
  const waiting = new Map<FailureKind, Waiting>()
  const pausesMs = new Map<FailureKind, number>()
  const lastAt = new Map<FailureKind, number>()
  let silent = false

  function write(what: FailureKind): void {
    const due = waiting.get(what)
    if (due === undefined) return
    due.cancel()
    waiting.delete(what)
    lastAt.set(what, scheduler.now())
    if (what === 'notices') silent = true
    const { code, cause } = due.fault
    const withinMs = Math.round(scheduler.now() - due.since)
    log.warn({ failed: due.count, withinMs, code, cause }, MESSAGES[what])
  }

  function pauseOf(what: FailureKind): number {
    const before = pausesMs.get(what) ?? 0
    const quietMs = scheduler.now() - (lastAt.get(what) ?? Number.NEGATIVE_INFINITY)
    const pause = quietMs > MOST_MS ? FIRST_MS : Math.min(Math.max(before * 2, FIRST_MS), MOST_MS)
    pausesMs.set(what, pause)
    return pause
  }

  return {
    add(what, count, fault) {
      const known = waiting.get(what)
      if (known !== undefined) {
        known.count += count
        known.fault = fault
        return
      }
      const cancel = scheduler.after(pauseOf(what), () => write(what))
      waiting.set(what, { count, fault, since: scheduler.now(), cancel })
    },
    take() {
      const taken = new Map<FailureKind, number>()
      for (const [what, { count, cancel }] of waiting) {
        if (what === 'verifications') continue
        cancel()
        waiting.delete(what)
        taken.set(what, count)
      }
      return taken
    },
    listening() {
      waiting.get('notices')?.cancel()
      waiting.delete('notices')
      if (!silent) return
      silent = false
      log.info({}, 'revocations are listened for again')
    },
    close() {
      for (const what of [...waiting.keys()]) write(what)
    },
  }
}
