import type { Scheduler } from '../core/scheduler.ts'
import type { HealthConfig } from './config.ts'
import type { Target } from './target.ts'

export interface HealthCheckParts {
  readonly config: HealthConfig
  readonly targets: readonly Target[]
  readonly scheduler: Scheduler
  /** Uniform in [0, 1). */
  readonly random: () => number
  /** Called when a target becomes unhealthy or healthy. */
  readonly onChange: (target: Target, reason: string) => void
}

/** Each check comes up to this share of the interval earlier, so that instances do not check all at the same moment. */
const JITTER = 0.1

/**
 * Active health checks: requests a path from each target, on a timer for each. Targets count as healthy until checks
 * fail, so that a start does not have to wait for the first checks.
 *
 * @returns a function that stops the checks
 */
export function startHealthChecks({
  config,
  targets,
  scheduler,
  random,
  onChange,
}: HealthCheckParts): () => void {
  let stopped = false
  const cancels = new Map<Target, () => void>()

  async function check(target: Target): Promise<void> {
    const problem = await target.probe(config.path, config.timeoutMs)
    if (stopped) return
    updateHealth(target, problem)
    scheduleCheck(target, config.intervalMs * (1 - JITTER * random()))
  }

  function updateHealth(target: Target, problem: string | null): void {
    const { health } = target
    const passes = problem === null
    health.problem = problem
    if (passes === health.passing) {
      health.streak = 0
      return
    }
    health.streak++
    if (health.streak < (passes ? config.healthyAfter : config.unhealthyAfter)) return
    health.streak = 0
    health.passing = passes
    onChange(target, problem ?? `${config.healthyAfter} good checks in a row`)
  }

  function scheduleCheck(target: Target, ms: number): void {
    cancels.set(
      target,
      scheduler.after(ms, () => void check(target)),
    )
  }

  for (const target of targets) scheduleCheck(target, config.intervalMs * JITTER * random())

  return () => {
    stopped = true
    for (const cancel of cancels.values()) cancel()
  }
}
