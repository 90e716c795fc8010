import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import type { StoreFault } from '../../core/store-fault.ts'
import type { FailureKind } from './token-store-events.ts'

/** Writes log lines about failures while the token store is available, one line for many failures. */
export interface FailureLog {
  add(what: FailureKind, count: number, fault: StoreFault): void
  /** Removes the failures of the store that are not written yet, and returns their counts. */
  take(): ReadonlyMap<FailureKind, number>
  /** Notifications of revocations are received again. */
  listening(): void
  /** Writes the lines that are pending. */
  close(): void
}

const MESSAGES: Readonly<Record<FailureKind, string>> = {
  lookups: 'tokens could not be looked up',
  rechecks: 'open exchanges could not be looked up',
  sessions: 'sessions could not be changed',
  notices: 'revocation notifications cannot be received',
  overload: 'look-ups were refused: too many are pending',
  verifications: 'tokens could not be verified',
}

/** The first line waits this long: by then an outage of the store is known, and the failures are part of its lines. */
const MIN_DELAY_MS = 5000
/** While failures go on the delay doubles with each line, up to this. */
const MAX_DELAY_MS = 60_000

/** The failures of one kind since its last line. */
interface PendingLine {
  count: number
  fault: StoreFault
  readonly since: number
  readonly cancel: () => void
}

export function createFailureLog(log: Log, scheduler: Scheduler): FailureLog {
  const pending = new Map<FailureKind, PendingLine>()
  const delaysMs = new Map<FailureKind, number>()
  const lastAt = new Map<FailureKind, number>()
  let notificationsLost = false

  function write(what: FailureKind): void {
    const due = pending.get(what)
    if (due === undefined) return
    due.cancel()
    pending.delete(what)
    lastAt.set(what, scheduler.now())
    if (what === 'notices') notificationsLost = true
    const { code, cause } = due.fault
    const withinMs = Math.round(scheduler.now() - due.since)
    log.warn({ failed: due.count, withinMs, code, cause }, MESSAGES[what])
  }

  function nextDelay(what: FailureKind): number {
    const before = delaysMs.get(what) ?? 0
    const quietMs = scheduler.now() - (lastAt.get(what) ?? Number.NEGATIVE_INFINITY)
    const delayMs =
      quietMs > MAX_DELAY_MS ? MIN_DELAY_MS : Math.min(Math.max(before * 2, MIN_DELAY_MS), MAX_DELAY_MS)
    delaysMs.set(what, delayMs)
    return delayMs
  }

  return {
    add(what, count, fault) {
      const known = pending.get(what)
      if (known !== undefined) {
        known.count += count
        known.fault = fault
        return
      }
      const cancel = scheduler.after(nextDelay(what), () => write(what))
      pending.set(what, { count, fault, since: scheduler.now(), cancel })
    },
    take() {
      const taken = new Map<FailureKind, number>()
      for (const [what, { count, cancel }] of pending) {
        if (what === 'verifications') continue
        cancel()
        pending.delete(what)
        taken.set(what, count)
      }
      return taken
    },
    listening() {
      pending.get('notices')?.cancel()
      pending.delete('notices')
      if (!notificationsLost) return
      notificationsLost = false
      log.info({}, 'revocation notifications are received again')
    },
    close() {
      for (const what of [...pending.keys()]) write(what)
    },
  }
}
