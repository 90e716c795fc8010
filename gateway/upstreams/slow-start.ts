import type { Scheduler } from '../core/scheduler.ts'
import type { Target } from './target.ts'

/** A target that was down gets its full weight back in steps over this time, or over the time that it was away. */
const SLOW_START_MS = 10_000
const STEPS = 10

export interface SlowStart {
  /**
   * Sets the target to a tenth of its weight and raises it step by step.
   *
   * @param awayMs how long it was down: one that was away for a moment is not cold
   */
  start(target: Target, awayMs: number): void
  /** Stops all steps. Weights stay as they are, because a newer routing file may have set them already. */
  close(): void
}

/** Raises the weight of recovered targets slowly: a cold one that got its full share at once could fail again. */
export function createSlowStart(fullWeight: (target: Target) => number, scheduler: Scheduler): SlowStart {
  const cancels = new Map<Target, () => void>()

  function step(target: Target, n: number, stepMs: number): void {
    target.weight = (fullWeight(target) * n) / STEPS
    if (n === STEPS) {
      cancels.delete(target)
      return
    }
    cancels.set(
      target,
      scheduler.after(stepMs, () => step(target, n + 1, stepMs)),
    )
  }

  return {
    start(target, awayMs) {
      cancels.get(target)?.()
      step(target, 1, Math.min(SLOW_START_MS, awayMs) / STEPS)
    },
    close() {
      for (const cancel of cancels.values()) cancel()
      cancels.clear()
    },
  }
}
