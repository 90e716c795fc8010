import type { VerifiedToken } from '../auth/jwt/claims.ts'
import type { TokenVerifier } from '../auth/jwt/token-verifier.ts'
import { claimThatDiffers, refusalByRow } from '../auth/token-store/row-decision.ts'
import type { Lookup, TokenLookup } from '../auth/token-store/token-lookup.ts'
import type { CookieNames } from '../http/cookies.ts'
import { createInlineRefresh, type InlineRefresh } from '../sessions/inline-refresh.ts'
import { createRefresh } from '../sessions/refresh.ts'
import type { Rotation } from '../sessions/session-store.ts'

export interface DryRefreshParts {
  readonly cookies: CookieNames
  readonly verifier: TokenVerifier
  readonly lookup: Pick<TokenLookup, 'find'>
}

/** Ids and times of tokens that are not made. */
const NOT_MADE = { id: '(of the new token)', exp: 0 }

/** An inline refresh that only checks whether it would succeed: nothing is written, and no token is used up. */
export function createDryRefresh({ cookies, verifier, lookup }: DryRefreshParts): InlineRefresh {
  /** Decides as the session store, except for a token used within the last ten seconds, which the store accepts again. */
  async function rotate(token: VerifiedToken): Promise<Rotation> {
    const found = await new Promise<Lookup>((resolve) => lookup.find(token.jti, resolve))
    if (found.kind === 'failed') throw found.error
    if (found.kind === 'unknown') return { kind: 'refused', code: 'token_unknown' }
    const { row } = found
    const code = claimThatDiffers(token, row) === null ? refusalByRow(row) : 'token_mismatch'
    if (code !== null) return { kind: 'refused', code }
    const { userId, sessionId, mandateId } = row
    const next = { ...NOT_MADE, userId, sessionId, mandateId }
    return { kind: 'rotated', access: next, refresh: next, isAccessGood: true }
  }

  return createInlineRefresh(
    createRefresh({
      cookies,
      // The cookies are thrown away.
      setCookies: () => [],
      verifier,
      store: { rotate },
      signer: { sign: async () => '(not signed)' },
    }),
    () => {},
  )
}
