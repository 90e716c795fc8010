import { type Holdings, mayTakeMore } from '../core/holdings.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { type Balancer, leastRequests, roundRobin } from './balancing.ts'
import type { UpstreamConfig } from './config.ts'
import { createEjection } from './ejection.ts'
import { startHealthChecks } from './health-checks.ts'
import { createPendingQueue, type Ticket } from './pending-queue.ts'
import { createRetryBudget, type RetryBudget } from './retry-budget.ts'
import { createSlowStart } from './slow-start.ts'
import { createTarget, isUp, type Target, type TargetHealth } from './target.ts'
import type { Transport } from './transport/transport.ts'

/**
 * What an exchange shows about its target. `failure`: it did not answer, or it answered with 502, 503 or 504. `unknown`:
 * the client ended the exchange before the target could answer, or the target has said that it did not process it.
 */
export type LeaseResult = 'success' | 'failure' | 'unknown'

/** A target that was acquired for one exchange, and has to be released once. */
export interface Lease {
  readonly target: Target
  release(result: LeaseResult): void
}

export type Acquisition =
  | { readonly kind: 'leased'; readonly lease: Lease }
  /** `upstream_timeout` where the wait for a connection lasted as long as the response timeout. */
  | {
      readonly kind: 'refused'
      readonly code: 'upstream_unavailable' | 'upstream_overloaded' | 'upstream_timeout'
    }

/** `queued` where no target has a place, or there are so few that the client may have no more of them. */
export type AcquireResult = Acquisition | { readonly kind: 'queued'; readonly ticket: Ticket<Acquisition> }

export interface AcquireOptions {
  /** Targets that have failed this exchange already. They are used again only where there is no other. */
  readonly tried?: ReadonlySet<Target> | undefined
  /** True for an upgrade. It gets a connection of its own, to which `maxConnections` does not apply. */
  readonly upgrade?: boolean
  /** Those of the client's connection; null, which is the default, where it carries one exchange at a time. */
  readonly holdings?: Holdings | null
}

/** A named group of targets that serve the same thing. */
export interface Upstream {
  readonly name: string
  readonly config: UpstreamConfig
  readonly targets: readonly Target[]
  readonly retryBudget: RetryBudget
  /** Leases that are not released yet, and exchanges that wait for one. */
  readonly open: number
  /** Exchanges that wait for a connection. */
  readonly pending: number
  acquire(options?: AcquireOptions): AcquireResult
  /** True where a target that is up is not among `tried`. */
  hasOther(tried: ReadonlySet<Target>): boolean
  /** Ends checks and timers. The caller closes the targets, which the next routing file may use further. */
  stop(): void
}

