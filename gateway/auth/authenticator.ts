import { GatewayError } from '../errors.ts'
import type { CookieValue } from './cookies.ts'
import type { NegativeCache, RefusalCode } from './negative-cache.ts'
import type { Lookup, TokenLookup } from './token-lookup.ts'
import type { TokenRow } from './token-table.ts'
import type { TokenVerifier, VerifiedToken } from './token-verifier.ts'

/** Who a request comes from, by the token table's row. */
export interface Identity {
  readonly userId: string
  /** The tenant; null where the session has none. */
  readonly mandateId: string | null
  readonly sessionId: string
  readonly tokenId: string
}

export type CredentialsCode =
  | 'credentials_missing'
  | 'credentials_ambiguous'
  | 'token_invalid'
  | 'token_expired'
  | 'token_unknown'
  | 'token_revoked'
  | 'token_mismatch'

export type AuthDecision =
  | {
      readonly kind: 'authenticated'
      readonly identity: Identity
      /** When the session ends, epoch milliseconds: the row's word, or the token's own where the row has none. */
      readonly expiresAt: number
      /** When the token itself ends, epoch milliseconds. */
      readonly tokenExpiresAt: number
    }
  | { readonly kind: 'anonymous' }
  /** A policy says no. `reason` is for operators; it never holds the token. */
  | { readonly kind: 'refused'; readonly code: CredentialsCode; readonly reason: string }
  /** Something broke on the way to a decision: never a 401. */
  | { readonly kind: 'failed'; readonly error: GatewayError }

export interface AuthenticatorParts {
  readonly verifier: TokenVerifier
  readonly lookup: Pick<TokenLookup, 'find'>
  readonly refusals: NegativeCache
  readonly onLookup: (result: 'active' | 'refused' | 'failed', startedAt: number) => void
  readonly onCacheHit: () => void
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

export interface Authenticator {
  /**
   * Decides on one access token. Every call that gets past the signature looks the token up; only refusals by
   * the table may come from the negative cache. Never rejects.
   */
  authenticate(cookie: CookieValue): Promise<AuthDecision>
}

export const ANONYMOUS: AuthDecision = { kind: 'anonymous' }

const REASONS: Record<RefusalCode, string> = {
  token_unknown: 'the token table has no such token',
  token_revoked: 'the token is not active in the token table',
  token_expired: 'the token has expired by the token table',
}

export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  const { verifier, lookup, refusals } = parts

  function conclude(token: VerifiedToken, found: Lookup, askedAt: number): AuthDecision {
    const refusal = refusalOf(found)
    if (refusal !== null) refusals.set(token.jti, refusal)
    const decision = refusal === null ? judge(token, rowOf(found)) : refused(refusal, REASONS[refusal])
    parts.onLookup(decision.kind === 'authenticated' ? 'active' : 'refused', askedAt)
    return decision
  }

  return {
    async authenticate(cookie) {
      if (cookie.kind === 'none') return refused('credentials_missing', 'no access cookie')
      if (cookie.kind === 'ambiguous') {
        return refused('credentials_ambiguous', 'several access cookies with different values')
      }
      let askedAt: number | null = null
      try {
        const pending = verifier.verify(cookie.value, 'access')
        const verified = pending instanceof Promise ? await pending : pending
        if (verified.kind === 'refused') return refused(verified.code, verified.reason)
        const { token } = verified
        const cached = refusals.get(token.jti)
        if (cached !== undefined) {
          parts.onCacheHit()
          return refused(cached, REASONS[cached])
        }
        askedAt = parts.now()
        return conclude(token, await lookup.find(token.jti), askedAt)
      } catch (error) {
        if (askedAt !== null) parts.onLookup('failed', askedAt)
        return { kind: 'failed', error: asFault(error) }
      }
    },
  }
}

/** What the row alone says against the token, or null. */
function refusalOf(found: Lookup): RefusalCode | null {
  if (found.kind === 'unknown') return 'token_unknown'
  if (found.row.status !== 'ACTIVE') return 'token_revoked'
  return found.row.expired ? 'token_expired' : null
}

function rowOf(found: Lookup): TokenRow {
  if (found.kind === 'unknown') throw new TypeError('an unknown token has no row')
  return found.row
}

/** The identity is the row's; a claim that says otherwise means that token and table have parted. */
function judge(token: VerifiedToken, row: TokenRow): AuthDecision {
  const differs =
    disagrees(token.userId, row.userId, 'userId') ??
    disagrees(token.mandateId, row.mandateId, 'mandateId') ??
    disagrees(token.sessionId, row.sessionId, 'sessionId')
  if (differs !== null) return refused('token_mismatch', `the claim ${differs} is not the row's`)
  const { userId, mandateId, sessionId } = row
  return {
    kind: 'authenticated',
    identity: { userId, mandateId, sessionId, tokenId: row.id },
    expiresAt: row.expiresAt ?? token.exp * 1000,
    tokenExpiresAt: token.exp * 1000,
  }
}

function disagrees(claim: string | null, value: string | null, name: string): string | null {
  return claim !== null && claim !== value ? name : null
}

function refused(code: CredentialsCode, reason: string): AuthDecision {
  return { kind: 'refused', code, reason }
}

function asFault(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  return new GatewayError('token_store_unavailable', 'the token could not be looked up', { cause: error })
}
