import { KeyError, MAX_KEYS } from './key-error.ts'
import { decodeText } from './key-text.ts'
import { splitPem } from './pem-blocks.ts'
import { checkJwk, checkPem, PUBLIC_ALGORITHMS, type PublicKey, type Usability } from './public-key.ts'

export interface PublicKeys {
  readonly keys: readonly PublicKey[]
  /** For each key that is passed over: its place, the reason, and what was expected. */
  readonly warnings: readonly string[]
}

interface KeyEntry {
  /** Identifies the key in its file. */
  readonly name: string
  readonly usability: Usability
}

/**
 * Reads PEM (public keys and certificates), a JWK or a JWKS. A key that cannot be used is passed over as long as another
 * one can be used. A private key makes the whole file an error: everybody who can read the file could sign tokens.
 *
 * @param algorithms `JWT_ALGORITHMS`, or null for the default ones
 * @throws KeyError
 */
export function parsePublicKeys(
  content: Buffer,
  path: string,
  algorithms: readonly string[] | null,
): PublicKeys {
  const text = decodeText(content, path)
  const allowed = algorithms ?? PUBLIC_ALGORITHMS
  const entries = text.trimStart().startsWith('{')
    ? jwkEntries(keysOf(text, path), path, allowed)
    : pemEntries(text, path, allowed)
  const privateKeys = entries.filter(({ usability }) => usability.kind === 'unusable' && usability.isPrivate)
  if (privateKeys.length > 0) throw new KeyError(privateKeys.map(describe))
  return selectUsable(entries, path)
}

/** Reads the keys of a JWKS. A private key is passed over, since only its publisher can withdraw it. @throws KeyError */
export function parseJwks(
  keys: readonly unknown[],
  place: string,
  algorithms: readonly string[] | null,
): PublicKeys {
  return selectUsable(jwkEntries(keys, place, algorithms ?? PUBLIC_ALGORITHMS), place)
}

function selectUsable(entries: readonly KeyEntry[], place: string): PublicKeys {
  if (entries.length === 0) throw new KeyError([`${place}: holds no keys; expected at least one`])
  const keys = entries.flatMap(({ usability }) => (usability.kind === 'usable' ? [usability.key] : []))
  const passedOver = entries.filter(({ usability }) => usability.kind === 'unusable').map(describe)
  if (keys.length === 0) {
    const summary = `${place}: holds no key that can be used; expected at least one`
    throw new KeyError(passedOver.length === 1 ? passedOver : [summary, ...passedOver])
  }
  return { keys, warnings: passedOver.map((reason) => `${reason}; the key is passed over`) }
}

function describe({ name, usability }: KeyEntry): string {
  return usability.kind === 'usable' ? name : `${name} ${usability.reason}`
}

function jwkEntries(keys: readonly unknown[], place: string, allowed: readonly string[]): KeyEntry[] {
  refuseTooMany(keys.length, place)
  return keys.map((key, index) => ({
    name: `${place}: key ${index + 1}${describeKid(key)}`,
    usability: checkJwk(key, allowed),
  }))
}

const MAX_KID_CHARS = 100

function describeKid(key: unknown): string {
  const kid = typeof key === 'object' && key !== null && 'kid' in key ? key.kid : null
  return typeof kid === 'string' ? ` (${JSON.stringify(kid.slice(0, MAX_KID_CHARS))})` : ''
}

function keysOf(text: string, path: string): readonly unknown[] {
  let value: { keys?: unknown }
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new KeyError([`${path}: is not valid JSON; expected PEM, a JWK or a JWKS`], { cause: error })
  }
  return Array.isArray(value.keys) ? value.keys : [value]
}

function pemEntries(text: string, path: string, allowed: readonly string[]): KeyEntry[] {
  // This also finds a private key that is indented, quoted or cut off.
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(text)) {
    throw new KeyError([
      `${path}: holds a private key; expected public keys alone (the gateway only verifies)`,
    ])
  }
  const blocks = splitPem(text)
  if (blocks.length === 0) throw new KeyError([`${path}: ${describeMissingPem(text)}`])
  refuseTooMany(blocks.length, path)
  return blocks.map((block, index) => ({
    name: `${path}:${block.line}: key ${index + 1}`,
    usability: checkPem(block, allowed),
  }))
}

function describeMissingPem(text: string): string {
  return text.includes('-----BEGIN ')
    ? 'holds PEM on a line with other characters; expected -----BEGIN …----- and -----END …----- on lines of their own (\\n is no line break)'
    : 'holds no key; expected a PEM public key or certificate, a JWK or a JWKS'
}

function refuseTooMany(count: number, place: string): void {
  if (count > MAX_KEYS) throw new KeyError([`${place}: holds ${count} keys; expected at most ${MAX_KEYS}`])
}
