import type { Scheduler } from '../core/scheduler.ts'
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
  /** Gives targets back before their time. */
  giveBackAll(): void
  /** Nothing is recorded from here on. */
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
  let closed = false

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
    health.ejectedUntil = now + duration
    target.metrics.ejections.value++
    onChange(target, `${config.consecutiveFailures} failures in a row; out for ${duration} ms`)
    giveBackIn(duration, target)
  }

  function giveBackIn(ms: number, target: Target): void {
    returns.set(
      target,
      scheduler.after(ms, () => giveBack(target, 'the ejection is over')),
    )
  }

  function giveBack(target: Target, reason: string): void {
    returns.get(target)?.()
    returns.delete(target)
    target.health.ejected = false
    target.health.failures = 0
    target.health.returnedAt = scheduler.now()
    onChange(target, reason)
  }

  // Targets that were out when the routing file was read again come back as they would have.
  for (const target of targets) {
    if (target.health.ejected) giveBackIn(Math.max(0, target.health.ejectedUntil - scheduler.now()), target)
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
    giveBackAll() {
      for (const target of [...returns.keys()]) giveBack(target, 'no other target is up')
    },
    close() {
      closed = true
      for (const cancel of returns.values()) cancel()
      returns.clear()
    },
  }
}
