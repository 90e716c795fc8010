import { quantile } from '../telemetry/metrics/quantile.ts'
import { addCounts, type RouteCounts } from '../telemetry/metrics/totals.ts'
import { DURATION_BUCKETS } from '../telemetry/metrics/traffic-metrics.ts'

/** What the status page shows of one route, of the last ten minutes. */
export interface RouteNumbers {
  readonly requests: number
  /** Answers of 5xx. */
  readonly errors: number
  /** Estimated from the histogram's buckets; null where no request has ended. */
  readonly p99Ms: number | null
}

export interface RouteHistory {
  /** Adds what a route has counted since the last time. */
  add(route: string, growth: RouteCounts): void
  /** By label. A route without requests has no entry. */
  numbers(): ReadonlyMap<string, RouteNumbers>
}

const MINUTE_MS = 60_000
/** The minute that has begun is kept beside nine whole ones. */
const MINUTES = 10

/** Keeps counts by minute, since ten minutes of samples of two seconds of each route would take megabytes. */
export function createRouteHistory(now: () => number): RouteHistory {
  const minutes: { readonly begins: number; readonly counts: Map<string, RouteCounts> }[] = []

  function current(): Map<string, RouteCounts> {
    const at = now()
    while (minutes.length > 0 && at - minutes[0]!.begins >= MINUTES * MINUTE_MS) minutes.shift()
    const last = minutes.at(-1)
    if (last !== undefined && at - last.begins < MINUTE_MS) return last.counts
    const counts = new Map<string, RouteCounts>()
    minutes.push({ begins: at, counts })
    return counts
  }

  return {
    add(route, growth) {
      if (growth.requests === 0) return
      const counts = current()
      const known = counts.get(route)
      counts.set(route, known === undefined ? growth : addRoutes([known, growth]))
    },
    numbers() {
      current()
      const each = Map.groupBy(
        minutes.flatMap(({ counts }) => [...counts]),
        ([route]) => route,
      )
      return new Map(
        [...each].map(([route, counts]) => [route, numbersOf(addRoutes(counts.map(([, count]) => count)))]),
      )
    },
  }
}

function addRoutes(each: readonly RouteCounts[]): RouteCounts {
  return {
    requests: each.reduce((sum, { requests }) => sum + requests, 0),
    errors: each.reduce((sum, { errors }) => sum + errors, 0),
    durations: addCounts(each.map(({ durations }) => durations)),
  }
}

function numbersOf({ requests, errors, durations }: RouteCounts): RouteNumbers {
  const p99 = quantile(0.99, DURATION_BUCKETS, durations)
  return { requests, errors, p99Ms: p99 === null ? null : Number((p99 * 1000).toPrecision(4)) }
}
