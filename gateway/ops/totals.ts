import type { Metrics } from './metrics.ts'
import type { RegistryMetric } from './series.ts'
import type { Totals } from './status.ts'

/** The counters since the start that the status page shows, read from the metrics themselves. */
export async function totalsOf(metrics: Metrics): Promise<Totals> {
  const values = async (name: string) => {
    const metric = metrics.registry.getSingleMetric(name) as unknown as RegistryMetric
    return (await metric.get()).values
  }
  const sum = (list: Awaited<ReturnType<typeof values>>) =>
    list.reduce((total, { value }) => total + value, 0)
  const requests = await values('gateway_requests_total')
  const durations = await values('gateway_request_duration_seconds')
  const decisions = await values('gateway_auth_decisions_total')
  return {
    requests: sum(requests),
    errors: sum(requests.filter(({ labels }) => Number(labels.status) >= 500)),
    durationSeconds: sum(durations.filter(({ metricName }) => metricName?.endsWith('_sum'))),
    inFlight: metrics.requestsInFlight.value,
    lookups: metrics.lookups.active.value + metrics.lookups.refused.value + metrics.lookups.failed.value,
    queries: metrics.tokenQueries.value,
    decisions: Object.fromEntries(decisions.map(({ labels, value }) => [labels.decision, value])),
  }
}
