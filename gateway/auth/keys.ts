import type { KeyObject } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { errors, type JSONWebKeySet, type JWTHeaderParameters } from 'jose'
import type { Scheduler } from '../scheduler.ts'
import { createJwksFetcher, type FetchJson } from './jwks.ts'
import { KeyError, PUBLIC_ALGORITHMS, parsePublicKeys, parseSecret, trimmed } from './key-files.ts'
import { createKeySet } from './key-set.ts'

export { KeyError } from './key-files.ts'

/** Where the key comes from that tokens are verified with. */
export type KeySource =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'secret-file'; readonly path: string }
  | { readonly kind: 'public-key-file'; readonly path: string }
  | { readonly kind: 'jwks-url'; readonly url: string }

export type VerificationKey = KeyObject | CryptoKey

/** The keys in force. Fields that name a key by URL (`jku`, `x5u`) or carry one (`jwk`, `x5c`) are never read. */
export interface KeyRing {
  /** The algorithms that these keys are for. */
  readonly algorithms: readonly string[]
  /** Counts changes: what was verified under another version is not verified any more. */
  readonly version: number
  /** @throws jose's JWKSNoMatchingKey or JWKSMultipleMatchingKeys; the fetch's error where there never was a key */
  resolve(header: JWTHeaderParameters): Promise<VerificationKey> | VerificationKey
  /** `none`: there never was one. `outdated`: what came after it is not usable. */
  readonly state: 'current' | 'outdated' | 'none'
  /** The secret that tokens can be signed with, or null where only public keys are held. */
  readonly secret: KeyObject | null
  close(): void
}

export interface KeyRingParts {
  readonly scheduler: Scheduler
  readonly fetchJson: FetchJson
  readonly log: { info(fields: object, message: string): void; error(fields: object, message: string): void }
  /** `JWT_ALGORITHMS`, or null for those that fit the keys. */
  readonly algorithms: readonly string[] | null
}

const WATCH_MS = 1000

/** @throws KeyError where a file is not usable; an unreachable JWKS URL is no error, it is tried again */
export async function createKeyRing(source: KeySource, parts: KeyRingParts): Promise<KeyRing> {
  switch (source.kind) {
    case 'secret':
      return secretRing(parseSecret(Buffer.from(source.secret), 'JWT_SECRET'), parts)
    case 'secret-file':
      return fileRing(source.path, parts, async () =>
        secretRing(parseSecret(trimmed(await readFile(source.path)), source.path), parts),
      )
    case 'public-key-file':
      return fileRing(source.path, parts, async () =>
        publicRing(
          parsePublicKeys(await readFile(source.path, 'utf8'), source.path, parts.algorithms),
          parts,
        ),
      )
    case 'jwks-url': {
      const fetcher = createJwksFetcher(source.url, parts)
      return {
        algorithms: parts.algorithms ?? PUBLIC_ALGORITHMS,
        get version() {
          return fetcher.version
        },
        get state() {
          return fetcher.state
        },
        secret: null,
        resolve: (header) => fetcher.resolve(header),
        close: () => fetcher.close(),
      }
    }
  }
}

function secretRing(secret: KeyObject, parts: KeyRingParts): KeyRing {
  return {
    algorithms: parts.algorithms ?? ['HS256'],
    version: 0,
    state: 'current',
    secret,
    resolve: () => secret,
    close: () => {},
  }
}

function publicRing(set: JSONWebKeySet, parts: KeyRingParts): KeyRing {
  const keys = createKeySet(set)
  return {
    algorithms: parts.algorithms ?? PUBLIC_ALGORITHMS,
    version: 0,
    state: 'current',
    secret: null,
    async resolve(header) {
      try {
        return await keys.named(header)
      } catch (error) {
        const unnamed = error instanceof errors.JWKSNoMatchingKey ? keys.unnamed(header) : null
        if (unnamed === null) throw error
        return await unnamed
      }
    },
    close: () => {},
  }
}

/**
 * A ring whose file is looked at every second: by its time, size and inode, so that a rename or a symlink
 * swapped by Kubernetes is seen too. A bad new file leaves the last good key in force.
 */
async function fileRing(path: string, parts: KeyRingParts, load: () => Promise<KeyRing>): Promise<KeyRing> {
  // The mark comes first: a file that changes while it is read is read again.
  let mark = await markOf(path)
  let ring = await readable(path, load)
  let version = 0
  let state: KeyRing['state'] = 'current'
  let cancel = parts.scheduler.after(WATCH_MS, look)
  let closed = false

  function look(): void {
    void reload().finally(() => {
      if (!closed) cancel = parts.scheduler.after(WATCH_MS, look)
    })
  }

  async function reload(): Promise<void> {
    const now = await markOf(path)
    if (now === mark) return
    mark = now
    try {
      ring = await readable(path, load)
      version++
      state = 'current'
      parts.log.info({ file: path }, 'the key file has changed; the new key is in force')
    } catch (error) {
      state = 'outdated'
      parts.log.error(
        { file: path, err: error },
        'the key file has changed and is not usable; the last good key stays in force',
      )
    }
  }

  return {
    get algorithms() {
      return ring.algorithms
    },
    get version() {
      return version
    },
    get state() {
      return state
    },
    get secret() {
      return ring.secret
    },
    resolve: (header) => ring.resolve(header),
    close() {
      closed = true
      cancel()
    },
  }
}

async function readable(path: string, load: () => Promise<KeyRing>): Promise<KeyRing> {
  try {
    return await load()
  } catch (error) {
    if (error instanceof KeyError) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unreadable'
    throw new KeyError(`${path}: cannot be read (${reason}); expected a readable key file`, { cause: error })
  }
}

async function markOf(path: string): Promise<string> {
  try {
    const { mtimeMs, ctimeMs, size, ino } = await stat(path)
    return `${mtimeMs} ${ctimeMs} ${size} ${ino}`
  } catch {
    return 'missing'
  }
}
