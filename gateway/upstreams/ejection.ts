import type { Scheduler } from '../scheduler.ts'
import type { Target } from './target.ts'

export interface EjectionConfig {
  readonly consecutiveFailures: number
  readonly durationMs: number
  readonly maxPercent: number
}

export interface EjectionParts {
  readonly config: EjectionConfig
  readonly targets: readonly Target[]
  readonly scheduler: Scheduler
  /** Called when a target is taken out or comes back. */
  readonly onChange: (target: Target, reason: string) => void
}

/** Passive health: takes targets out by the outcomes of the exchanges they get anyway. */
export interface Ejection {
  record(target: Target, failed: boolean): void
  close(): void
}

/** The longest ejection is this many times the configured duration. */
const MAX_FACTOR = 10

/**
 * After so many failures in a row a target is out for the configured duration, twice as long at each repeat up
 * to ten times. Never more than `maxPercent` of the targets are out, and never the last one that is up: some
 * chance of an answer is better than none.
 */
export function createEjection({ config, targets, scheduler, onChange }: EjectionParts): Ejection {
  const returns = new Map<Target, () => void>()

  function mayEject(target: Target): boolean {
    const out = targets.filter((each) => each.health.ejected).length
    const others = targets.some((each) => each !== target && each.health.passing && !each.health.ejected)
    return others && (out + 1) * 100 <= config.maxPercent * targets.length
  }

  function eject(target: Target): void {
    const { health } = target
    const now = scheduler.now()
    const longest = config.durationMs * MAX_FACTOR
    // One that has held out for the longest ejection starts over.
    if (now - health.returnedAt > longest) health.ejections = 0
    const duration = Math.min(config.durationMs * 2 ** health.ejections, longest)
    health.ejections++
    health.ejected = true
    target.metrics.ejections.value++
    onChange(target, `${config.consecutiveFailures} failures in a row; out for ${duration} ms`)
    returns.set(
      target,
      scheduler.after(duration, () => giveBack(target)),
    )
  }

  function giveBack(target: Target): void {
    returns.delete(target)
    target.health.ejected = false
    target.health.failures = 0
    target.health.returnedAt = scheduler.now()
    onChange(target, 'the ejection is over')
  }

  // Targets that were out when the routing file was read again come back as they would have.
  for (const target of targets) {
    if (target.health.ejected)
      returns.set(
        target,
        scheduler.after(config.durationMs, () => giveBack(target)),
      )
  }

  return {
    record(target, failed) {
      const { health } = target
      if (!failed) {
        health.failures = 0
        return
      }
      health.failures++
      if (health.ejected || health.failures < config.consecutiveFailures) return
      if (mayEject(target)) eject(target)
    },
    close() {
      for (const cancel of returns.values()) cancel()
      returns.clear()
    },
  }
}
