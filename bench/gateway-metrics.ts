/** What the gateway counts of its look-ups. */
export interface LookupCounts {
  readonly lookups: number
  readonly queries: number
}

export async function lookupCounts(adminPort: number): Promise<LookupCounts> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  return {
    lookups: sum(text, 'gateway_token_lookups_total'),
    queries: sum(text, 'gateway_token_queries_total'),
  }
}

function sum(text: string, series: string): number {
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${series} `) || line.startsWith(`${series}{`))
    .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}
