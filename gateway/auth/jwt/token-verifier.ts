import { type CompactVerifyResult, compactVerify, errors, type JWTHeaderParameters } from 'jose'
import { LRUCache } from 'lru-cache'
import { GatewayError } from '../../core/errors.ts'
import { hashText } from '../../core/text-hash.ts'
import type { VerifiedToken } from './claims.ts'
import { parseClaims, type TokenClaims } from './claims.ts'
import type { KeyRing, VerificationKey } from './key-ring.ts'

export type Verification =
  | { readonly kind: 'verified'; readonly token: VerifiedToken }
  /** `reason` is for operators, and never contains the token. */
  | { readonly kind: 'refused'; readonly code: 'token_invalid' | 'token_expired'; readonly reason: string }

export interface TokenVerifier {
  /**
   * Verifies signature and claims of a JWT (RFC 7519). Returns no promise for a token whose signature was verified before.
   *
   * @throws GatewayError `token_store_unavailable` where there is no key to verify with
   */
  verify(jwt: string, use: 'access' | 'refresh'): Verification | Promise<Verification>
  close(): void
}

type VerifierKeys = Pick<KeyRing, 'algorithms' | 'version' | 'candidates' | 'close'>

export interface VerifierParts {
  readonly keys: VerifierKeys
  readonly issuer: string | null
  readonly audience: string | null
  readonly clockToleranceS: number
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** How many verified tokens are remembered. */
  readonly memoMax: number
}

const MAX_JWT_CHARS = 16_384

/**
 * Three parts of base64url whose unused bits are zero (RFC 4648, section 3.5). Otherwise the last character of a signature
 * could be changed, and a token would have several spellings.
 */
const PART = '(?:[\\w-]{4})*(?:[\\w-]{4}|[\\w-]{3}(?<=[AEIMQUYcgkosw048])|[\\w-]{2}(?<=[AQgw]))'
const COMPACT = new RegExp(`^${PART}\\.${PART}\\.${PART}$`)

interface RememberedToken {
  /** The whole token, because different tokens can have the same key in the memo. */
  readonly jwt: string
  readonly claims: TokenClaims
  readonly verified: Verification
}

/** How many characters of a signature are hashed for the memo: 48 random bits, of which the hash keeps 32. */
const HASHED_CHARS = 8

/**
 * A signature that was verified once stays good. So verified tokens are remembered until the keys change: to verify costs
 * some 100 microseconds in WebCrypto's threads, to remember a fraction of one. Claims that depend on the time are checked
 * at each call.
 */
export function createTokenVerifier(parts: VerifierParts): TokenVerifier {
  const { keys } = parts
  const memo = new LRUCache<number, RememberedToken>({ max: parts.memoMax })
  let memoVersion = keys.version

  function checkTypeAndTime({ claims, verified }: RememberedToken, use: 'access' | 'refresh'): Verification {
    const now = parts.wallClock() / 1000
    if ((claims.type === 'refresh') !== (use === 'refresh')) {
      return refuse(
        'token_invalid',
        use === 'refresh' ? 'the type is not "refresh"' : 'a refresh token in the access cookie',
      )
    }
    if (claims.token.nbf !== null && claims.token.nbf > now + parts.clockToleranceS) {
      return refuse('token_invalid', 'not valid yet (nbf)')
    }
    if (claims.token.exp <= now - parts.clockToleranceS) return refuse('token_expired', 'past its exp')
    return verified
  }

  async function verifySignature(jwt: string, use: 'access' | 'refresh'): Promise<Verification> {
    const { version } = keys
    const checked = await checkSignature(jwt, keys)
    if (typeof checked === 'string') return refuse('token_invalid', checked)
    const parsed = parseClaims(checked, parts)
    if (parsed.kind === 'unusable') return refuse('token_invalid', parsed.reason)
    const remembered: RememberedToken = {
      jwt: ownCopy(jwt),
      claims: parsed.claims,
      verified: Object.freeze({ kind: 'verified', token: Object.freeze(parsed.claims.token) }),
    }
    // A verification that began with other keys must not be remembered.
    if (version === keys.version) memo.set(memoKey(remembered.jwt), remembered)
    return checkTypeAndTime(remembered, use)
  }

  return {
    verify(jwt, use) {
      if (memoVersion !== keys.version) {
        memoVersion = keys.version
        memo.clear()
      }
      const remembered = memo.get(memoKey(jwt))
      if (remembered !== undefined && remembered.jwt === jwt) return checkTypeAndTime(remembered, use)
      if (jwt.length > MAX_JWT_CHARS) return refuse('token_invalid', 'longer than any token')
      if (!COMPACT.test(jwt)) return refuse('token_invalid', 'not three base64url parts')
      return verifySignature(jwt, use)
    },
    close: () => keys.close(),
  }
}

