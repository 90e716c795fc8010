import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import type { JSONWebKeySet, JWK } from 'jose'

/** A key that is not usable; the message names its place and what was expected. */
export class KeyError extends Error {
  override readonly name = 'KeyError'
}

/** What public keys are used for where `JWT_ALGORITHMS` says nothing. */
export const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

const MIN_SECRET_BYTES = 32
const MIN_RSA_BITS = 2048

const CURVES: Readonly<Record<string, readonly string[]>> = {
  'P-256': ['ES256'],
  'P-384': ['ES384'],
  'P-521': ['ES512'],
  Ed25519: ['EdDSA', 'Ed25519'],
}

/** Without the line breaks at the end, which editors and `echo` add. */
export function trimmed(content: Buffer): Buffer {
  let end = content.length
  while (end > 0 && (content[end - 1] === 10 || content[end - 1] === 13)) end--
  return content.subarray(0, end)
}

/** @param place names the secret in the error's message @throws KeyError */
export function parseSecret(secret: Buffer, place: string): KeyObject {
  if (secret.length < MIN_SECRET_BYTES) {
    throw new KeyError(
      `${place}: the secret has ${secret.length} bytes; expected at least ${MIN_SECRET_BYTES}`,
    )
  }
  return createSecretKey(secret)
}

/**
 * Reads PEM (a public key or a certificate), a JWK or a JWKS.
 *
 * @param algorithms `JWT_ALGORITHMS`, or null for the usual ones; at least one key has to fit one of them
 * @throws KeyError
 */
export function parsePublicKeys(
  text: string,
  path: string,
  algorithms: readonly string[] | null,
): JSONWebKeySet {
  const keys = text.trimStart().startsWith('{') ? parseJwks(text, path) : [parsePem(text, path)]
  for (const key of keys) checkPublic(key, path)
  const allowed = algorithms ?? PUBLIC_ALGORITHMS
  if (!keys.some((key) => allowed.some((algorithm) => fits(key, algorithm)))) {
    throw new KeyError(`${path}: holds no key that fits the algorithms ${allowed.join(', ')}; expected one`)
  }
  return { keys }
}

/** Whether a key may verify with an algorithm (RFC 7518, section 3.1; RFC 7517, section 4). */
function fits({ kty, crv, alg, use }: JWK, algorithm: string): boolean {
  if ((alg !== undefined && alg !== algorithm) || (use !== undefined && use !== 'sig')) return false
  if (kty === 'RSA') return algorithm.startsWith('RS') || algorithm.startsWith('PS')
  return crv !== undefined && CURVES[crv]?.includes(algorithm) === true
}

function parseJwks(text: string, path: string): JWK[] {
  let value: { keys?: unknown }
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new KeyError(`${path}: is not valid JSON; expected PEM, a JWK or a JWKS`, { cause: error })
  }
  const keys: unknown[] = Array.isArray(value.keys) ? value.keys : [value]
  if (keys.length === 0) throw new KeyError(`${path}: holds no keys; expected at least one`)
  if (!keys.every((key) => typeof key === 'object' && key !== null)) {
    throw new KeyError(`${path}: holds a key that is no object; expected a JWKS`)
  }
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
