/** Each request has the cookie of a random session; the sequence of sessions is the same for every contender. */
export interface Load {
  readonly port: number
  readonly connections: number
  readonly seconds: number
  /** A file of tokens, one a line. */
  readonly tokensFile: string
  /** Seed of the random sequence. */
  readonly seed: number
  /** Pause between an answer and the next request on its connection, only with wrk. No pause where absent. */
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
