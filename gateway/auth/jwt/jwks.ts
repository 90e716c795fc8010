import type { JWTHeaderParameters } from 'jose'
import type { Log } from '../../core/log.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import { parseJwks } from './key-files.ts'
import type { KeyRing, VerificationKey } from './key-ring.ts'
import { createKeySet, type KeySet } from './key-set.ts'

/** Fetches a JSON document. @throws Error where that fails */
export type FetchJson = (url: string, timeoutMs: number) => Promise<unknown>

export interface JwksFetcher {
  readonly version: number
  readonly state: KeyRing['state']
  readonly fault: KeyRing['fault']
  candidates(header: JWTHeaderParameters): Promise<readonly VerificationKey[]>
  close(): void
}

export interface JwksParts {
  readonly fetchJson: FetchJson
  readonly scheduler: Scheduler
  readonly log: Pick<Log, 'warn' | 'error'>
  /** `JWT_ALGORITHMS`, or null for all that fit the keys. */
  readonly algorithms: readonly string[] | null
}

const TIMEOUT_MS = 5000

/** How often an unknown `kid` may cause a fetch, in milliseconds; clients can send any `kid`. */
const COOLDOWN_MS = 10_000

/** How often a fetch is tried until the first set was fetched. */
const FIRST_COOLDOWN_MS = 1000

/** A set is fetched again in the background after this time, so that withdrawn keys are dropped. */
const MAX_AGE_MS = 600_000

/** A failed fetch is repeated after this time, so that a withdrawn key does not stay for another `MAX_AGE_MS`. */
const RETRY_MS = 60_000

/**
 * A key set from a URL. jose's own remote set drops its keys when a fetch fails after the age limit, and fetches without a
 * pause while the server is down. Here the last good set stays, and a failed fetch counts towards the cooldown.
 */
export function createJwksFetcher(url: string, parts: JwksParts): JwksFetcher {
  const { fetchJson, scheduler, log } = parts
  let keySet: KeySet | null = null
  let currentText = ''
  let version = 0
  let triedAt = Number.NEGATIVE_INFINITY
  let fetchedForKidAt = Number.NEGATIVE_INFINITY
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
      if (text !== currentText) {
        const { keys, warnings } = parseJwks(document, 'the key set', parts.algorithms)
        keySet = createKeySet(keys)
        currentText = text
        version++
        for (const warning of warnings) log.warn({}, warning)
      }
      failure = null
    } catch (error) {
      failure = error
      log.error(
        { err: error },
        keySet === null
          ? 'the key set cannot be fetched'
          : 'the key set cannot be fetched; the last good one stays in force',
      )
    } finally {
      if (!closed) cancel = scheduler.after(pauseMs(), () => void refresh())
    }
  }

  function pauseMs(): number {
    if (keySet === null) return FIRST_COOLDOWN_MS
    return failure === null ? MAX_AGE_MS : RETRY_MS
  }

  /** True where an unknown key may be in a set that is fetched now. */
  function mayFetchForKid(): boolean {
    if (pending !== null) return true
    if (scheduler.now() - fetchedForKidAt < COOLDOWN_MS) return false
    fetchedForKidAt = scheduler.now()
    return true
  }

  void refresh()

  return {
    get version() {
      return version
    },
    get state() {
      if (keySet === null) return 'none'
      return failure === null ? 'current' : 'outdated'
    },
    get fault() {
      return failure === null ? null : describeFailure(failure)
    },
    async candidates(header) {
      if (keySet === null) {
        if (pending !== null || scheduler.now() - triedAt >= FIRST_COOLDOWN_MS) await refresh()
        if (keySet === null) throw new Error('no key set was fetched yet', { cause: failure })
      }
      const known = keySet.named(header)
      if (known.length > 0) return known
      if (mayFetchForKid()) await refresh()
      const fetched = keySet.named(header)
      return fetched.length > 0 ? fetched : keySet.unnamed(header)
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

/** The messages of an error and of its causes. */
function describeFailure(failure: unknown): string {
  const messages: string[] = []
  for (let next = failure; next instanceof Error; next = next.cause) messages.push(next.message)
  return messages.length === 0 ? String(failure) : messages.join(': ')
}
