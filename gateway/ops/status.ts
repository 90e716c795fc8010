import type { Readiness } from '../endpoints.ts'
import type { RoutingStatus } from '../routing/live-routing.ts'
import type { Snapshot } from '../routing/snapshot.ts'
import { isUp } from '../upstreams/target.ts'

/** The state of one process, or of all together, as the status page and `status.json` show it. */
export interface Status {
  readonly ready: boolean
  readonly reasons: readonly string[]
  readonly version: string
  readonly node: string
  readonly workers: number
  /** Seconds since the youngest process started. */
  readonly uptimeS: number
  readonly routing: { readonly file: string; readonly loadedAt: string; readonly problems: readonly string[] }
  readonly routes: readonly RouteStatus[]
  readonly upstreams: readonly UpstreamStatus[]
  readonly openStreams: { readonly websocket: number; readonly sse: number; readonly other: number }
  /** Counters since the start. */
  readonly totals: Totals
}

export interface RouteStatus {
  readonly route: string
  readonly methods: readonly string[] | null
  readonly exact: boolean
  readonly auth: string
  readonly upstream: string
}

export interface UpstreamStatus {
  readonly name: string
  readonly balance: string
  readonly targets: readonly TargetStatus[]
}

export interface TargetStatus {
  readonly url: string
  readonly up: boolean
  readonly weight: number
  readonly inFlight: number
  readonly ejected: boolean
  readonly ejections: number
}

export interface Totals {
  readonly requests: number
  readonly errors: number
  readonly durationSeconds: number
  readonly inFlight: number
  readonly lookups: number
  readonly queries: number
  readonly decisions: Readonly<Record<string, number>>
}

export interface StatusParts {
  readonly readiness: Readiness
  readonly version: string
  readonly uptimeS: number
  readonly routing: RoutingStatus
  readonly snapshot: Snapshot
  readonly openStreams: Status['openStreams']
  readonly totals: Totals
}

export function describeStatus(parts: StatusParts): Status {
  const { readiness, routing, snapshot } = parts
  return {
    ready: readiness.ready,
    reasons: readiness.reasons,
    version: parts.version,
    node: process.version,
    workers: 1,
    uptimeS: parts.uptimeS,
    routing: {
      file: routing.file,
      loadedAt: new Date(routing.loadedAt).toISOString(),
      problems: routing.problems,
    },
    routes: snapshot.list.map(({ label, methods, exact, auth, upstream }) => ({
      route: label,
      methods,
      exact,
      auth,
      upstream: upstream.name,
    })),
    upstreams: [...snapshot.upstreams.values()].map(({ name, config, targets }) => ({
      name,
      balance: config.balance,
      targets: targets.map((target) => ({
        url: target.url,
        up: isUp(target),
        weight: target.weight,
        inFlight: target.inFlight,
        ejected: target.health.ejected,
        ejections: target.metrics.ejections.value,
      })),
    })),
    openStreams: parts.openStreams,
    totals: parts.totals,
  }
}

/** Several processes as one: numbers are summed, and a target is up where all find it so. */
export function combineStatus(statuses: readonly Status[], readiness: Readiness): Status | null {
  const [first, ...rest] = statuses
  if (first === undefined) return null
  let combined = first
  for (const each of rest) combined = sum(combined, each)
  return { ...combined, ready: readiness.ready, reasons: readiness.reasons }
}

function sum(a: Status, b: Status): Status {
  return {
    ...a,
    workers: a.workers + b.workers,
    uptimeS: Math.min(a.uptimeS, b.uptimeS),
    routing: a.routing.problems.length > 0 ? a.routing : b.routing,
    upstreams: a.upstreams.map((upstream, i) => sumTargets(upstream, b.upstreams[i])),
    openStreams: {
      websocket: a.openStreams.websocket + b.openStreams.websocket,
      sse: a.openStreams.sse + b.openStreams.sse,
      other: a.openStreams.other + b.openStreams.other,
    },
    totals: sumTotals(a.totals, b.totals),
  }
}

function sumTargets(a: UpstreamStatus, b: UpstreamStatus | undefined): UpstreamStatus {
  return {
    ...a,
    targets: a.targets.map((target) => {
      const other = b?.targets.find(({ url }) => url === target.url)
      if (other === undefined) return target
      return {
        ...target,
        up: target.up && other.up,
        inFlight: target.inFlight + other.inFlight,
        ejected: target.ejected || other.ejected,
        ejections: target.ejections + other.ejections,
      }
    }),
  }
}

function sumTotals(a: Totals, b: Totals): Totals {
  const decisions: Record<string, number> = { ...a.decisions }
  for (const [name, count] of Object.entries(b.decisions)) decisions[name] = (decisions[name] ?? 0) + count
  return {
    requests: a.requests + b.requests,
    errors: a.errors + b.errors,
    durationSeconds: a.durationSeconds + b.durationSeconds,
    inFlight: a.inFlight + b.inFlight,
    lookups: a.lookups + b.lookups,
    queries: a.queries + b.queries,
    decisions,
  }
}