export interface UpstreamParts {
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly scheduler: Scheduler
  readonly transport: Transport
  readonly metrics: Pick<Metrics, 'target'>
  /** Called when a target goes down or comes up again. */
  readonly onTargetChange: (upstream: string, target: Target, up: boolean, reason: string) => void
  /** The target of the previous routing file that can be used unchanged, with its connections and health. */
  readonly existing?: (url: string) => Target | undefined
  /** The health of the target of the previous routing file, for a target whose connections have to be made anew. */
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
        transport: parts.transport,
      })
    target.weight = weight
    target.connections.maxConnections = config.maxConnections
    resetUnusedHealth(target, config)
    target.metrics.up.value = isUp(target) ? 1 : 0
    return target
  })
  const balance: Balancer = config.balance === 'round-robin' ? roundRobin() : leastRequests(parts.random)
  const slowStart = createSlowStart((target) => weights.get(target.url) ?? 1, parts.scheduler)
  let up = targets.filter(isUp)
  /** Some target is up again and waits for its first exchange. */
  let returning = up.some(({ health }) => health.returning)
  let leases = 0
  const queue = createPendingQueue<Acquisition>({
    max: config.maxPending,
    timeoutMs: config.timeouts.responseMs,
    onTimeout: { kind: 'refused', code: 'upstream_timeout' },
    scheduler: parts.scheduler,
    mayServe: (holdings) => up.length === 0 || up.some((target) => hasPlace(target, holdings)),
    onWaitingChange(isWaiting) {
      for (const { releaseListeners } of targets)
        if (isWaiting) releaseListeners.add(queue.serve)
        else releaseListeners.delete(queue.serve)
    },
  })

  function onChange(target: Target, reason: string): void {
    const wasUp = up.includes(target)
    up = targets.filter(isUp)
    const isNowUp = up.includes(target)
    target.metrics.up.value = isNowUp ? 1 : 0
    if (isNowUp === wasUp) return
    const { health } = target
    const now = parts.scheduler.now()
    if (isNowUp) slowStart.start(target, now - health.downSince)
    else health.downSince = now
    health.returning = isNowUp
    returning = up.some((each) => each.health.returning)
    parts.onTargetChange(name, target, isNowUp, reason)
    if (up.length === 0) ejection?.reinstateAll()
    queue.serve()
  }

  const shared = { targets, scheduler: parts.scheduler, onChange }
  const ejection =
    config.ejection === undefined ? null : createEjection({ ...shared, config: config.ejection })
  const stopChecks =
    config.health === undefined
      ? null
      : startHealthChecks({ ...shared, config: config.health, random: parts.random })

  if (up.length === 0) ejection?.reinstateAll()

  function placesLeft({ connections, inFlight, upgraded }: Target): number {
    return connections.places - (inFlight - upgraded)
  }

  function hasPlace(target: Target, holdings: Holdings | null): boolean {
    return mayTakeMore(holdings === null ? 0 : holdings.placesAt(target), placesLeft(target))
  }

  /** @returns null where none of the targets that may be used has a place */
  function tryAcquire({ tried, upgrade = false, holdings = null }: AcquireOptions): Acquisition | null {
    if (up.length === 0) return { kind: 'refused', code: 'upstream_unavailable' }
    const untried = tried === undefined ? up : up.filter((target) => !tried.has(target))
    const eligible = untried.length === 0 ? up : untried
    const target = (returning ? firstOf(eligible) : undefined) ?? balance(eligible)
    if (upgrade) return leased(target, true, null)
    if (hasPlace(target, holdings)) return leased(target, false, holdings)
    // The balancer picked a full target. No request may wait or be refused while another target has a place for it.
    const free = eligible.filter((each) => hasPlace(each, holdings))
    return free.length === 0 ? null : leased(balance(free), false, holdings)
  }

  /** A target that is back gets the next request: with a tenth of its weight it could wait for one for long. */
  function firstOf(eligible: readonly Target[]): Target | undefined {
    return eligible.find(({ health }) => health.returning)
  }

  function leased(target: Target, upgrade: boolean, holdings: Holdings | null): Acquisition {
    return { kind: 'leased', lease: lease(target, upgrade, holdings) }
  }

  function lease(target: Target, upgrade: boolean, holdings: Holdings | null): Lease {
    let released = false
    if (target.health.returning) {
      target.health.returning = false
      returning = up.some(({ health }) => health.returning)
    }
    leases++
    target.inFlight++
    if (upgrade) target.upgraded++
    holdings?.changePlacesAt(target, 1)
    return {
      target,
      release(result) {
        if (released) return
        released = true
        leases--
        target.inFlight--
        if (upgrade) target.upgraded--
        holdings?.changePlacesAt(target, -1)
        if (result !== 'unknown') ejection?.record(target, result === 'failure')
        // Iterating an empty set would allocate an iterator for each exchange.
        if (target.releaseListeners.size > 0) for (const onRelease of target.releaseListeners) onRelease()
      },
    }
  }

  return {
    name,
    config,
    targets,
    retryBudget: createRetryBudget(),
    hasOther: (tried) => up.some((target) => !tried.has(target)),
    get open() {
      return leases + queue.length
    },
    get pending() {
      return queue.length
    },
    acquire(options = {}) {
      const acquisition = tryAcquire(options)
      if (acquisition !== null) return acquisition
      const ticket = queue.enqueue(options.holdings ?? null, () => tryAcquire(options))
      return ticket === null ? { kind: 'refused', code: 'upstream_overloaded' } : { kind: 'queued', ticket }
    },
    stop() {
      stopChecks?.()
      ejection?.close()
      slowStart.close()
    },
  }
}

/** Without checks or ejection in the routing file nothing would ever bring a target back that they have taken out. */
function resetUnusedHealth({ health }: Target, config: UpstreamConfig): void {
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
