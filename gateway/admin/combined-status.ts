import { type Readiness, type ReadinessCause, readinessFrom } from '../core/readiness.ts'
import { combineTimelines } from '../core/timelines.ts'
import { sumTotals } from '../telemetry/metrics/totals.ts'
import type { Recent } from './history.ts'
import { findProblems } from './problems.ts'
import type { RouteNumbers } from './route-history.ts'
import type {
  CertificateStatus,
  KeyStatus,
  ProcessStatus,
  RoutingFileStatus,
  Status,
  TargetStatus,
  TokenStoreStatus,
  UpstreamStatus,
} from './status.ts'

/** What is known of the whole gateway without a report of its processes. */
export interface GatewayFacts
  extends Pick<Status, 'instance' | 'version' | 'node' | 'uptimeS' | 'workers' | 'history'> {
  readonly readiness: Readiness
  readonly recent: Recent
  readonly routeNumbers: ReadonlyMap<string, RouteNumbers>
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * Combines the reports of several processes: numbers are summed, and what is bad in one of them is shown. The shape is the same
 * where none answers.
 */
export function combineStatus(gateway: GatewayFacts, each: readonly ProcessStatus[]): Status {
  const { readiness, history, recent, routeNumbers, now, ...about } = gateway
  // While a file is being put in force some processes route by the new one already.
  const newest = each.reduce<ProcessStatus | null>(
    (best, status) => (best !== null && best.routing.loadedAt >= status.routing.loadedAt ? best : status),
    null,
  )
  const { requests, errors, lookups, queries, counts, inFlight } = sumTotals(each.map(({ totals }) => totals))
  const streams = (kind: keyof Status['openStreams']) =>
    each.reduce((sum, { openStreams }) => sum + openStreams[kind], 0)
  const status = {
    ready: readiness.ready,
    reasons: readiness.reasons,
    causes: readiness.causes,
    ...about,
    processes: each.map((status) => status.process).sort((a, b) => b.uptimeS - a.uptimeS || a.pid - b.pid),
    tokenStore: tokenStoreOf(each),
    keys: keysOf(each),
    certificates: certificatesOf(each),
    errorPages: each.find(({ errorPages }) => errorPages.length > 0)?.errorPages ?? [],
    routing: routingOf(each),
    routes: (newest?.routes ?? []).map((route) => ({
      ...route,
      ...(routeNumbers.get(route.route) ?? NO_REQUESTS),
    })),
    upstreams: (newest?.upstreams ?? []).map(({ name, balance, targets }) => ({
      name,
      balance,
      ...sumWaiting(each.flatMap(({ upstreams }) => upstreams.filter((upstream) => upstream.name === name))),
      targets: targets.map(({ url }) => sumTarget(each.flatMap((status) => targetOf(status, name, url)))),
    })),
    openStreams: { websocket: streams('websocket'), sse: streams('sse'), other: streams('other') },
    totals: { requests, errors, lookups, queries, decisions: counts.decisions, inFlight },
    history,
  }
  return { ...status, problems: findProblems({ ...status, recent, now }) }
}

function tokenStoreOf(each: readonly ProcessStatus[]): TokenStoreStatus {
  const down = each.find(({ tokenStore }) => !tokenStore.up)?.tokenStore
  const failures = each.flatMap(({ tokenStore }) => tokenStore.lastFailure ?? [])
  const [lastFailure = null] = failures.toSorted((a, b) => a.agoS - b.agoS)
  const timelines = each.flatMap(({ tokenStore }) => tokenStore.timelines ?? [])
  return {
    ...(down ?? { up: each.length > 0, code: null, reason: null }),
    lastFailure,
    ...(timelines.length === 0 ? {} : { timelines: combineTimelines(timelines) }),
  }
}

const NO_REQUESTS: RouteNumbers = { requests: 0, errors: 0, p99Ms: null }

const KEYS_WORST_FIRST = ['none', 'outdated', 'current'] as const

function keysOf(each: readonly ProcessStatus[]): KeyStatus {
  const all = each.map(({ keys }) => keys)
  const worst = KEYS_WORST_FIRST.find((state) => all.some((keys) => keys.state === state))
  return all.find(({ state }) => state === worst) ?? { state: 'current', reason: null }
}

/** Each process reads the files itself: of each file what ends first is shown, and what is wrong in any of them. */
function certificatesOf(each: readonly ProcessStatus[]): CertificateStatus[] {
  const byFile = Map.groupBy(
    each.flatMap(({ certificates }) => certificates),
    ({ file }) => file,
  )
  return [...byFile].map(([file, found]) => ({
    file,
    beginsAt:
      found
        .flatMap(({ beginsAt }) => beginsAt ?? [])
        .toSorted()
        .at(-1) ?? null,
    endsAt: found.flatMap(({ endsAt }) => endsAt ?? []).toSorted()[0] ?? null,
    reason: found.find(({ reason }) => reason !== null)?.reason ?? null,
  }))
}

function sumWaiting(each: readonly UpstreamStatus[]) {
  const sum = (name: 'pending' | 'maxPending' | 'late') =>
    each.reduce((total, upstream) => total + upstream[name], 0)
  return {
    pending: sum('pending'),
    maxPending: sum('maxPending'),
    late: sum('late'),
    longestWaitS: Math.max(0, ...each.map(({ longestWaitS }) => longestWaitS)),
  }
}

/** Each process reads the file itself, so problems of any of them are shown, and the oldest reading in force. */
function routingOf(each: readonly ProcessStatus[]): RoutingFileStatus | null {
  const readings = each.map(({ routing }) => routing)
  const [first] = readings
  if (first === undefined) return null
  const refused = readings.find(({ problems }) => problems.length > 0)
  const times = (name: 'loadedAt' | 'readAt') => readings.map((reading) => reading[name]).sort()
  return { ...(refused ?? first), loadedAt: times('loadedAt')[0]!, readAt: times('readAt').at(-1)! }
}

function targetOf({ upstreams }: ProcessStatus, name: string, url: string): readonly TargetStatus[] {
  const upstream: UpstreamStatus | undefined = upstreams.find((each) => each.name === name)
  return upstream?.targets.filter((target) => target.url === url) ?? []
}

const WORST_LAST = ['up', 'ejected', 'unhealthy'] as const

/** @param each one at least */
function sumTarget(each: readonly TargetStatus[]): TargetStatus {
  return each.reduce((a, b) => {
    const worse = WORST_LAST.indexOf(b.state) > WORST_LAST.indexOf(a.state) ? b : a
    return {
      ...worse,
      upIn: a.upIn + b.upIn,
      ejectedForS:
        a.ejectedForS === null && b.ejectedForS === null
          ? null
          : Math.max(a.ejectedForS ?? 0, b.ejectedForS ?? 0),
      easedTo: Math.min(a.easedTo, b.easedTo),
      inFlight: a.inFlight + b.inFlight,
      ejections: a.ejections + b.ejections,
      ok: a.ok + b.ok,
      errors: a.errors + b.errors,
      failed: a.failed + b.failed,
    }
  })
}

/** Ready if all workers that answer are, since a worker that is stuck or being replaced affects no other. */
export function combinedReadiness(each: readonly Readiness[], count: number): Readiness {
  if (each.length === 0)
    return readinessFrom([{ reason: null, cause: `${count} of ${count} workers do not answer` }])
  const causes = new Map<string, ReadinessCause>()
  for (const readiness of each) {
    // The same cause of several workers is shown once.
    for (const found of readiness.causes) causes.set(`${found.reason} ${found.cause}`, found)
  }
  return readinessFrom([...causes.values()])
}
