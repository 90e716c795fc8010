import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { PemBlock } from './pem-blocks.ts'

export interface PublicKey {
  /** Null where the key has none; it may then verify tokens with any `kid`. */
  readonly kid: string | null
  /** The imported key for each algorithm that it may verify. */
  readonly byAlgorithm: ReadonlyMap<string, CryptoKey>
}

/** A key, or why it cannot be used and what was expected. */
export type Usability =
  | { readonly kind: 'usable'; readonly key: PublicKey }
  | { readonly kind: 'unusable'; readonly reason: string; readonly isPrivate: boolean }

type ImportParameters = Parameters<KeyObject['toCryptoKey']>[0]

const HASHES = ['256', '384', '512']
const rsa = (prefix: string, name: string) =>
  HASHES.map((bits): [string, ImportParameters] => [`${prefix}${bits}`, { name, hash: `SHA-${bits}` }])
const ed25519: ImportParameters = { name: 'Ed25519' }

/** The algorithms of each kind of key (RFC 7518, section 3.1; RFC 8037; RFC 9864). */
const KINDS: ReadonlyMap<string, readonly (readonly [string, ImportParameters])[]> = new Map([
  ['RSA', [...rsa('RS', 'RSASSA-PKCS1-v1_5'), ...rsa('PS', 'RSA-PSS')]],
  ['EC on prime256v1', [['ES256', { name: 'ECDSA', namedCurve: 'P-256' }]]],
  ['EC on secp384r1', [['ES384', { name: 'ECDSA', namedCurve: 'P-384' }]]],
  ['EC on secp521r1', [['ES512', { name: 'ECDSA', namedCurve: 'P-521' }]]],
  [
    'Ed25519',
    [
      ['EdDSA', ed25519],
      ['Ed25519', ed25519],
    ],
  ],
])
const EXPECTED_KIND = 'RSA, EC on P-256, P-384 or P-521, or Ed25519'

/** All algorithms that `JWT_ALGORITHMS` may name for public keys. */
export const ALL_PUBLIC_ALGORITHMS = [...KINDS.values()].flatMap((each) => each.map(([name]) => name))

/** The algorithms for public keys where `JWT_ALGORITHMS` is not set. */
export const PUBLIC_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

const MIN_RSA_BITS = 2048
const PRIVATE_FIELDS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'priv']

/** @param given an entry of a JWKS (RFC 7517, section 4), not checked in any way */
export function checkJwk(given: unknown, allowed: readonly string[]): Usability {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    return unusable('is no object; expected a JWK')
  // Some serializers write null for what is absent.
  const jwk: Record<string, unknown> = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== null),
  )
  const { kty, crv, kid, alg, use, key_ops: operations } = jwk
  if (kty === 'oct')
    return unusable('is symmetric; expected a public key (a secret goes into JWT_SECRET_FILE)')
  if (PRIVATE_FIELDS.some((field) => field in jwk)) return unusablePrivate()
  if (kid !== undefined && typeof kid !== 'string')
    return unusable('has a kid that is no text; expected a text')
  if (use !== undefined && use !== 'sig')
    return unusable(`has the use ${JSON.stringify(use)}; expected "sig" or none`)
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return unusable('has key_ops without "verify"; expected that operation, or no key_ops')
  try {
    const key = createPublicKey({ key: jwk as never, format: 'jwk' })
    return checkKey(key, { kid: kid ?? null, alg: alg ?? null }, allowed)
  } catch {
    const kind = `kty ${JSON.stringify(kty)}${crv === undefined ? '' : `, crv ${JSON.stringify(crv)}`}`
    return unusable(`cannot be read (${kind}); expected a public key: ${EXPECTED_KIND}`)
  }
}

export function checkPem({ label, text }: PemBlock, allowed: readonly string[]): Usability {
  if (label.endsWith('PRIVATE KEY')) return unusablePrivate()
  if (text === null) return unusable(`has no last line; expected -----END ${label}-----`)
  const read = PEM_READERS[label]
  if (read === undefined)
    return unusable(`is ${label}; expected one of ${Object.keys(PEM_READERS).join(', ')}`)
  try {
    return checkKey(read(text), { kid: null, alg: null }, allowed)
  } catch {
    return unusable(`cannot be read; expected a ${label} in PEM: ${EXPECTED_KIND}`)
  }
}

const keyOfCertificate = (text: string) => new X509Certificate(text).publicKey

const PEM_READERS: Readonly<Record<string, (text: string) => KeyObject>> = {
  'PUBLIC KEY': createPublicKey,
  'RSA PUBLIC KEY': createPublicKey,
  CERTIFICATE: keyOfCertificate,
  'X509 CERTIFICATE': keyOfCertificate,
  'TRUSTED CERTIFICATE': keyOfCertificate,
}

/** @throws where the key cannot be imported */
function checkKey(
  key: KeyObject,
  { kid, alg }: { readonly kid: string | null; readonly alg: unknown },
  allowed: readonly string[],
): Usability {
  const kind = kindOf(key)
  const possible = KINDS.get(kind)
  if (possible === undefined) return unusable(`is of the kind ${kind}; expected ${EXPECTED_KIND}`)
  const weakness = kind === 'RSA' ? findWeakness(key) : null
  if (weakness !== null) return unusable(weakness)
  const fitting = possible.filter(([name]) => allowed.includes(name) && (alg === null || alg === name))
  if (fitting.length === 0) {
    const own = alg === null ? possible.map(([name]) => name).join(', ') : JSON.stringify(alg)
    return unusable(`is ${kind}, for ${own}; expected a key that fits the algorithms ${allowed.join(', ')}`)
  }
  const imported = fitting.map(
    ([name, parameters]) => [name, key.toCryptoKey(parameters, true, ['verify'])] as const,
  )
  return { kind: 'usable', key: { kid, byAlgorithm: new Map(imported) } }
}

function kindOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string {
  if (type === 'rsa') return 'RSA'
  if (type === 'ed25519') return 'Ed25519'
  return type === 'ec' ? `EC on ${details?.namedCurve ?? 'a curve without a name'}` : String(type)
}

/** Why signatures could be forged for this RSA key; null where they could not. */
function findWeakness({ asymmetricKeyDetails: details }: KeyObject): string | null {
  const bits = details?.modulusLength ?? 0
  if (bits < MIN_RSA_BITS) return `has ${bits} bits; expected at least ${MIN_RSA_BITS}`
  const exponent = details?.publicExponent ?? 0n
  return exponent < 3n || exponent % 2n === 0n
    ? `has the public exponent ${exponent}; expected an odd one of at least 3`
    : null
}

function unusable(reason: string): Usability {
  return { kind: 'unusable', reason, isPrivate: false }
}

function unusablePrivate(): Usability {
  return { kind: 'unusable', reason: 'is private; expected the public part alone', isPrivate: true }
}
