import type { TargetMetrics } from '../telemetry/metrics/metrics.ts'
import type { UpstreamConfig } from './config.ts'
import { createTargetConnections } from './transport/connection-factory.ts'
import { createHealthProbe } from './transport/health-probe.ts'
import { hasName, parseTargetAddress } from './transport/target-address.ts'
import type { TargetConnections } from './transport/target-connections.ts'
import type { Transport } from './transport/transport.ts'
import type { UpgradeAttempts } from './transport/upgrade-attempts.ts'
import { createUpgradeAttempts } from './transport/upgrade-factory.ts'

/** One origin of an upstream, with its connections and its health. A reload that does not change it keeps it. */
export interface Target {
  /** The URL as spelled in the routing file. Also the label of its metrics. */
  readonly url: string
  /** The value of `Host` where the upstream's `host` is `target`. */
  readonly host: string
  readonly metrics: TargetMetrics
  readonly connections: TargetConnections
  readonly upgrades: UpgradeAttempts
  readonly health: TargetHealth
  /** The weight in the routing file; less during the slow start after the target was down. */
  weight: number
  /** Exchanges under way, streams and upgrades included. */
  inFlight: number
  /** Upgrades among them. Each has a connection of its own outside the pool, which `maxConnections` does not count. */
  upgraded: number
  /** Called when an exchange has ended, or there are more places for other reasons. Empty while no request waits for a connection. */
  readonly releaseListeners: Set<() => void>
  /**
   * Checks the target's health by requesting a path over a separate connection.
   *
   * @returns null where it is healthy, otherwise what is wrong
   */
  probe(path: string, timeoutMs: number): Promise<string | null>
  /** Lets exchanges finish, then closes the connections. */
  close(): Promise<void>
}

export interface TargetHealth {
  /** False where active checks found the target unhealthy. */
  passing: boolean
  /** What the last check found wrong; null where it was good. */
  problem: string | null
  /** Consecutive checks whose result differs from `passing`. */
  streak: number
  /** Consecutive failed exchanges. */
  failures: number
  ejected: boolean
  /** When the ejection ends, by the scheduler's clock. */
  ejectedUntil: number
  /** Ejections so far. The next one lasts the longer the more there were. */
  ejections: number
  /** When the last ejection ended, by the scheduler's clock. */
  reinstatedAt: number
  /** When it went down last, by the scheduler's clock. */
  downSince: number
  /** It is up again and has had no exchange since. */
  returning: boolean
}

export interface TargetParts {
  readonly url: string
  readonly weight: number
  readonly metrics: TargetMetrics
  /**
   * The health of the target that this one replaces, because its connections are made with other settings now. Without
   * it the target counts as healthy.
   */
  readonly health?: TargetHealth | undefined
  readonly transport: Transport
}

/** True where the target may get exchanges. */
export function isUp(target: Pick<Target, 'health'>): boolean {
  return target.health.passing && !target.health.ejected
}

/** @throws the file system's error where a TLS file cannot be read */
export function createTarget(config: UpstreamConfig, from: TargetParts): Target {
  const { url, weight, metrics, transport } = from
  const { connectMs, responseMs, idleMs, silenceMs } = config.timeouts
  const tls = config.tls ?? null
  const address = parseTargetAddress(url)
  const http2 = config.protocol === 'http2'
  const releaseListeners = new Set<() => void>()
  const onMorePlaces = () => {
    for (const onRelease of releaseListeners) onRelease()
  }
  const connections = createTargetConnections(
    { url, connectMs, responseMs, idleMs, http2, tls, onMorePlaces },
    transport,
  )
  const upgrades = createUpgradeAttempts({ url, connectMs, responseMs, idleMs, silenceMs, tls }, transport)
  const probe = createHealthProbe({ url, http2, tls }, transport)
  // Each worker then knows the addresses that serve on where the resolver falls silent before its first request.
  if (hasName(address)) transport.prepareName(address.hostname!)
  return {
    url,
    host: address.host,
    metrics,
    connections,
    upgrades,
    health: from.health ?? newHealth(),
    weight,
    inFlight: 0,
    upgraded: 0,
    releaseListeners,
    probe: probe.check,
    close() {
      probe.close()
      return connections.close()
    },
  }
}

function newHealth(): TargetHealth {
  return {
    passing: true,
    problem: null,
    streak: 0,
    failures: 0,
    ejected: false,
    ejectedUntil: 0,
    ejections: 0,
    reinstatedAt: 0,
    downSince: 0,
    returning: false,
  }
}
