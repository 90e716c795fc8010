import type { Scheduler } from '../core/scheduler.ts'
import type { EjectionConfig } from './config.ts'
import { isUp, type Target } from './target.ts'

export interface EjectionParts {
  readonly config: EjectionConfig
  readonly targets: readonly Target[]
  readonly scheduler: Scheduler
  /** Called when a target is ejected or reinstated. */
  readonly onChange: (target: Target, reason: string) => void
}

/** Outlier ejection: targets whose exchanges fail get no requests for a while. */
export interface Ejection {
  /** Records the result of one exchange. */
  record(target: Target, failed: boolean): void
  /** Ends all ejections at once. */
  reinstateAll(): void
  /** Stops recording and cancels all timers. */
  close(): void
}

/** The longest ejection is this many times the configured duration. */
const MAX_FACTOR = 10

/**
 * After `consecutiveFailures` a target is ejected for `durationMs`, twice as long with each further ejection, up to ten
 * times as long. Never more than `maxPercent` of the targets are ejected, and never the last one that is up, because
 * even an unreliable target is better than none.
 */
export function createEjection({ config, targets, scheduler, onChange }: EjectionParts): Ejection {
  const reinstatements = new Map<Target, () => void>()
  let closed = false

  function mayEject(target: Target): boolean {
    const ejected = targets.filter((each) => each.health.ejected).length
    const hasOther = targets.some((each) => each !== target && isUp(each))
    return hasOther && (ejected + 1) * 100 <= config.maxPercent * targets.length
  }

  function eject(target: Target): void {
    const { health } = target
    const now = scheduler.now()
    const longest = config.durationMs * MAX_FACTOR
    // A target that did well for as long as the longest ejection starts again with the shortest.
    if (now - health.reinstatedAt > longest) health.ejections = 0
    const duration = Math.min(config.durationMs * 2 ** health.ejections, longest)
    health.ejections++
    health.ejected = true
    health.ejectedUntil = now + duration
    target.metrics.ejections.value++
    onChange(target, `${config.consecutiveFailures} failures in a row; ejected for ${duration} ms`)
    reinstateIn(duration, target)
  }

  function reinstateIn(ms: number, target: Target): void {
    reinstatements.set(
      target,
      scheduler.after(ms, () => reinstate(target, 'the ejection has ended')),
    )
  }

  function reinstate(target: Target, reason: string): void {
    reinstatements.get(target)?.()
    reinstatements.delete(target)
    target.health.ejected = false
    target.health.failures = 0
    target.health.reinstatedAt = scheduler.now()
    onChange(target, reason)
  }

  // Targets that were ejected when the routing file was read again are reinstated at the time that was set for them.
  for (const target of targets) {
    if (target.health.ejected) reinstateIn(Math.max(0, target.health.ejectedUntil - scheduler.now()), target)
  }

  return {
    record(target, failed) {
      if (closed) return
      const { health } = target
      if (!failed) {
        health.failures = 0
        return
      }
      health.failures++
      if (health.ejected || health.failures < config.consecutiveFailures) return
      if (mayEject(target)) eject(target)
    },
    reinstateAll() {
      for (const target of [...reinstatements.keys()]) reinstate(target, 'no other target is up')
    },
    close() {
      closed = true
      for (const cancel of reinstatements.values()) cancel()
      reinstatements.clear()
    },
  }
}
