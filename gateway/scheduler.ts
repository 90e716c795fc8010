/** Time, passed in so that tests can hold it. */
export interface Scheduler {
  /** Milliseconds, monotonic. */
  now(): number
  /** Runs `task` once after `ms`; the returned function cancels it. */
  after(ms: number, task: () => void): () => void
}

/** The process's own clock. Its timers keep no process alive. */
export const systemScheduler: Scheduler = {
  now: () => performance.now(),
  after(ms, task) {
    const timer = setTimeout(task, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
