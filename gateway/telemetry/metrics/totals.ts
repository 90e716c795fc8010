import type { Metrics } from './metrics.ts'
import type { RegistryMetric } from './series.ts'

/** Numbers by name. */
export type Counts = Readonly<Record<string, number>>

/** What was counted under a name, which may be one that all objects have, such as `constructor`. */
export function countOf(counts: Counts, name: string): number {
  return Object.hasOwn(counts, name) ? counts[name]! : 0
}

/** What is counted by name. */
export interface NamedCounts {
  /** By decision, as in `gateway_auth_decisions_total`. */
  readonly decisions: Counts
  /** Exchanges that a target answered, by `targetKey`. */
  readonly answers: Counts
  /** Exchanges that got no answer, by `targetKey`. */
  readonly failures: Counts
  /** Failed exchanges that were sent again, by upstream. */
  readonly retries: Counts
  /** Requests refused because too many waited for a connection, by upstream. */
  readonly overloaded: Counts
  /** Slow answers, by upstream. */
  readonly slow: Counts
}

/** What was counted on one route. */
export interface RouteCounts {
  readonly requests: number
  /** Answers of 5xx. */
  readonly errors: number
  /** As `Totals.durations`. */
  readonly durations: readonly number[]
}

/** What one process has counted since its start, for the history and the status page. */
export interface Totals {
  /** Distinguishes a worker from the one it has replaced. */
  readonly pid: number
  readonly requests: number
  /** Requests answered with 5xx. */
  readonly errors: number
  /** Finished requests by duration: one count for each bucket of `DURATION_BUCKETS`, and one for longer ones. */
  readonly durations: readonly number[]
  readonly lookups: number
  readonly queries: number
  /** Connections of clients that were turned away at MAX_CONNECTIONS. */
  readonly turnedAway: number
  readonly counts: NamedCounts
  /** By label; `none` for what matched no route. */
  readonly routes: Readonly<Record<string, RouteCounts>>
  /** Now, not since the start. */
  readonly inFlight: number
}

/** Names a target in `Totals`: targets of two upstreams may have the same URL. */
export function targetKey(upstream: string, url: string): string {
  return `${upstream} ${url}`
}

/** Reads the counters from the metrics themselves. */
export async function totalsOf(metrics: Metrics): Promise<Totals> {
  const values = async (name: string) => {
    const metric = metrics.registry.getSingleMetric(name) as unknown as RegistryMetric
    return (await metric.get()).values
  }
  type Values = Awaited<ReturnType<typeof values>>
  type Labels = Values[number]['labels']
  const sum = (list: Values) => list.reduce((total, { value }) => total + value, 0)
  /** Sums by what `keyOf` makes of the labels; null leaves a value out. */
  const sumBy = (list: Values, keyOf: (labels: Labels) => string | null) => {
    const counts: Record<string, number> = {}
    // The labels are not copied: a thousand routes have ten thousand values, and the event loop waits meanwhile.
    for (const { labels, value } of list) {
      const key = keyOf(labels)
      if (key !== null) counts[key] = countOf(counts, key) + value
    }
    return counts
  }
  const requests = await values('gateway_requests_total')
  const attempts = await values('gateway_upstream_requests_total')
  const byTarget = (wanted: (outcome: unknown) => boolean) =>
    sumBy(attempts, ({ upstream, target, outcome }) =>
      wanted(outcome) ? targetKey(String(upstream), String(target)) : null,
    )
  const byUpstream = async (name: string) => sumBy(await values(name), ({ upstream }) => String(upstream))
  const isError = (status: unknown) => Number(status) >= 500
  const { active, refused, failed } = metrics.lookups
  const byRoute = sumBy(requests, ({ route }) => String(route))
  const errorsByRoute = sumBy(requests, ({ route, status }) => (isError(status) ? String(route) : null))
  const durations = metrics.routeDurations()
  return {
    pid: process.pid,
    requests: sum(requests),
    errors: sum(requests.filter(({ labels }) => isError(labels.status))),
    durations: metrics.requestDurations(),
    lookups: active.value + refused.value + failed.value,
    queries: metrics.tokenQueries.value,
    turnedAway: metrics.clientConnections.refused.value,
    counts: {
      decisions: sumBy(await values('gateway_auth_decisions_total'), ({ decision }) => String(decision)),
      answers: byTarget((outcome) => outcome !== 'failed'),
      failures: byTarget((outcome) => outcome === 'failed'),
      retries: await byUpstream('gateway_upstream_retries_total'),
      overloaded: await byUpstream('gateway_upstream_overloaded_total'),
      slow: metrics.slowAnswers(),
    },
    routes: Object.fromEntries(
      Object.entries(byRoute).map(([route, count]) => [
        route,
        { requests: count, errors: countOf(errorsByRoute, route), durations: durations.get(route) ?? [] },
      ]),
    ),
    inFlight: metrics.requestsInFlight.value,
  }
}

type Summed = Omit<Totals, 'pid' | 'durations' | 'routes'>

/** Adds up the totals of several processes. */
export function sumTotals(each: readonly Summed[]): Summed {
  const sum = (name: 'requests' | 'errors' | 'lookups' | 'queries' | 'turnedAway' | 'inFlight') =>
    each.reduce((total, totals) => total + totals[name], 0)
  return {
    requests: sum('requests'),
    errors: sum('errors'),
    lookups: sum('lookups'),
    queries: sum('queries'),
    turnedAway: sum('turnedAway'),
    counts: sumNamed(each.map(({ counts }) => counts)),
    inFlight: sum('inFlight'),
  }
}

/** Adds up counts that have the same names. */
export function sumNamed(each: readonly NamedCounts[]): NamedCounts {
  return mapNames((name) => addRecords(each.map((counts) => counts[name])))
}

/** Makes the counts of each name. */
export function mapNames(make: (name: keyof NamedCounts) => Counts): NamedCounts {
  return {
    decisions: make('decisions'),
    answers: make('answers'),
    failures: make('failures'),
    retries: make('retries'),
    overloaded: make('overloaded'),
    slow: make('slow'),
  }
}

/** Adds counts by name. */
export function addRecords(each: readonly Counts[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const record of each)
    for (const [name, count] of Object.entries(record)) sums[name] = countOf(sums, name) + count
  return sums
}

/** Adds lists of counts, place by place. */
export function addCounts(lists: readonly (readonly number[])[]): number[] {
  const longest = Math.max(0, ...lists.map((counts) => counts.length))
  return Array.from({ length: longest }, (_, i) => lists.reduce((sum, counts) => sum + (counts[i] ?? 0), 0))
}
