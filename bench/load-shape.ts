/** Each request with the cookie of a session drawn at random; the draw is the same for every contender. */
export interface Load {
  readonly port: number
  readonly connections: number
  readonly seconds: number
  /** A file of tokens, one a line. */
  readonly tokensFile: string
  /** Seeds the draw. */
  readonly seed: number
  /** Between an answer and the next request on its connection; wrk only. None where absent. */
  readonly pauseMs?: number
}

export interface LoadResult {
  readonly requests: number
  readonly requestsPerS: number
  /** Answers that were not 2xx, and requests that got none. */
  readonly failed: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
}

export const PATH = '/api/items/42?x=1'
