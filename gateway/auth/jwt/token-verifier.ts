import { type CompactVerifyResult, compactVerify, errors, type JWTHeaderParameters } from 'jose'
import { LRUCache } from 'lru-cache'
import { GatewayError } from '../../core/errors.ts'
import { hashText } from '../../core/text-hash.ts'
import type { VerifiedToken } from './claims.ts'
import { parseClaims, type TokenClaims } from './claims.ts'
import type { KeyRing, VerificationKey } from './key-ring.ts'

export type Verification =
  | { readonly kind: 'verified'; readonly token: VerifiedToken }
  /** `reason` is for operators; it never holds the token. */
  | { readonly kind: 'refused'; readonly code: 'token_invalid' | 'token_expired'; readonly reason: string }

export interface TokenVerifier {
  /**
   * Verifies signature and claims of a JWT (RFC 7519). Answers at once for a token whose signature was verified
   * before.
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
  /** Tokens whose signatures are remembered. */
  readonly memoMax: number
}

const MAX_JWT_CHARS = 16_384

/**
 * Three parts of base64url whose unused bits are zero (RFC 4648, section 3.5): otherwise the last character of a
 * signature could be changed, and one token would have several spellings.
 */
const PART = '(?:[\\w-]{4})*(?:[\\w-]{4}|[\\w-]{3}(?<=[AEIMQUYcgkosw048])|[\\w-]{2}(?<=[AQgw]))'
const COMPACT = new RegExp(`^${PART}\\.${PART}\\.${PART}$`)

interface Known {
  /** The whole token: two that end alike are not the same. */
  readonly jwt: string
  readonly claims: TokenClaims
  readonly verified: Verification
}

/** Characters of a signature that make a key of the memo: 48 random bits, of which a number keeps 32. */
const KEYED_CHARS = 8

/**
 * A signature once verified stays verified: it is remembered by the whole token, and forgotten with the keys.
 * Verifying costs some 100 microseconds in WebCrypto's threads, remembering a fraction of one. What depends on
 * time is judged at each call.
 */
export function createTokenVerifier(parts: VerifierParts): TokenVerifier {
  const { keys } = parts
  const memo = new LRUCache<number, Known>({ max: parts.memoMax })
  let memoVersion = keys.version

  function judge({ claims, verified }: Known, use: 'access' | 'refresh'): Verification {
    const now = parts.wallClock() / 1000
    if ((claims.type === 'refresh') !== (use === 'refresh')) {
      return refused(
        'token_invalid',
        use === 'refresh' ? 'the type is not "refresh"' : 'a refresh token in the access cookie',
      )
    }
    if (claims.token.nbf !== null && claims.token.nbf > now + parts.clockToleranceS) {
      return refused('token_invalid', 'not valid yet (nbf)')
    }
    if (claims.token.exp <= now - parts.clockToleranceS) return refused('token_expired', 'past its exp')
    return verified
  }

  async function verifySignature(jwt: string, use: 'access' | 'refresh'): Promise<Verification> {
    const { version } = keys
    const checked = await checkSignature(jwt, keys)
    if (typeof checked === 'string') return refused('token_invalid', checked)
    const parsed = parseClaims(checked, parts)
    if (parsed.kind === 'unusable') return refused('token_invalid', parsed.reason)
    const known: Known = {
      jwt: ownCopy(jwt),
      claims: parsed.claims,
      verified: Object.freeze({ kind: 'verified', token: Object.freeze(parsed.claims.token) }),
    }
    // A verification that began under other keys must not outlive them.
    if (version === keys.version) memo.set(memoKey(known.jwt), known)
    return judge(known, use)
  }

  return {
    verify(jwt, use) {
      if (memoVersion !== keys.version) {
        memoVersion = keys.version
        memo.clear()
      }
      const known = memo.get(memoKey(jwt))
      if (known !== undefined && known.jwt === jwt) return judge(known, use)
      if (jwt.length > MAX_JWT_CHARS) return refused('token_invalid', 'longer than any token')
      if (!COMPACT.test(jwt)) return refused('token_invalid', 'not three base64url parts')
      return verifySignature(jwt, use)
    },
    close: () => keys.close(),
  }
}

/** @returns the payload, or why the token is refused */
async function checkSignature(jwt: string, keys: VerifierKeys): Promise<Uint8Array | string> {
  try {
    const { payload, protectedHeader } = await verifyWithAny(jwt, keys)
    // Every extension is unknown here, also those that the library knows (RFC 7515, section 4.1.11).
    return protectedHeader.crit === undefined ? payload : 'a critical header parameter that is not understood'
  } catch (error) {
    if (error instanceof GatewayError) throw error
    if (error instanceof errors.JOSEError) return error.message
    // A key of another kind than the algorithm's, or a header that is no object.
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
  const first = await unlessForged(compactVerify(jwt, findFirst, options))
  if (first !== null) return first
  for (const key of others) {
    const verified = await unlessForged(compactVerify(jwt, key, options))
    if (verified !== null) return verified
  }
  throw new errors.JWSSignatureVerificationFailed()
}

/** Null where the signature is not this key's. */
async function unlessForged(verified: Promise<CompactVerifyResult>): Promise<CompactVerifyResult | null> {
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
 * Tokens that share a key push each other out, and are verified again: some four of two hundred thousand. Nobody can
 * make them without the signing key, since only what was verified is remembered.
 */
function memoKey(jwt: string): number {
  // The very last character of a signature may hold as few as two bits.
  const end = jwt.length - 1
  return hashText(jwt, Math.max(0, end - KEYED_CHARS), end)
}

/** A slice of a header line keeps the whole line in memory, with all its other cookies, for as long as it lives. */
function ownCopy(jwt: string): string {
  return Buffer.from(jwt, 'latin1').toString('latin1')
}

function refused(code: 'token_invalid' | 'token_expired', reason: string): Verification {
  return { kind: 'refused', code, reason }
}
