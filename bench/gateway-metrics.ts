/** One answer of /metrics. */
export interface Scrape {
  /** The sum over all label values. */
  sum(series: string): number
}

export async function scrapeMetrics(adminPort: number): Promise<Scrape> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  return { sum: (series) => sumSeries(text, series) }
}

/** The gateway's counters of look-ups. */
export interface LookupCounts {
  readonly lookups: number
  readonly queries: number
}

export async function lookupCounts(adminPort: number): Promise<LookupCounts> {
  const metrics = await scrapeMetrics(adminPort)
  return {
    lookups: metrics.sum('gateway_token_lookups_total'),
    queries: metrics.sum('gateway_token_queries_total'),
  }
}

function sumSeries(text: string, series: string): number {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${series} `) || line.startsWith(`${series}{`))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
