import { LRUCache } from 'lru-cache'

/** Refusals that the token table has given. Nothing that admits is ever cached. */
export type RefusalCode = 'token_unknown' | 'token_revoked' | 'token_expired'

export interface NegativeCache {
  /** The refusal given for this token no longer than the time to live ago. */
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
 * Keeps refusals for a time in microseconds. Only tokens with a good signature get here, so that nobody can
 * have somebody else's token refused.
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
