import { AggregatorRegistry, type Registry } from 'prom-client'
import { CONTENT_TYPES, type ExpositionFormat, renderExposition } from './exposition-format.ts'
import type { Exemplar, RegistryMetricValues } from './series.ts'

/** The response to a scrape. */
export interface Exposition {
  readonly contentType: string
  readonly body: string
}

/** The metrics of one process, as they are sent to the process that is scraped. */
export type ProcessMetrics = readonly RegistryMetricValues[]

/** The exposition of one process. */
export async function expose(registry: Registry, format: ExpositionFormat): Promise<Exposition> {
  return toExposition(await valuesOf(registry), format)
}

/** The exposition of several processes, each metric by its aggregator: counters are summed, of ups the least counts. */
export async function exposeAggregated(
  processes: readonly ProcessMetrics[],
  format: ExpositionFormat,
): Promise<Exposition> {
  const families = await valuesOf(aggregate(processes))
  return toExposition(format === 'text' ? families : withExemplars(families, processes), format)
}

function toExposition(families: ProcessMetrics, format: ExpositionFormat): Exposition {
  return { contentType: CONTENT_TYPES[format], body: renderExposition(families, format) }
}

/** Adds the newest exemplar of each bucket, since prom-client's aggregation drops them. */
function withExemplars(families: ProcessMetrics, processes: readonly ProcessMetrics[]): ProcessMetrics {
  const exemplars = newestExemplars(processes)
  return families.map((family) =>
    family.type !== 'histogram'
      ? family
      : {
          ...family,
          values: family.values.map((value) => ({ ...value, exemplar: exemplars.get(keyOf(value)) })),
        },
  )
}

/** Aggregates counters and histograms only. They are kept after a process has ended, since their sums must not fall. */
export async function aggregateGrowing(processes: readonly ProcessMetrics[]): Promise<ProcessMetrics> {
  const growing = processes.map((families) =>
    families.filter(({ type }) => type === 'counter' || type === 'histogram'),
  )
  return valuesOf(aggregate(growing))
}

function aggregate(processes: readonly ProcessMetrics[]): Registry {
  return AggregatorRegistry.aggregate(processes as never) as Registry
}

export async function valuesOf(registry: Registry): Promise<RegistryMetricValues[]> {
  return (await registry.getMetricsAsJSON()) as unknown as RegistryMetricValues[]
}

function newestExemplars(processes: readonly ProcessMetrics[]): Map<string, Exemplar> {
  const newest = new Map<string, Exemplar>()
  for (const value of processes.flat().flatMap(({ values }) => values)) {
    if (!value.exemplar) continue
    const known = newest.get(keyOf(value))
    if (known === undefined || known.timestamp < value.exemplar.timestamp) {
      newest.set(keyOf(value), value.exemplar)
    }
  }
  return newest
}

function keyOf({ metricName, labels }: RegistryMetricValues['values'][number]): string {
  return `${metricName} ${JSON.stringify(labels)}`
}
