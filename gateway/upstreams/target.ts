import type { TargetMetrics } from '../ops/metrics.ts'
import { createTargetConnections, parseTarget, type TargetConnections } from '../proxy/dispatcher.ts'
import { createUpgradeHop, type UpgradeHop } from '../proxy/upgrade-hop.ts'
import type { UpstreamConfig } from '../routing/upstreams-schema.ts'

/** One origin of an upstream, with its connections. */
export interface Target {
  /** The URL as the routing file has it; the label of its metrics. */
  readonly url: string
  readonly weight: number
  /** What `Host` is where the upstream wants its own. */
  readonly host: string
  readonly metrics: TargetMetrics
  readonly connections: TargetConnections
  readonly upgrades: UpgradeHop
  /** Exchanges under way, streams and upgrades included. */
  inFlight: number
  /** Lets exchanges finish, then closes the connections. */
  close(): Promise<void>
}

export interface TargetParts {
  readonly url: string
  readonly weight: number
  readonly metrics: TargetMetrics
}

/** @throws the file system's error where a TLS file cannot be read */
export function createTarget(config: UpstreamConfig, from: TargetParts): Target {
  const { url, weight, metrics } = from
  const { timeouts, tls } = config
  const connections = createTargetConnections({
    url,
    ...timeouts,
    maxConnections: config.maxConnections,
    http2: config.protocol === 'http2',
    tls: tls ?? null,
  })
  const upgrades = createUpgradeHop({ url, ...timeouts, tls: tls ?? null })
  return {
    url,
    weight,
    host: parseTarget(url).host,
    metrics,
    connections,
    upgrades,
    inFlight: 0,
    async close() {
      upgrades.close()
      await connections.dispatcher.close()
    },
  }
}
