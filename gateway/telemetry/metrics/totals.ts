import type { Metrics } from './metrics.ts'
import type { RegistryMetric } from './series.ts'

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
  /** Counts by decision, as in `gateway_auth_decisions_total`. */
  readonly decisions: Readonly<Record<string, number>>
  /** Requests that a target of an upstream answered, by upstream. */
  readonly answers: Readonly<Record<string, number>>
  /** Requests that got no answer, by upstream. */
  readonly failures: Readonly<Record<string, number>>
  /** Now, not since the start. */
  readonly inFlight: number
}

/** Reads the counters from the metrics themselves. */
export async function totalsOf(metrics: Metrics): Promise<Totals> {
  const values = async (name: string) => {
    const metric = metrics.registry.getSingleMetric(name) as unknown as RegistryMetric
    return (await metric.get()).values
  }
  const sum = (list: Awaited<ReturnType<typeof values>>) =>
    list.reduce((total, { value }) => total + value, 0)
  const requests = await values('gateway_requests_total')
  const decisions = await values('gateway_auth_decisions_total')
  const attempts = await values('gateway_upstream_requests_total')
  const byUpstream = (wanted: (outcome: unknown) => boolean) => {
    const counts: Record<string, number> = {}
    for (const { labels, value } of attempts) {
      if (wanted(labels.outcome)) counts[labels.upstream!] = (counts[labels.upstream!] ?? 0) + value
    }
    return counts
  }
  const { active, refused, failed } = metrics.lookups
  return {
    pid: process.pid,
    requests: sum(requests),
    errors: sum(requests.filter(({ labels }) => Number(labels.status) >= 500)),
    durations: metrics.requestDurations(),
    lookups: active.value + refused.value + failed.value,
    queries: metrics.tokenQueries.value,
    decisions: Object.fromEntries(decisions.map(({ labels, value }) => [labels.decision, value])),
    answers: byUpstream((outcome) => outcome !== 'failed'),
    failures: byUpstream((outcome) => outcome === 'failed'),
    inFlight: metrics.requestsInFlight.value,
  }
}

/** Adds up the totals of several processes. */
export function sumTotals(each: readonly Totals[]): Omit<Totals, 'pid'> {
  const sum = (name: 'requests' | 'errors' | 'lookups' | 'queries' | 'inFlight') =>
    each.reduce((total, totals) => total + totals[name], 0)
  return {
    requests: sum('requests'),
    errors: sum('errors'),
    durations: addCounts(each.map(({ durations }) => durations)),
    lookups: sum('lookups'),
    queries: sum('queries'),
    decisions: addRecords(each.map(({ decisions }) => decisions)),
    answers: addRecords(each.map(({ answers }) => answers)),
    failures: addRecords(each.map(({ failures }) => failures)),
    inFlight: sum('inFlight'),
  }
}

/** Adds counts by name. */
export function addRecords(each: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const record of each)
    for (const [name, count] of Object.entries(record)) sums[name] = (sums[name] ?? 0) + count
  return sums
}

/** Adds lists of counts, place by place. */
export function addCounts(lists: readonly (readonly number[])[]): number[] {
  const longest = Math.max(0, ...lists.map((counts) => counts.length))
  return Array.from({ length: longest }, (_, i) => lists.reduce((sum, counts) => sum + (counts[i] ?? 0), 0))
}
