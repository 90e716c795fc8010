import type { Status, Totals } from './status.ts'

/** What the plots of the status page show for one interval. */
export interface Sample {
  /** Milliseconds since the epoch, the interval's end. */
  readonly at: number
  readonly requestsPerSecond: number
  /** Share of answers of 5xx, 0 to 1. */
  readonly errorShare: number
  /** Mean duration of a request, milliseconds. */
  readonly latencyMs: number
  readonly lookupsPerQuery: number
}

export interface History {
  readonly samples: readonly Sample[]
  /** Takes the counters as they stand. */
  take(status: Status, at: number): void
}

/** Ten minutes, a sample every two seconds. */
export const SAMPLE_MS = 2000
const SAMPLES = 300

export function createHistory(): History {
  const samples: Sample[] = []
  let before: { totals: Totals; at: number } | null = null
  return {
    samples,
    take({ totals }, at) {
      if (before !== null) samples.push(difference(before, { totals, at }))
      if (samples.length > SAMPLES) samples.shift()
      before = { totals, at }
    },
  }
}

function difference(from: { totals: Totals; at: number }, to: { totals: Totals; at: number }): Sample {
  // A worker that was replaced begins at nothing: the sum may fall.
  const grown = (name: 'requests' | 'errors' | 'durationSeconds' | 'lookups' | 'queries') =>
    Math.max(0, to.totals[name] - from.totals[name])
  const requests = grown('requests')
  const queries = grown('queries')
  return {
    at: to.at,
    requestsPerSecond: requests / ((to.at - from.at) / 1000),
    errorShare: requests === 0 ? 0 : grown('errors') / requests,
    latencyMs: requests === 0 ? 0 : (grown('durationSeconds') / requests) * 1000,
    lookupsPerQuery: queries === 0 ? 0 : grown('lookups') / queries,
  }
}
