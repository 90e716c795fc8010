import type { Metrics } from '../ops/metrics.ts'
import type { UpstreamConfig } from '../routing/upstreams-schema.ts'
import { type Balancer, leastRequests, roundRobin } from './balancing.ts'
import { createTarget, type Target } from './target.ts'

/** A target taken for one exchange. Whoever acquires it releases it, once. */
export interface Lease {
  readonly target: Target
  release(): void
}

export type Acquired =
  | { readonly kind: 'leased'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly code: 'upstream_unavailable' | 'upstream_overloaded' }

/** A named group of targets that serve the same thing. */
export interface Upstream {
  readonly name: string
  readonly config: UpstreamConfig
  readonly targets: readonly Target[]
  acquire(): Acquired
  close(): Promise<void>
}

export interface UpstreamParts {
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly metrics: Pick<Metrics, 'target'>
}

export function createUpstream(name: string, config: UpstreamConfig, parts: UpstreamParts): Upstream {
  const targets = config.targets.map(({ url, weight }) => {
    const metrics = parts.metrics.target(name, url)
    metrics.up.value = 1
    return createTarget(config, { url, weight, metrics })
  })
  const pick: Balancer = config.balance === 'round-robin' ? roundRobin() : leastRequests(parts.random)

  function lease(target: Target): Lease {
    let released = false
    target.inFlight++
    return {
      target,
      release() {
        if (released) return
        released = true
        target.inFlight--
      },
    }
  }

  /** Exchanges that wait for a connection are those beyond what each target's connections can carry. */
  function pending(): number {
    let waiting = 0
    for (const target of targets) waiting += Math.max(0, target.inFlight - config.maxConnections)
    return waiting
  }

  return {
    name,
    config,
    targets,
    acquire() {
      const target = pick(targets)
      if (target.inFlight >= config.maxConnections && pending() >= config.maxPending) {
        return { kind: 'refused', code: 'upstream_overloaded' }
      }
      return { kind: 'leased', lease: lease(target) }
    },
    async close() {
      await Promise.all(targets.map((target) => target.close()))
    },
  }
}
