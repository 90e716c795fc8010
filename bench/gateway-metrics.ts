/** A text of /metrics, to be summed over a series' labels. */
export interface Scrape {
  sum(series: string): number
}

export async function scrape(adminPort: number): Promise<Scrape> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  return { sum: (series) => sum(text, series) }
}

/** What the gateway counts of its look-ups. */
export interface LookupCounts {
  readonly lookups: number
  readonly queries: number
}

export async function lookupCounts(adminPort: number): Promise<LookupCounts> {
  const counted = await scrape(adminPort)
  return {
    lookups: counted.sum('gateway_token_lookups_total'),
    queries: counted.sum('gateway_token_queries_total'),
  }
}

function sum(text: string, series: string): number {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${series} `) || line.startsWith(`${series}{`))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
