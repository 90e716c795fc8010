import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { type Balancer, leastRequests, roundRobin } from './balancing.ts'
import type { UpstreamConfig } from './config.ts'
import { createEjection } from './ejection.ts'
import { startHealthChecks } from './health-checks.ts'
import { createWaitingLine, type Place } from './pending-queue.ts'
import { createRetryBudget, type RetryBudget } from './retry-budget.ts'
import { createEasing } from './slow-start.ts'
import { createTarget, isUp, type Target, type TargetHealth } from './target.ts'

/**
 * `bad`: it did not answer, or with 502, 503 or 504. `none`: the exchange ended for the client's sake, before one could
 * know.
 */
export type Verdict = 'good' | 'bad' | 'none'

/** A target taken for one exchange. Whoever acquires it releases it, once. */
export interface Lease {
  readonly target: Target
  /** @param verdict what the exchange says of the target */
  release(verdict: Verdict): void
}

export type Turn =
  | { readonly kind: 'leased'; readonly lease: Lease }
  /** `upstream_timeout` after a wait for a connection as long as a target may take to answer. */
  | {
      readonly kind: 'refused'
      readonly code: 'upstream_unavailable' | 'upstream_overloaded' | 'upstream_timeout'
    }

/** `queued` where all targets have the connections under way that they may have. */
export type Acquired = Turn | { readonly kind: 'queued'; readonly place: Place<Turn> }

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
  /** Leases that were not released yet, and exchanges that wait for one. */
  readonly open: number
  acquire(want?: Wanted): Acquired
  /** Ends checks and timers; the targets' connections are their owner's to close. */
  stop(): void
}

export interface UpstreamParts {
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly scheduler: Scheduler
  /** How the targets' names become addresses. */
  readonly lookup: LookupFunction
  readonly metrics: Pick<Metrics, 'target'>
  /** Called when a target goes down or comes up again. */
  readonly onTargetChange: (upstream: string, target: Target, up: boolean, reason: string) => void
  /** The target of the file before, where this one is the same: it keeps its connections and health. */
  readonly existing?: (url: string) => Target | undefined
  /** The health of the target of the file before, where it stays and only its connections have to be made anew. */
  readonly healthOf?: (url: string) => TargetHealth | undefined
}

export function createUpstream(name: string, config: UpstreamConfig, parts: UpstreamParts): Upstream {
  const weights = new Map(config.targets.map(({ url, weight }) => [url, weight]))
  const targets = config.targets.map(({ url, weight }) => {
    const target =
      parts.existing?.(url) ??
      createTarget(config, {
        url,
        weight,
        metrics: parts.metrics.target(name, url),
        health: parts.healthOf?.(url),
        lookup: parts.lookup,
      })
    target.weight = weight
    forget(target, config)
    target.metrics.up.value = isUp(target) ? 1 : 0
    return target
  })
  const balance: Balancer = config.balance === 'round-robin' ? roundRobin() : leastRequests(parts.random)
  const easing = createEasing((target) => weights.get(target.url) ?? 1, parts.scheduler)
  let up = targets.filter(isUp)
  let leases = 0
  const line = createWaitingLine<Turn>({
    timeoutMs: config.timeouts.responseMs,
    tooLate: { kind: 'refused', code: 'upstream_timeout' },
    scheduler: parts.scheduler,
    mayServe: () => up.length === 0 || up.some((target) => !isFull(target)),
    onWaiting(some) {
      for (const { freed } of targets)
        if (some) freed.add(line.move)
        else freed.delete(line.move)
    },
  })

  function onChange(target: Target, reason: string): void {
    const before = up.includes(target)
    up = targets.filter(isUp)
    const now = up.includes(target)
    target.metrics.up.value = now ? 1 : 0
    if (now === before) return
    if (now) easing.start(target)
    parts.onTargetChange(name, target, now, reason)
    if (up.length === 0) ejection?.giveBackAll()
    line.move()
  }

  const shared = { targets, scheduler: parts.scheduler, onChange }
  const ejection =
    config.ejection === undefined ? null : createEjection({ ...shared, config: config.ejection })
  const stopChecks =
    config.health === undefined
      ? null
      : startHealthChecks({ ...shared, config: config.health, random: parts.random })

  if (up.length === 0) ejection?.giveBackAll()

  /** One connection of HTTP/2 carries as many exchanges as the target lets it. */
  function isFull(target: Target): boolean {
    return config.protocol !== 'http2' && target.inFlight - target.upgraded >= config.maxConnections
  }

  /** @returns null where all that may be taken are full */
  function take(upgrade: boolean, tried: ReadonlySet<Target> | undefined): Turn | null {
    if (up.length === 0) return { kind: 'refused', code: 'upstream_unavailable' }
    const untried = tried === undefined ? up : up.filter((target) => !tried.has(target))
    const eligible = untried.length === 0 ? up : untried
    const target = balance(eligible)
    if (upgrade || !isFull(target)) return { kind: 'leased', lease: lease(target, upgrade) }
    // Nobody is to wait, or be turned away, beside a target that has a connection to spare.
    const free = eligible.filter((each) => !isFull(each))
    return free.length === 0 ? null : { kind: 'leased', lease: lease(balance(free), upgrade) }
  }

  function lease(target: Target, upgrade: boolean): Lease {
    let released = false
    leases++
    target.inFlight++
    if (upgrade) target.upgraded++
    return {
      target,
      release(verdict) {
        if (released) return
        released = true
        leases--
        target.inFlight--
        if (upgrade) target.upgraded--
        if (verdict !== 'none') ejection?.record(target, verdict === 'bad')
        if (target.freed.size > 0) for (const tell of target.freed) tell()
      },
    }
  }

  return {
    name,
    config,
    targets,
    retryBudget: createRetryBudget(),
    get open() {
      return leases + line.length
    },
    acquire({ tried, upgrade = false } = {}) {
      const turn = take(upgrade, tried)
      if (turn !== null) return turn
      if (line.length >= config.maxPending) return { kind: 'refused', code: 'upstream_overloaded' }
      return { kind: 'queued', place: line.join(() => take(upgrade, tried)) }
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
