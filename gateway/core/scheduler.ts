/** Time, passed in so that tests can hold it. */
export interface Scheduler {
  /** Milliseconds, monotonic. */
  now(): number
  /** Runs `task` once after `ms`; the returned function cancels it. */
  after(ms: number, task: () => void): () => void
}

/**
 * The process's own clock. Its timers keep no process alive. What is due is run at the end of a turn of the event loop:
 * timers come first in a turn, and what arrived while the process was busy or stopped has to be read before anything
 * is held to be overdue.
 */
export const systemScheduler: Scheduler = {
  now: () => performance.now(),
  after(ms, task) {
    let turnEnd: NodeJS.Immediate | null = null
    const timer = setTimeout(
      () => {
        turnEnd = setImmediate(task)
      },
      Math.max(0, ms),
    )
    timer.unref()
    return () => {
      clearTimeout(timer)
      if (turnEnd !== null) clearImmediate(turnEnd)
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
