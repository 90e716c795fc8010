import type { Readiness } from '../core/readiness.ts'
import type { Timelines } from '../core/timelines.ts'
import type { Counts, Totals } from '../telemetry/metrics/totals.ts'
import type { HistoryPart } from './history.ts'
import type { RouteNumbers } from './route-history.ts'

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
  readonly keys: KeyStatus
  /** Empty without TLS. */
  readonly certificates: readonly CertificateStatus[]
  /** Why the pages of ERROR_PAGES_DIR were refused; empty where they were not. */
  readonly errorPages: readonly string[]
  /** Null where no process answers. */
  readonly routing: RoutingFileStatus | null
  readonly routes: readonly RouteStatus[]
  readonly upstreams: readonly UpstreamStatus[]
  readonly openStreams: OpenStreams
  /** Counters of the processes that answer, since each started. */
  readonly totals: Pick<Totals, 'requests' | 'errors' | 'lookups' | 'queries' | 'inFlight'> & {
    readonly decisions: Counts
  }
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
export interface ProcessStatus
  extends Pick<Status, 'tokenStore' | 'keys' | 'certificates' | 'errorPages' | 'upstreams' | 'openStreams'> {
  readonly routes: readonly RouteFacts[]
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
  /** Open connections of clients, and how many there may be. */
  readonly connections: number
  readonly maxConnections: number
  /** Milliseconds of the last minute for which its event loop was held up. */
  readonly heldUpMs: number
}

export interface TokenStoreStatus {
  readonly up: boolean
  /** A code of PostgreSQL, Node or the gateway for why it cannot be queried; null where it can. */
  readonly code: string | null
  /** Why it cannot be queried and what to do, in words; null where it can. */
  readonly reason: string | null
  /** The last request that could not be decided, while the table could be queried or not; null where there was none. */
  readonly lastFailure: LastFailure | null
  /** Absent where no process answers. */
  readonly timelines?: Timelines
}

export interface LastFailure {
  readonly code: string
  /** In words. */
  readonly cause: string
  readonly agoS: number
}

/** The keys that tokens are verified with. */
export interface KeyStatus {
  /** `none`: there is none. `outdated`: the newest cannot be used, and the ones before stay in force. */
  readonly state: 'current' | 'outdated' | 'none'
  /** Why the newest cannot be used; null where they are in force. */
  readonly reason: string | null
}

/** A certificate of the public listener. Times are ISO 8601. */
export interface CertificateStatus {
  /** The certificate's file; relative to TLS_CERT_DIR where it is from there. */
  readonly file: string
  /** Of what is in force, as `endsAt`; null where nothing of this file is. */
  readonly beginsAt: string | null
  readonly endsAt: string | null
  /** Why what is in the file now cannot be used; null where it is in force. */
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

export interface RouteFacts {
  /** Host and path as the file has them. */
  readonly route: string
  /** Null is all. */
  readonly methods: readonly string[] | null
  readonly exact: boolean
  readonly auth: 'required' | 'optional' | 'none'
  readonly upstream: string
}

/** The numbers are of the last ten minutes, and of all routes with the same host and path. */
export interface RouteStatus extends RouteFacts, RouteNumbers {}

export interface UpstreamStatus {
  readonly name: string
  readonly balance: string
  /** Requests that wait for a connection, and how many may. */
  readonly pending: number
  readonly maxPending: number
  /** Requests whose answer has not begun after five seconds, and how long the longest of them has waited. */
  readonly late: number
  readonly longestWaitS: number
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
