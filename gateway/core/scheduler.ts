/** The clock and its timers, passed in so that tests can control them. */
export interface Scheduler {
  /** Milliseconds, monotonic. */
  now(): number
  /** Runs `task` once after `ms`; the returned function cancels it. */
  after(ms: number, task: () => void): () => void
}

/**
 * The clock of the process. Its timers do not keep the process alive. A task that is due runs at the end of a turn of the
 * event loop: timers come first in a turn, and bytes that arrived while the process was busy or stopped have to be read
 * before anything counts as late.
 */
export const systemScheduler: Scheduler = {
  now: () => performance.now(),
  after(ms, task) {
    let endOfTurn: NodeJS.Immediate | null = null
    const timer = setTimeout(
      () => {
        endOfTurn = setImmediate(task)
      },
      Math.max(0, ms),
    )
    timer.unref()
    return () => {
      clearTimeout(timer)
      if (endOfTurn !== null) clearImmediate(endOfTurn)
    }
  },
}

/**
 * Runs `task` again and again, `pauseMs` after it has ended each time.
 *
 * @returns what stops it; a run that is under way goes on to its end
 */
export function repeat(scheduler: Scheduler, pauseMs: number, task: () => void | Promise<void>): () => void {
  let stopped = false
  let cancel = scheduler.after(pauseMs, run)
  async function run(): Promise<void> {
    try {
      await task()
    } finally {
      if (!stopped) cancel = scheduler.after(pauseMs, run)
    }
  }
  return () => {
    stopped = true
    cancel()
  }
}
