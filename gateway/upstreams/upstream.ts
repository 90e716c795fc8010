import type { Metrics } from '../ops/metrics.ts'
import type { UpstreamConfig } from '../routing/upstreams-schema.ts'
import type { Scheduler } from '../scheduler.ts'
import { type Balancer, leastRequests, roundRobin } from './balancing.ts'
import { createEasing } from './easing.ts'
import { createEjection } from './ejection.ts'
import { startHealthChecks } from './health-checks.ts'
import { createRetryBudget, type RetryBudget } from './retry-budget.ts'
import { createTarget, isUp, type Target } from './target.ts'

/** A target taken for one exchange. Whoever acquires it releases it, once. */
export interface Lease {
  readonly target: Target
  /** @param failed true where the target did not answer, or with 502, 503 or 504 */
  release(failed: boolean): void
}

export type Acquired =
  | { readonly kind: 'leased'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly code: 'upstream_unavailable' | 'upstream_overloaded' }

/** What an exchange wants of a target. */
export interface Wanted {
  /** Targets that failed it already; taken again only where there is no other. */
  readonly tried?: ReadonlySet<Target> | undefined
  /** It gets a connection of its own, for as long as the client likes; limits of the pool are not for it. */
  readonly upgrade?: boolean
}

/** A named group of targets that serve the same thing. */
export interface Upstream {
  readonly name: string
  readonly config: UpstreamConfig
  readonly targets: readonly Target[]
  readonly retryBudget: RetryBudget
  acquire(want?: Wanted): Acquired
  /** Ends checks and timers; the targets' connections are their owner's to close. */
  stop(): void
}

export interface UpstreamParts {
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly scheduler: Scheduler
  readonly metrics: Pick<Metrics, 'target'>
  /** Called when a target goes down or comes up again. */
  readonly onTargetChange: (upstream: string, target: Target, up: boolean, reason: string) => void
  /** The target of the file before, where this one is the same: it keeps its connections and health. */
  readonly existing?: (url: string) => Target | undefined
}

export function createUpstream(name: string, config: UpstreamConfig, parts: UpstreamParts): Upstream {
  const weights = new Map(config.targets.map(({ url, weight }) => [url, weight]))
  const targets = config.targets.map(({ url, weight }) => {
    const target =
      parts.existing?.(url) ?? createTarget(config, { url, weight, metrics: parts.metrics.target(name, url) })
    target.weight = weight
    forget(target, config)
    target.metrics.up.value = isUp(target) ? 1 : 0
    return target
  })
  const balance: Balancer = config.balance === 'round-robin' ? roundRobin() : leastRequests(parts.random)
  const easing = createEasing((target) => weights.get(target.url) ?? 1, parts.scheduler)
  let up = targets.filter(isUp)

  function onChange(target: Target, reason: string): void {
    const before = up.includes(target)
    up = targets.filter(isUp)
    const now = up.includes(target)
    target.metrics.up.value = now ? 1 : 0
    if (now === before) return
    if (now) easing.start(target)
    parts.onTargetChange(name, target, now, reason)
    if (up.length === 0) ejection?.giveBackAll()
  }

  const shared = { targets, scheduler: parts.scheduler, onChange }
  const ejection =
    config.ejection === undefined ? null : createEjection({ ...shared, config: config.ejection })
  const stopChecks =
    config.health === undefined
      ? null
      : startHealthChecks({ ...shared, config: config.health, random: parts.random })

  if (up.length === 0) ejection?.giveBackAll()

  /** Exchanges that wait for a connection are those beyond what each target's connections can carry. */
  function waiting(): number {
    let count = 0
    for (const target of targets) count += Math.max(0, pooled(target) - config.maxConnections)
    return count
  }

  function lease(target: Target, upgrade: boolean): Lease {
    let released = false
    target.inFlight++
    if (upgrade) target.upgraded++
    return {
      target,
      release(failed) {
        if (released) return
        released = true
        target.inFlight--
        if (upgrade) target.upgraded--
        ejection?.record(target, failed)
      },
    }
  }

  return {
    name,
    config,
    targets,
    retryBudget: createRetryBudget(),
    acquire({ tried, upgrade = false } = {}) {
      if (up.length === 0) return { kind: 'refused', code: 'upstream_unavailable' }
      const untried = tried === undefined ? up : up.filter((target) => !tried.has(target))
      const target = balance(untried.length === 0 ? up : untried)
      const full = !upgrade && pooled(target) >= config.maxConnections
      if (full && waiting() >= config.maxPending) {
        return { kind: 'refused', code: 'upstream_overloaded' }
      }
      return { kind: 'leased', lease: lease(target, upgrade) }
    },
    stop() {
      stopChecks?.()
      ejection?.close()
      easing.close()
    },
  }
}

/** What a routing file no longer judges cannot keep a target out for ever. */
function forget({ health }: Target, config: UpstreamConfig): void {
  if (config.health === undefined) {
    health.passing = true
    health.problem = null
    health.streak = 0
  }
  if (config.ejection === undefined) {
    health.ejected = false
    health.failures = 0
  }
}

function pooled(target: Target): number {
  return target.inFlight - target.upgraded
}
