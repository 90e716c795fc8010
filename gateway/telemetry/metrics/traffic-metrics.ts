import { createHistogram, type HistogramCells } from './histogram.ts'
import { type Cell, createSeries, type RegistryMetric } from './series.ts'

/** Seconds, from half a millisecond (the round trip of a look-up) to a minute (a slow report). */
export const DURATION_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
]

/** An answer that takes longer is slow, whatever it is of; the alert GatewayUpstreamSlow begins there too. */
export const SLOW_MS = 5000

/** Statuses that begin at 0, because error rates need them: a series that begins at its first error has no increase. */
const STATUSES_FROM_THE_START = [200, 502, 503, 504]

/** The cells of one route, to be looked up once for each routing file. */
export interface RouteMetrics {
  /** The cell for finished requests with this status, created at the first call. */
  requests(status: number): Cell
  readonly duration: HistogramCells
}

export interface UpstreamMetrics {
  readonly duration: HistogramCells
  readonly retries: Cell
  /** Requests that were refused because `maxPending` others waited for a connection. */
  readonly overloaded: Cell
  /** Answers that took longer than `SLOW_MS`, streams left out. */
  readonly slow: Cell
}

export interface TargetMetrics {
  readonly up: Cell
  readonly ok: Cell
  readonly error: Cell
  readonly failed: Cell
  readonly ejections: Cell
}

/** Registers a metric. */
export type Register = <T extends { readonly metric: RegistryMetric }>(declared: T) => T

/** Declares the metrics by route, upstream and target. */
export function createTrafficMetrics(register: Register, wallClock: () => number) {
  const requests = register(
    createSeries({
      name: 'gateway_requests_total',
      help: 'Requests finished, by route (as the routing file has it) and status sent to the client.',
      type: 'counter',
      labels: ['route', 'status'],
    }),
  )
  const durations = register(
    createHistogram({
      name: 'gateway_request_duration_seconds',
      help: 'Time from the arrival of a request head to the end of its answer, by route. Upgraded connections are not in it.',
      buckets: DURATION_BUCKETS,
      label: 'route',
      wallClock,
    }),
  )
  const upstreamDurations = register(
    createHistogram({
      name: 'gateway_upstream_request_duration_seconds',
      help: 'Time that the upstream took for an exchange, from its dispatch to the end of the answer.',
      buckets: DURATION_BUCKETS,
      label: 'upstream',
      wallClock,
    }),
  )
  const upstreamRequests = register(
    createSeries({
      name: 'gateway_upstream_requests_total',
      help: 'Exchanges with targets: ok, error (an answer of 5xx) or failed (no answer).',
      type: 'counter',
      labels: ['upstream', 'target', 'outcome'],
    }),
  )
  const upstreamRetries = register(
    createSeries({
      name: 'gateway_upstream_retries_total',
      help: 'Requests sent again after a failed try.',
      type: 'counter',
      labels: ['upstream'],
    }),
  )
  const overloaded = register(
    createSeries({
      name: 'gateway_upstream_overloaded_total',
      help: 'Requests refused because maxPending others waited for a connection to the upstream.',
      type: 'counter',
      labels: ['upstream'],
    }),
  )
  const pending = register(
    createSeries({
      name: 'gateway_upstream_pending',
      help: 'Requests that wait for a connection to the upstream.',
      type: 'gauge',
      labels: ['upstream'],
    }),
  )
  /** For the status page alone: what is slow depends on what an upstream is for, and the histogram has all times. */
  const slow = new Map<string, Cell>()
  const targetUp = register(
    createSeries({
      name: 'gateway_upstream_target_up',
      help: '1 if the target gets requests, 0 if it is unhealthy or ejected.',
      type: 'gauge',
      labels: ['upstream', 'target'],
      aggregator: 'min',
    }),
  )
  const ejections = register(
    createSeries({
      name: 'gateway_upstream_ejections_total',
      help: 'Times a target was taken out for consecutive failures.',
      type: 'counter',
      labels: ['upstream', 'target'],
    }),
  )

  return {
    /** The durations of all routes: one count for each of `DURATION_BUCKETS`, and one for longer ones. */
    requestDurations: durations.counts,
    /** The same for each route. */
    routeDurations: durations.countsByLabel,
    /** Slow answers so far, by upstream. */
    slowAnswers: (): Record<string, number> =>
      Object.fromEntries([...slow].map(([upstream, { value }]) => [upstream, value])),
    /** To be called when a report is made, with all upstreams in force. */
    setPending(counts: ReadonlyMap<string, number>): void {
      for (const [upstream, count] of counts) pending.cell({ upstream }).value = count
      pending.prune((labels) => counts.has(labels.upstream))
    },
    route(route: string): RouteMetrics {
      const requestsBy = memoised((status: number) => requests.cell({ route, status: String(status) }))
      for (const status of STATUSES_FROM_THE_START) requestsBy(status)
      return { requests: requestsBy, duration: durations.cells(route) }
    },
    upstream(upstream: string): UpstreamMetrics {
      const known = slow.get(upstream) ?? { value: 0 }
      slow.set(upstream, known)
      return {
        duration: upstreamDurations.cells(upstream),
        retries: upstreamRetries.cell({ upstream }),
        overloaded: overloaded.cell({ upstream }),
        slow: known,
      }
    },
    target(upstream: string, target: string): TargetMetrics {
      return {
        up: targetUp.cell({ upstream, target }),
        ok: upstreamRequests.cell({ upstream, target, outcome: 'ok' }),
        error: upstreamRequests.cell({ upstream, target, outcome: 'error' }),
        failed: upstreamRequests.cell({ upstream, target, outcome: 'failed' }),
        ejections: ejections.cell({ upstream, target }),
      }
    },
    /** Removes the gauges of targets that are no longer in the routing file; their counters stay. */
    pruneTargets(present: (upstream: string, target: string) => boolean): void {
      targetUp.prune((labels) => present(labels.upstream, labels.target))
    },
  }
}

/** Creates each cell at its first use. */
export function memoised<K extends string | number>(make: (key: K) => Cell): (key: K) => Cell {
  const cells = new Map<K, Cell>()
  return (key) => {
    let cell = cells.get(key)
    if (cell === undefined) {
      cell = make(key)
      cells.set(key, cell)
    }
    return cell
  }
}
