import type { Scheduler } from '../core/scheduler.ts'
import type { Target } from './target.ts'

/** A target that was down gets its full weight back in steps over this time. */
const SLOW_START_MS = 10_000
const STEPS = 10

export interface SlowStart {
  /** Sets the target to a tenth of its weight and raises it step by step. */
  start(target: Target): void
  /** Stops all steps. Weights stay as they are, because a newer routing file may have set them already. */
  close(): void
}

/** Raises the weight of recovered targets slowly: a cold one that got its full share at once could fail again. */
export function createSlowStart(fullWeight: (target: Target) => number, scheduler: Scheduler): SlowStart {
  const cancels = new Map<Target, () => void>()

  function step(target: Target, n: number): void {
    target.weight = (fullWeight(target) * n) / STEPS
    if (n === STEPS) {
      cancels.delete(target)
      return
    }
    cancels.set(
      target,
      scheduler.after(SLOW_START_MS / STEPS, () => step(target, n + 1)),
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
