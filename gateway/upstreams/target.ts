import type { LookupFunction } from 'node:net'
import type { TargetMetrics } from '../telemetry/metrics/metrics.ts'
import type { UpstreamConfig } from './config.ts'
import {
  createTargetConnections,
  parseTargetAddress,
  type TargetConnections,
} from './transport/dispatcher.ts'
import { createHealthProbe } from './transport/health-probe.ts'
import { createUpgradeAttempts, type UpgradeAttempts } from './transport/upgrade-attempt.ts'

/** One origin of an upstream, with its connections and its health. Outlives a reload that does not change it. */
export interface Target {
  /** The URL as the routing file has it; the label of its metrics. */
  readonly url: string
  /** What `Host` is where the upstream wants its own. */
  readonly host: string
  readonly metrics: TargetMetrics
  readonly connections: TargetConnections
  readonly upgrades: UpgradeAttempts
  readonly health: TargetHealth
  /** The file's weight, less while it is eased in after it was down. */
  weight: number
  /** Exchanges under way, streams and upgrades included. */
  inFlight: number
  /** Those of them that have a connection of their own (upgrades), outside the pool and its limits. */
  upgraded: number
  /** Told when an exchange has ended. */
  readonly freed: Set<() => void>
  /**
   * Asks the target for a path on a connection of its own.
   *
   * @returns null where it is well, else what is wrong
   */
  probe(path: string, timeoutMs: number): Promise<string | null>
  /** Lets exchanges finish, then closes the connections. */
  close(): Promise<void>
}

export interface TargetHealth {
  /** By active checks. */
  passing: boolean
  /** What the last check found wrong; null where it was well. */
  problem: string | null
  /** Checks in a row that said otherwise. */
  streak: number
  /** Failed exchanges in a row. */
  failures: number
  ejected: boolean
  /** When the ejection ends, by the scheduler's clock. */
  ejectedUntil: number
  /** Ejections so far, for how long the next one lasts. */
  ejections: number
  /** When the last ejection ended, by the scheduler's clock. */
  returnedAt: number
}

export interface TargetParts {
  readonly url: string
  readonly weight: number
  readonly metrics: TargetMetrics
  /** Of the same target before, whose connections were made in another way; a new one is held to be well. */
  readonly health?: TargetHealth | undefined
  /** How names become addresses. */
  readonly lookup: LookupFunction
}

/** True where the target may be given exchanges. */
export function isUp(target: Pick<Target, 'health'>): boolean {
  return target.health.passing && !target.health.ejected
}

/** @throws the file system's error where a TLS file cannot be read */
export function createTarget(config: UpstreamConfig, from: TargetParts): Target {
  const { url, weight, metrics, lookup } = from
  const { timeouts } = config
  const tls = config.tls ?? null
  const connections = createTargetConnections({
    url,
    ...timeouts,
    maxConnections: config.maxConnections,
    http2: config.protocol === 'http2',
    tls,
    lookup,
  })
  const upgrades = createUpgradeAttempts({ url, ...timeouts, tls, lookup })
  const probe = createHealthProbe({
    url,
    connectMs: timeouts.connectMs,
    http2: config.protocol === 'http2',
    tls,
    lookup,
  })
  return {
    url,
    host: parseTargetAddress(url).host,
    metrics,
    connections,
    upgrades,
    health: from.health ?? {
      passing: true,
      problem: null,
      streak: 0,
      failures: 0,
      ejected: false,
      ejectedUntil: 0,
      ejections: 0,
      returnedAt: 0,
    },
    weight,
    inFlight: 0,
    upgraded: 0,
    freed: new Set(),
    probe: probe.check,
    async close() {
      upgrades.close()
      await Promise.all([probe.close(), connections.close()])
    },
  }
}
