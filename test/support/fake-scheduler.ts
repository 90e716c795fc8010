import type { Scheduler } from '../../gateway/core/scheduler.ts'

/** Time that passes when the test says so. */
export interface FakeScheduler extends Scheduler {
  /** Runs what becomes due, in order; lets promises settle after each task. */
  advance(ms: number): Promise<void>
  /** Milliseconds until each task that is waiting, the next first. */
  readonly due: readonly number[]
}

export function createFakeScheduler(): FakeScheduler {
  let now = 0
  const tasks = new Set<{ readonly at: number; readonly task: () => void }>()
  const sorted = () => [...tasks].sort((a, b) => a.at - b.at)
  return {
    now: () => now,
    after(ms, task) {
      const entry = { at: now + ms, task }
      tasks.add(entry)
      return () => tasks.delete(entry)
    },
    async advance(ms) {
      const end = now + ms
      for (;;) {
        const next = sorted()[0]
        if (next === undefined || next.at > end) break
        tasks.delete(next)
        now = next.at
        next.task()
        await new Promise((resolve) => setImmediate(resolve))
      }
      now = end
    },
    get due() {
      return sorted().map(({ at }) => at - now)
    },
  }
}
