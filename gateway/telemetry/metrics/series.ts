/** The members of a metric that prom-client's registry uses. */
export interface RegistryMetric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** How the values of several workers are combined. */
  readonly aggregator: Aggregator
  get(): Promise<RegistryMetricValues>
  reset(): void
}

export type Aggregator = 'sum' | 'first' | 'min' | 'max' | 'average' | 'omit'

export interface RegistryMetricValues {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly aggregator: Aggregator
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>
    readonly value: number
    readonly metricName?: string
    /** Null in prom-client's own metrics. */
    readonly exemplar?: Exemplar | null | undefined
  }[]
}

/** One of the observations, with the trace that it belongs to. */
export interface Exemplar {
  readonly labelSet: { readonly trace_id: string }
  readonly value: number
  /** Seconds since the epoch. */
  readonly timestamp: number
}

/** The value of one label set of a counter or gauge. A caller that keeps it increments without a hash of labels. */
export interface Cell {
  value: number
}

export interface Series<L extends string> {
  /** The cell of these label values, created at the first call. */
  cell(
    ...labels: Record<L, string> extends Record<never, string>
      ? [] | [Record<L, string>]
      : [Record<L, string>]
  ): Cell
  /** Removes label sets for which `keep` is false, such as those of targets that were removed. */
  prune(keep: (labels: Record<L, string>) => boolean): void
  readonly metric: RegistryMetric
}

/** A counter or gauge whose values are plain numbers, read at each scrape. */
export function createSeries<L extends string = never>(options: {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge'
  readonly labels?: readonly L[]
  readonly aggregator?: Aggregator
  /** Called at each scrape, before the values are read. */
  readonly collect?: (series: Series<L>) => void
}): Series<L> {
  const { name, help, type, labels = [], aggregator = 'sum', collect } = options
  const cells = new Map<string, { labels: Record<L, string>; cell: Cell }>()

  const series: Series<L> = {
    cell(...given) {
      const values = (given[0] ?? {}) as Record<L, string>
      const key = labels.map((label) => values[label]).join('\u0000')
      let entry = cells.get(key)
      if (entry === undefined) {
        entry = { labels: values, cell: { value: 0 } }
        cells.set(key, entry)
      }
      return entry.cell
    },
    prune(keep) {
      for (const [key, entry] of cells) if (!keep(entry.labels)) cells.delete(key)
    },
    metric: {
      name,
      help,
      type,
      aggregator,
      async get() {
        collect?.(series)
        const values = [...cells.values()].map((entry) => ({ labels: entry.labels, value: entry.cell.value }))
        return { name, help, type, aggregator, values }
      },
      reset() {
        for (const entry of cells.values()) entry.cell.value = 0
      },
    },
  }
  // A metric without labels exists from the start, at 0, so that a rate over it has no gap.
  if (labels.length === 0) series.cell(...([{}] as never))
  return series
}
