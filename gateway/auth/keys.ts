import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { createLocalJWKSet, type JSONWebKeySet, type JWK, type JWTHeaderParameters } from 'jose'
import type { Scheduler } from '../scheduler.ts'
import { createJwksFetcher, type FetchJson } from './jwks.ts'

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

/** A key file that is not usable; the message names it and what was expected. */
export class KeyError extends Error {
  override readonly name = 'KeyError'
}

const MIN_SECRET_BYTES = 32
const MIN_RSA_BITS = 2048
const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']
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
        publicRing(parsePublicKeys(await readFile(source.path, 'utf8'), source.path), parts),
      )
    case 'jwks-url': {
      const fetcher = createJwksFetcher(source.url, parts)
      return {
        algorithms: parts.algorithms ?? PUBLIC_ALGORITHMS,
        get version() {
          return fetcher.version
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
    secret,
    resolve: () => secret,
    close: () => {},
  }
}

function publicRing(set: JSONWebKeySet, parts: KeyRingParts): KeyRing {
  const resolve = createLocalJWKSet(set)
  return {
    algorithms: parts.algorithms ?? PUBLIC_ALGORITHMS,
    version: 0,
    secret: null,
    resolve: (header) => resolve(header),
    close: () => {},
  }
}

/**
 * A ring whose file is looked at every second: by its time, size and inode, so that a rename or a symlink
 * swapped by Kubernetes is seen too. A bad new file leaves the last good key in force.
 */
async function fileRing(path: string, parts: KeyRingParts, load: () => Promise<KeyRing>): Promise<KeyRing> {
  let ring = await readable(path, load)
  let mark = await markOf(path)
  let version = 0
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
      parts.log.info({ file: path }, 'the key file has changed; the new key is in force')
    } catch (error) {
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

function trimmed(content: Buffer): Buffer {
  let end = content.length
  while (end > 0 && (content[end - 1] === 10 || content[end - 1] === 13)) end--
  return content.subarray(0, end)
}

function parseSecret(secret: Buffer, place: string): KeyObject {
  if (secret.length < MIN_SECRET_BYTES) {
    throw new KeyError(
      `${place}: the secret has ${secret.length} bytes; expected at least ${MIN_SECRET_BYTES}`,
    )
  }
  return createSecretKey(secret)
}

/** PEM (a public key or a certificate), JWK or JWKS. */
function parsePublicKeys(text: string, path: string): JSONWebKeySet {
  const keys = text.trimStart().startsWith('{') ? parseJwks(text, path) : [parsePem(text, path)]
  for (const key of keys) checkPublic(key, path)
  return { keys }
}

function parseJwks(text: string, path: string): JWK[] {
  let value: { keys?: unknown }
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new KeyError(`${path}: is not valid JSON; expected PEM, a JWK or a JWKS`, { cause: error })
  }
  const keys = Array.isArray(value.keys) ? value.keys : [value]
  if (keys.length === 0) throw new KeyError(`${path}: holds no keys; expected at least one`)
  return keys as JWK[]
}

function parsePem(text: string, path: string): JWK {
  if (text.includes('PRIVATE KEY')) {
    throw new KeyError(`${path}: holds a private key; expected the public key (the gateway only verifies)`)
  }
  try {
    return createPublicKey(text).export({ format: 'jwk' }) as JWK
  } catch (error) {
    throw new KeyError(`${path}: is no key that can be read; expected a PEM public key, a JWK or a JWKS`, {
      cause: error,
    })
  }
}

function checkPublic(jwk: JWK, path: string): void {
  const name = jwk.kid === undefined ? 'the key' : `the key "${jwk.kid}"`
  if (jwk.kty === 'oct')
    throw new KeyError(`${path}: ${name} is symmetric; expected a public key (use JWT_SECRET_FILE)`)
  if ('d' in jwk) throw new KeyError(`${path}: ${name} is private; expected the public part alone`)
  let key: KeyObject
  try {
    key = createPublicKey({ key: jwk as never, format: 'jwk' })
  } catch (error) {
    throw new KeyError(`${path}: ${name} cannot be read; expected an RSA, EC or Ed25519 public key`, {
      cause: error,
    })
  }
  const bits = key.asymmetricKeyDetails?.modulusLength
  if (bits !== undefined && bits < MIN_RSA_BITS) {
    throw new KeyError(`${path}: ${name} has ${bits} bits; expected at least ${MIN_RSA_BITS}`)
  }
}
