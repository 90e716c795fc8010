import type { Scheduler } from '../core/scheduler.ts'
import type { Target } from './target.ts'

/** A target that was down gets its full share again after this time, in steps. */
const EASE_MS = 10_000
const STEPS = 10

export interface Easing {
  /** Begins with a tenth of the weight. */
  start(target: Target): void
  /** Weights stay as they are: by now they may be another routing file's. */
  close(): void
}

/** Eases recovered targets in: a cold one that got its whole share at once would be the next to fail. */
export function createEasing(fullWeight: (target: Target) => number, scheduler: Scheduler): Easing {
  const cancels = new Map<Target, () => void>()

  function step(target: Target, n: number): void {
    target.weight = (fullWeight(target) * n) / STEPS
    if (n === STEPS) {
      cancels.delete(target)
      return
    }
    cancels.set(
      target,
      scheduler.after(EASE_MS / STEPS, () => step(target, n + 1)),
    )
  }

  return {
    start(target) {
      cancels.get(target)?.()
      step(target, 1)
    },
    close() {
      for (const cancel of cancels.values()) cancel()
      cancels.clear()
    },
  }
}
