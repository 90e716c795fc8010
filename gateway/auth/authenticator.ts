import { GatewayError } from '../core/errors.ts'
import type { Holdings } from '../core/holdings.ts'
import type { CookieValue } from '../http/cookies.ts'
import type { VerifiedToken } from './jwt/claims.ts'
import type { TokenVerifier, Verification } from './jwt/token-verifier.ts'
import type { NegativeCache, RefusalCode } from './token-store/negative-cache.ts'
import { claimThatDiffers, refusalByRow } from './token-store/row-decision.ts'
import type { Lookup, TokenLookup } from './token-store/token-lookup.ts'
import type { TokenRow } from './token-store/token-table.ts'

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
      /** When the session ends, epoch milliseconds: the row's expiry, or the token's where the row has none. */
      readonly expiresAt: number
      /** When the token itself ends, epoch milliseconds. */
      readonly tokenExpiresAt: number
    }
  | { readonly kind: 'anonymous' }
  /** A policy refuses the request. `reason` is for operators, and never contains the token. */
  | { readonly kind: 'refused'; readonly code: CredentialsCode; readonly reason: string }
  /** Something broke before a decision was made; the answer is never 401. */
  | { readonly kind: 'failed'; readonly error: GatewayError }

export interface AuthenticatorParts {
  readonly verifier: TokenVerifier
  readonly lookup: Pick<TokenLookup, 'find'>
  readonly refusals: NegativeCache
  readonly onLookup: (result: 'active' | 'refused' | 'failed', startedAt: number) => void
  /** @param tokenId null where the token could not be verified */
  readonly onFault?: (error: GatewayError, tokenId: string | null) => void
  readonly onCacheHit: () => void
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

export interface Authenticator {
  /**
   * Decides on an access token. Each token with a good signature is looked up; only refusals by the table may come from the
   * negative cache.
   *
   * @param holdings those of the client's connection; null where it carries one exchange at a time
   * @param onResult called once, synchronously where nothing has to be waited for; must not throw
   */
  authenticate(cookie: CookieValue, holdings: Holdings | null, onResult: DecisionCallback): void
}

type DecisionCallback = (decision: AuthDecision) => void

export const ANONYMOUS: AuthDecision = { kind: 'anonymous' }

const REASONS: Record<RefusalCode, string> = {
  token_unknown: 'the token table has no such token',
  token_revoked: 'the token is not active in the token table',
  token_expired: 'the token has expired by the token table',
}

export function createAuthenticator(parts: AuthenticatorParts): Authenticator {
  const { verifier, lookup, refusals } = parts

  function decideByLookup(token: VerifiedToken, found: Lookup, askedAt: number): AuthDecision {
    if (found.kind === 'failed') {
      parts.onLookup('failed', askedAt)
      parts.onFault?.(found.error, token.jti)
      return found
    }
    const decision = decideByRow(token, found)
    parts.onLookup(decision.kind === 'authenticated' ? 'active' : 'refused', askedAt)
    return decision
  }

  function decideByRow(token: VerifiedToken, found: Exclude<Lookup, { kind: 'failed' }>): AuthDecision {
    if (found.kind === 'unknown') return refuseByTable(token, 'token_unknown')
    const code = refusalByRow(found.row)
    return code === null ? compareClaims(token, found.row) : refuseByTable(token, code)
  }

  function refuseByTable(token: VerifiedToken, code: RefusalCode): AuthDecision {
    refusals.set(token.jti, code)
    return refuse(code, REASONS[code])
  }

  function lookUp(verified: Verification, holdings: Holdings | null, onResult: DecisionCallback): void {
    if (verified.kind === 'refused') {
      onResult(refuse(verified.code, verified.reason))
      return
    }
    const { token } = verified
    const cached = refusals.get(token.jti)
    if (cached === undefined) {
      findRow(token, holdings, onResult)
    } else {
      parts.onCacheHit()
      onResult(refuse(cached, REASONS[cached]))
    }
  }

  function findRow(token: VerifiedToken, holdings: Holdings | null, onResult: DecisionCallback): void {
    const askedAt = parts.now()
    if (holdings === null) {
      lookup.find(token.jti, (found) => onResult(decideByLookup(token, found, askedAt)))
      return
    }
    lookup.find(
      token.jti,
      (found) => {
        holdings.lookups--
        onResult(decideByLookup(token, found, askedAt))
      },
      holdings.lookups++,
    )
  }

  function verify(jwt: string, holdings: Holdings | null, onResult: DecisionCallback): void {
    const verified = verifier.verify(jwt, 'access')
    if (verified instanceof Promise)
      verified.then(
        (late) => lookUp(late, holdings, onResult),
        (cause) => {
          const error = asFault(cause)
          parts.onFault?.(error, null)
          onResult({ kind: 'failed', error })
        },
      )
    else lookUp(verified, holdings, onResult)
  }

  return {
    authenticate(cookie, holdings, onResult) {
      if (cookie.kind === 'one') verify(cookie.value, holdings, onResult)
      else if (cookie.kind === 'none') onResult(refuse('credentials_missing', 'no access cookie'))
      else onResult(refuse('credentials_ambiguous', 'several access cookies with different values'))
    },
  }
}

/** The identity is that of the row; a claim that differs from the row refuses the token. */
function compareClaims(token: VerifiedToken, row: TokenRow): AuthDecision {
  const differs = claimThatDiffers(token, row)
  if (differs !== null) return refuse('token_mismatch', `the claim ${differs} differs from the row`)
  const { userId, mandateId, sessionId } = row
  return {
    kind: 'authenticated',
    identity: { userId, mandateId, sessionId, tokenId: row.id },
    expiresAt: row.expiresAt ?? token.exp * 1000,
    tokenExpiresAt: token.exp * 1000,
  }
}

function refuse(code: CredentialsCode, reason: string): AuthDecision {
  return { kind: 'refused', code, reason }
}

function asFault(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  return new GatewayError('token_store_unavailable', 'the token could not be verified', { cause: error })
}
