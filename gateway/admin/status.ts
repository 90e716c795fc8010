import type { Readiness } from '../core/readiness.ts'
import type { StoreFault } from '../core/store-fault.ts'
import type { RoutingStatus } from '../routing/live-routing.ts'
import type { Snapshot } from '../routing/snapshot.ts'
import type { Totals } from '../telemetry/metrics/totals.ts'
import { isUp, type Target } from '../upstreams/target.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { HistoryPart } from './history.ts'

/** The state of all processes together: `status.json`, and what the status page shows. No identity is in it. */
export interface Status {
  readonly ready: boolean
  /** Why not; empty where it is ready. */
  readonly reasons: Readiness['reasons']
  readonly causes: Readiness['causes']
  /** The machine or container. */
  readonly instance: string
  readonly version: string
  readonly node: string
  /** Seconds since the start. */
  readonly uptimeS: number
  /** Serving processes that there should be. */
  readonly workers: number
  /** Those that answer, the oldest first. */
  readonly processes: readonly ProcessNumbers[]
  /** What is wrong now, what affects users first; empty where nothing is. */
  readonly problems: readonly Problem[]
  readonly tokenStore: TokenStoreStatus
  /** Null where no process answers. */
  readonly routing: RoutingFileStatus | null
  readonly routes: readonly RouteStatus[]
  readonly upstreams: readonly UpstreamStatus[]
  readonly openStreams: OpenStreams
  /** Counters of the processes that answer, since each started. */
  readonly totals: Omit<Totals, 'pid' | 'durations' | 'answers' | 'failures'>
  readonly history: HistoryPart
}

/** Something that an operator has to do something about. */
export interface Problem {
  /** `red` where users are affected now, `amber` where they will be, or where it cannot be told. */
  readonly severity: 'red' | 'amber'
  readonly what: string
  readonly detail: string
  /** The section of docs/operating.md that says what to do. */
  readonly section: string
}

/** The status of one process. */
export interface ProcessStatus extends Pick<Status, 'tokenStore' | 'routes' | 'upstreams' | 'openStreams'> {
  readonly readiness: Readiness
  readonly process: ProcessNumbers
  readonly routing: RoutingFileStatus
  readonly totals: Totals
}

export interface ProcessNumbers {
  readonly pid: number
  readonly uptimeS: number
  readonly residentBytes: number
  readonly inFlight: number
}

export interface TokenStoreStatus {
  readonly up: boolean
  /** A code of PostgreSQL, Node or the gateway for why it cannot be queried; null where it can. */
  readonly code: string | null
  /** Why it cannot be queried and what to do, in words; null where it can. */
  readonly reason: string | null
}

export interface OpenStreams {
  readonly websocket: number
  readonly sse: number
  readonly other: number
}

/** Times are ISO 8601. */
export interface RoutingFileStatus {
  readonly file: string
  /** When what is in force was read. */
  readonly loadedAt: string
  /** When the file was last read, whatever came of it. */
  readonly readAt: string
  /** Why the last reading was refused; empty where it was good. */
  readonly problems: readonly RoutingProblem[]
}

export interface RoutingProblem {
  /** From 1, as `column`; null where the problem has no place. */
  readonly line: number | null
  readonly column: number | null
  /** RFC 6901. */
  readonly pointer: string
  readonly message: string
}

export interface RouteStatus {
  /** Host and path as the file has them. */
  readonly route: string
  /** Null is all. */
  readonly methods: readonly string[] | null
  readonly exact: boolean
  readonly auth: 'required' | 'optional' | 'none'
  readonly upstream: string
}

export interface UpstreamStatus {
  readonly name: string
  readonly balance: string
  readonly targets: readonly TargetStatus[]
}

export interface TargetStatus {
  readonly url: string
  /** The worst that a process finds: `unhealthy` by active checks, `ejected` by outcomes. */
  readonly state: 'up' | 'ejected' | 'unhealthy'
  /** Number of processes in which it gets exchanges. */
  readonly upIn: number
  /** Why it is not up; null where it is. */
  readonly reason: string | null
  /** Seconds until the last of its ejections ends; null where it is not ejected. */
  readonly ejectedForS: number | null
  /** In percent of its weight, while it is eased in after it was down; 100 otherwise. */
  readonly easedTo: number
  readonly weight: number
  readonly inFlight: number
  /** Since the start, as the next three. */
  readonly ejections: number
  readonly ok: number
  /** Answers of 5xx. */
  readonly errors: number
  /** No answer. */
  readonly failed: number
}

export interface StatusParts {
  readonly readiness: Readiness
  readonly uptimeS: number
  /** Null where the token store can be queried. */
  readonly storeFault: StoreFault | null
  readonly routing: RoutingStatus
  readonly snapshot: Snapshot
  readonly openStreams: OpenStreams
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
    },
    tokenStore: {
      up: parts.storeFault === null,
      code: parts.storeFault?.code ?? null,
      reason: parts.storeFault?.cause ?? null,
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
