import type { Readiness } from '../core/readiness.ts'
import type { StoreFault } from '../core/store-fault.ts'
import type { Timelines } from '../core/timelines.ts'
import type { RoutingStatus } from '../routing/live-routing.ts'
import type { Snapshot } from '../routing/snapshot.ts'
import type { Totals } from '../telemetry/metrics/totals.ts'
import { isUp, type Target } from '../upstreams/target.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type {
  CertificateStatus,
  KeyStatus,
  LastFailure,
  OpenStreams,
  ProcessNumbers,
  ProcessStatus,
  RoutingFileStatus,
  RoutingProblem,
  TargetStatus,
} from './status.ts'

export interface StatusParts {
  readonly readiness: Readiness
  readonly uptimeS: number
  /** Null where the token store can be queried. */
  readonly storeFault: StoreFault | null
  readonly timelines: Timelines
  readonly routing: RoutingStatus
  readonly snapshot: Snapshot
  readonly openStreams: OpenStreams
  readonly lateAnswers: ReadonlyMap<string, { readonly count: number; readonly longestMs: number }>
  readonly lastFailure: LastFailure | null
  readonly keys: KeyStatus
  readonly certificates: readonly CertificateStatus[]
  readonly errorPages: readonly string[]
  readonly process: Pick<ProcessNumbers, 'connections' | 'maxConnections' | 'heldUpMs'>
  readonly totals: Totals
  /** The clock of the targets' ejections. */
  readonly now: () => number
}

export function describeStatus(parts: StatusParts): ProcessStatus {
  const { snapshot, totals, now } = parts
  return {
    readiness: parts.readiness,
    process: {
      pid: process.pid,
      uptimeS: parts.uptimeS,
      residentBytes: process.memoryUsage.rss(),
      inFlight: totals.inFlight,
      ...parts.process,
    },
    keys: parts.keys,
    certificates: parts.certificates,
    errorPages: parts.errorPages,
    tokenStore: {
      up: parts.storeFault === null,
      code: parts.storeFault?.code ?? null,
      reason: parts.storeFault?.cause ?? null,
      timelines: parts.timelines,
      lastFailure: parts.lastFailure,
    },
    routing: describeRouting(parts.routing),
    routes: snapshot.list.map(({ label, methods, exact, auth, upstream }) => ({
      route: label,
      methods,
      exact,
      auth,
      upstream: upstream.name,
    })),
    upstreams: [...snapshot.upstreams.values()].map((upstream) => ({
      name: upstream.name,
      balance: upstream.config.balance,
      pending: upstream.pending,
      maxPending: upstream.config.maxPending,
      late: parts.lateAnswers.get(upstream.name)?.count ?? 0,
      longestWaitS: (parts.lateAnswers.get(upstream.name)?.longestMs ?? 0) / 1000,
      targets: upstream.targets.map((target) => describeTarget(target, upstream, now())),
    })),
    openStreams: parts.openStreams,
    totals,
  }
}

/** @param now by the clock of the target's ejections */
export function describeTarget(target: Target, { config }: Upstream, now: number): TargetStatus {
  const { health, metrics } = target
  const weight = config.targets.find(({ url }) => url === target.url)?.weight ?? target.weight
  return {
    url: target.url,
    state: health.passing ? (health.ejected ? 'ejected' : 'up') : 'unhealthy',
    upIn: isUp(target) ? 1 : 0,
    reason: health.passing
      ? health.ejected
        ? `${config.ejection?.consecutiveFailures ?? 'some'} failures in a row`
        : null
      : (health.problem ?? 'health checks fail'),
    ejectedForS: health.ejected ? Math.max(0, (health.ejectedUntil - now) / 1000) : null,
    easedTo: weight > 0 ? Math.round((target.weight / weight) * 100) : 100,
    weight,
    inFlight: target.inFlight,
    ejections: metrics.ejections.value,
    ok: metrics.ok.value,
    errors: metrics.error.value,
    failed: metrics.failed.value,
  }
}

function describeRouting({ file, loadedAt, readAt, problems }: RoutingStatus): RoutingFileStatus {
  return {
    file,
    loadedAt: new Date(loadedAt).toISOString(),
    readAt: new Date(readAt).toISOString(),
    problems: problems.map((line) => parseProblem(line, file)),
  }
}

/** Takes apart `FILE:LINE:COLUMN: POINTER: problem`; what has no such place stays whole. */
export function parseProblem(text: string, file: string): RoutingProblem {
  const rest = text.startsWith(`${file}:`) ? text.slice(file.length + 1) : text
  const found = /^(\d+):(\d+): (\/.*?)?: (.*)$/s.exec(rest)
  if (found === null) return { line: null, column: null, pointer: '', message: rest.trim() }
  const [, line, column, pointer = '', message = ''] = found
  return { line: Number(line), column: Number(column), pointer, message }
}
