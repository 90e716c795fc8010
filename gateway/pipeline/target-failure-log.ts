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
  /** Writes the lines of failures that have none yet. */
  close(): void
}

/** A target that fails again within this time gets a line with the number of its failures. */
const FIRST_PAUSE_MS = 5000
/** The pause doubles with each line, up to this. A target that was well for a pause begins anew. */
const MAX_PAUSE_MS = 60_000

/** The failures of one target with one code since its last line. */
interface Pending {
  count: number
  last: TargetFailure
  readonly since: number
  readonly pauseMs: number
  readonly cancel: () => void
}

/** The access lines have the code of each request; what a dead target's thousandth failure adds is only its number. */
export function createTargetFailureLog(log: Log, scheduler: Scheduler): TargetFailureLog {
  const failing = new Map<string, Pending>()

  function begin(key: string, last: TargetFailure, pauseMs: number): void {
    const cancel = scheduler.after(pauseMs, () => onPauseOver(key))
    failing.set(key, { count: 0, last, since: scheduler.now(), pauseMs, cancel })
  }

  function onPauseOver(key: string): void {
    const { count, last, pauseMs } = take(key)
    if (count > 0) begin(key, last, Math.min(pauseMs * 2, MAX_PAUSE_MS))
  }

  /** Removes what is pending, once its line was written. */
  function take(key: string): Pending {
    const pending = failing.get(key)!
    const { count, last, since } = pending
    failing.delete(key)
    const withinMs = Math.round(scheduler.now() - since)
    if (count > 0) log.warn({ ...last, failed: count, withinMs }, 'the target failed')
    return pending
  }

  return {
    add(failure) {
      const key = `${failure.upstream} ${failure.target} ${failure.code}`
      const known = failing.get(key)
      if (known === undefined) {
        log.warn({ ...failure }, 'the target failed')
        begin(key, failure, FIRST_PAUSE_MS)
      } else {
        known.count++
        known.last = failure
      }
    },
    close() {
      for (const key of [...failing.keys()]) take(key).cancel()
    },
  }
}
