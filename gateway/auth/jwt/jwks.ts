import type { JWTHeaderParameters } from 'jose'
import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { parseJwks } from './key-files.ts'
import type { KeyRing, VerificationKey } from './key-ring.ts'
import { createKeySet, type KeySet } from './key-set.ts'

/** Fetches a JSON document. @throws where it cannot be had */
export type FetchJson = (url: string, timeoutMs: number) => Promise<unknown>

export interface JwksFetcher {
  readonly version: number
  readonly state: KeyRing['state']
  candidates(header: JWTHeaderParameters): Promise<readonly VerificationKey[]>
  close(): void
}

export interface JwksParts {
  readonly fetchJson: FetchJson
  readonly scheduler: Scheduler
  readonly log: Pick<Log, 'warn' | 'error'>
  /** `JWT_ALGORITHMS`, or null for those that fit the keys. */
  readonly algorithms: readonly string[] | null
}

const TIMEOUT_MS = 5000

/** An unknown `kid` makes the set be fetched again, but not more often than this: kids are the client's to choose. */
const COOLDOWN_MS = 10_000

/** While there never was a set, tries come this far apart. */
const FIRST_COOLDOWN_MS = 1000

/** A set is fetched anew in the background after this time, so that withdrawn keys go. */
const MAX_AGE_MS = 600_000

/** A fetch that failed is tried again after this time: what is withdrawn must not stay for another age limit. */
const RETRY_MS = 60_000

/**
 * A key set from a URL. jose's own remote set forgets what it has when a fetch fails after its age limit and
 * fetches without a pause while the server is down; here the last good set stays, and a fetch that failed counts
 * towards the cooldown.
 */
export function createJwksFetcher(url: string, parts: JwksParts): JwksFetcher {
  const { fetchJson, scheduler, log } = parts
  let local: KeySet | null = null
  let current = ''
  let version = 0
  let triedAt = Number.NEGATIVE_INFINITY
  let askedForKidAt = Number.NEGATIVE_INFINITY
  let failure: unknown = null
  let pending: Promise<void> | null = null
  let cancel = () => {}
  let closed = false

  function refresh(): Promise<void> {
    pending ??= load().finally(() => {
      pending = null
    })
    return pending
  }

  async function load(): Promise<void> {
    triedAt = scheduler.now()
    cancel()
    try {
      const document = keysOf(await fetchJson(url, TIMEOUT_MS))
      const text = JSON.stringify(document)
      if (text !== current) {
        const { keys, warnings } = parseJwks(document, 'the key set', parts.algorithms)
        local = createKeySet(keys)
        current = text
        version++
        for (const warning of warnings) log.warn({}, warning)
      }
      failure = null
    } catch (error) {
      failure = error
      log.error(
        { err: error },
        local === null
          ? 'the key set cannot be fetched'
          : 'the key set cannot be fetched; the last good one stays in force',
      )
    } finally {
      if (!closed) cancel = scheduler.after(pauseMs(), () => void refresh())
    }
  }

  function pauseMs(): number {
    if (local === null) return FIRST_COOLDOWN_MS
    return failure === null ? MAX_AGE_MS : RETRY_MS
  }

  /** Whether a key that is not in the set may be in the one to be fetched now, or already under way. */
  function mayBeNew(): boolean {
    if (pending !== null) return true
    if (scheduler.now() - askedForKidAt < COOLDOWN_MS) return false
    askedForKidAt = scheduler.now()
    return true
  }

  void refresh()

  return {
    get version() {
      return version
    },
    get state() {
      if (local === null) return 'none'
      return failure === null ? 'current' : 'outdated'
    },
    async candidates(header) {
      if (local === null) {
        if (pending !== null || scheduler.now() - triedAt >= FIRST_COOLDOWN_MS) await refresh()
        if (local === null) throw new Error('no key set was fetched yet', { cause: failure })
      }
      const known = local.named(header)
      if (known.length > 0) return known
      if (mayBeNew()) await refresh()
      const fetched = local.named(header)
      return fetched.length > 0 ? fetched : local.unnamed(header)
    },
    close() {
      closed = true
      cancel()
    },
  }
}

function keysOf(value: unknown): readonly unknown[] {
  const keys = typeof value === 'object' && value !== null && 'keys' in value ? value.keys : null
  if (!Array.isArray(keys)) throw new Error('the document is no JWKS: expected an object with a list of keys')
  return keys
}