/** @returns the payload, or why the token is refused */
async function checkSignature(jwt: string, keys: VerifierKeys): Promise<Uint8Array | string> {
  try {
    const { payload, protectedHeader } = await verifyWithAny(jwt, keys)
    // No extension is supported, not even those that the library implements (RFC 7515, section 4.1.11).
    return protectedHeader.crit === undefined ? payload : 'a critical header parameter that is not understood'
  } catch (error) {
    if (error instanceof GatewayError) throw error
    if (error instanceof errors.JOSEError) return error.message
    // The key is of another kind than the algorithm's, or the header is no object.
    if (error instanceof TypeError || error instanceof SyntaxError)
      return 'the key or the header does not fit'
    throw new GatewayError('token_store_unavailable', 'a token could not be verified', { cause: error })
  }
}

/** Tries each key that fits the header once, until the signature is good by one. @throws as compactVerify does */
async function verifyWithAny(jwt: string, keys: VerifierKeys): Promise<CompactVerifyResult> {
  const options = { algorithms: [...keys.algorithms] }
  let others: readonly VerificationKey[] = []
  const findFirst = async (header: JWTHeaderParameters) => {
    const [first, ...rest] = await findCandidates(keys, header)
    if (first === undefined) throw new errors.JWKSNoMatchingKey('no key fits the kid and the algorithm')
    others = rest
    return first
  }
  const first = await orNullIfForged(compactVerify(jwt, findFirst, options))
  if (first !== null) return first
  for (const key of others) {
    const verified = await orNullIfForged(compactVerify(jwt, key, options))
    if (verified !== null) return verified
  }
  throw new errors.JWSSignatureVerificationFailed()
}

/** Null where the signature is not this key's. */
async function orNullIfForged(verified: Promise<CompactVerifyResult>): Promise<CompactVerifyResult | null> {
  try {
    return await verified
  } catch (error) {
    if (error instanceof errors.JWSSignatureVerificationFailed) return null
    throw error
  }
}

async function findCandidates(
  keys: VerifierKeys,
  header: JWTHeaderParameters,
): Promise<readonly VerificationKey[]> {
  try {
    return await keys.candidates(header)
  } catch (error) {
    throw new GatewayError('token_store_unavailable', 'there is no key to verify tokens with', {
      cause: error,
    })
  }
}

/**
 * Two tokens with the same key replace each other, and are verified again: some four of two hundred thousand. Nobody can
 * cause that without the signing key, because only verified tokens are remembered.
 */
function memoKey(jwt: string): number {
  // The last character of a signature may have as few as two bits.
  const end = jwt.length - 1
  return hashText(jwt, Math.max(0, end - HASHED_CHARS), end)
}

/** Copies the token: a slice of a header line keeps the whole line, with all other cookies, in memory. */
function ownCopy(jwt: string): string {
  return Buffer.from(jwt, 'latin1').toString('latin1')
}

function refuse(code: 'token_invalid' | 'token_expired', reason: string): Verification {
  return { kind: 'refused', code, reason }
}
