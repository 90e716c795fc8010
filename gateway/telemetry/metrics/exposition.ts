import { AggregatorRegistry, type Registry } from 'prom-client'
import { CONTENT_TYPES, type ExpositionFormat, renderExposition } from './exposition-format.ts'
import type { Exemplar, RegistryMetricValues } from './series.ts'

/** What Prometheus scrapes. */
export interface Exposition {
  readonly contentType: string
  readonly body: string
}

/** The metrics of one process, as they travel to the one that is scraped. */
export type ProcessMetrics = readonly RegistryMetricValues[]

/** The exposition of one process. */
export async function expose(registry: Registry, format: ExpositionFormat): Promise<Exposition> {
  return exposed(await valuesOf(registry), format)
}

/** The exposition of several processes: counters, histograms and in-flight are summed; ups are the least. */
export async function exposeTogether(
  processes: readonly ProcessMetrics[],
  format: ExpositionFormat,
): Promise<Exposition> {
  const families = await valuesOf(sumOf(processes))
  return exposed(format === 'text' ? families : withExemplars(families, processes), format)
}

function exposed(families: ProcessMetrics, format: ExpositionFormat): Exposition {
  return { contentType: CONTENT_TYPES[format], body: renderExposition(families, format) }
}

/** prom-client's sums leave exemplars out: the newest of each bucket is put in again. */
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

/** What only grows: the part of a process's metrics that outlives it, or its sum would fall with it. */
export async function grownTogether(processes: readonly ProcessMetrics[]): Promise<ProcessMetrics> {
  const growing = processes.map((families) =>
    families.filter(({ type }) => type === 'counter' || type === 'histogram'),
  )
  return valuesOf(sumOf(growing))
}

function sumOf(processes: readonly ProcessMetrics[]): Registry {
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
