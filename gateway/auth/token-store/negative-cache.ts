import { LRUCache } from 'lru-cache'

/** The codes of refusals by the token table. An admitting answer is never cached. */
export type RefusalCode = 'token_unknown' | 'token_revoked' | 'token_expired'

export interface NegativeCache {
  /** The refusal of this token, where it is not older than the time to live. */
  get(id: string): RefusalCode | undefined
  set(id: string, code: RefusalCode): void
  readonly size: number
}

export interface NegativeCacheOptions {
  /** Microseconds; 0 switches the cache off. */
  readonly ttlUs: number
  readonly max: number
  /** Microseconds, monotonic. */
  readonly nowUs: () => number
}

const OFF: NegativeCache = { get: () => undefined, set: () => {}, size: 0 }

/**
 * Keeps refusals for a time in microseconds. Only tokens with a good signature are entered, so that nobody can get
 * somebody else's token refused.
 */
export function createNegativeCache({ ttlUs, max, nowUs }: NegativeCacheOptions): NegativeCache {
  if (ttlUs === 0) return OFF
  // lru-cache takes the unit of its clock as the unit of `ttl`. A resolution of 0 makes it read the clock each
  // time; `ttlAutopurge` would set timers in milliseconds and stays off.
  const cache = new LRUCache<string, RefusalCode>({ max, ttl: ttlUs, ttlResolution: 0, perf: { now: nowUs } })
  return {
    get: (id) => cache.get(id),
    set: (id, code) => void cache.set(id, code),
    get size() {
      cache.purgeStale()
      return cache.size
    },
  }
}
