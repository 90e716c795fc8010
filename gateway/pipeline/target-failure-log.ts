import type { ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'

/** An attempt that failed. */
export interface TargetFailure {
  readonly requestId: string
  readonly upstream: string
  readonly target: string
  readonly code: ErrorCode
  readonly err: unknown
}

/** Writes a line when a target begins to fail, and one for many while it goes on. */
export interface TargetFailureLog {
  add(failure: TargetFailure): void
}

/** A target that fails again within this time gets a line with the number of its failures. */
const FIRST_PAUSE_MS = 5000
/** The pause doubles with each line, up to this. A target that was well for a pause begins anew. */
const MAX_PAUSE_MS = 60_000

/** The failures of one target with one code since its last line. */
interface Pending {
  count: number
  last: TargetFailure
  pauseMs: number
}

/** The access lines have the code of each request; what a dead target's thousandth failure adds is only its number. */
export function createTargetFailureLog(log: Log, { after }: Pick<Scheduler, 'after'>): TargetFailureLog {
  const failing = new Map<string, Pending>()

  function pause(key: string, pending: Pending): void {
    after(pending.pauseMs, () => {
      const { count, last, pauseMs } = pending
      if (count === 0) return failing.delete(key)
      log.warn({ ...last, failed: count, withinMs: pauseMs }, 'the target failed')
      const next = { count: 0, last, pauseMs: Math.min(pauseMs * 2, MAX_PAUSE_MS) }
      failing.set(key, next)
      return pause(key, next)
    })
  }

  return {
    add(failure) {
      const key = `${failure.upstream} ${failure.target} ${failure.code}`
      const known = failing.get(key)
      if (known !== undefined) {
        known.count++
        known.last = failure
        return
      }
      log.warn({ ...failure }, 'the target failed')
      const pending = { count: 0, last: failure, pauseMs: FIRST_PAUSE_MS }
      failing.set(key, pending)
      pause(key, pending)
    },
  }
}
