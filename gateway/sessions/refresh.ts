import type { CredentialsCode } from '../auth/authenticator.ts'
import { type Origin, originAllowed } from '../auth/authorization.ts'
import type { TokenSigner } from '../auth/jwt/token-signer.ts'
import type { TokenVerifier, Verification } from '../auth/jwt/token-verifier.ts'
import { clientIsGone, type Exchange } from '../exchange/exchange.ts'
import { type CookieNames, type CookieValue, readCookies } from '../http/cookies.ts'
import type { SessionToken } from './session-rows.ts'
import type { SessionStore } from './session-store.ts'
import type { TokenCookies } from './token-cookies.ts'

export type Refreshed =
  | {
      readonly kind: 'refreshed'
      readonly access: SessionToken
      /** False where a racing request made the pair, and its access token was revoked or has expired since. */
      readonly isAccessGood: boolean
      /** `Set-Cookie` fields for both new tokens, a flat list of names and values. */
      readonly fields: readonly string[]
    }
  | { readonly kind: 'refused'; readonly code: CredentialsCode | 'origin_forbidden' }
  /** The client has disconnected, and nothing was changed. */
  | { readonly kind: 'abandoned' }

export interface Refresh {
  /**
   * Replaces the tokens of the session in one transaction, by the refresh token in the request's cookie.
   *
   * @param origin the request's own origin
   * @throws GatewayError `token_store_unavailable`
   */
  byCookie(exchange: Exchange, origin: Origin): Promise<Refreshed>
  /** Verifies signature and claims of a refresh cookie, without a query of the table. */
  verify(cookie: CookieValue): Promise<Verification | CredentialsCode>
}

export interface RefreshParts {
  readonly cookies: CookieNames
  readonly setCookies: TokenCookies['set']
  readonly verifier: TokenVerifier
  readonly store: Pick<SessionStore, 'rotate'>
  readonly signer: TokenSigner
}

export function createRefresh(parts: RefreshParts): Refresh {
  const { cookies } = parts

  /** The same row results in a byte-identical JWT, so that racing tabs get equal cookies. */
  function sign(token: SessionToken, use: 'access' | 'refresh'): Promise<string> {
    const { id, userId, sessionId, mandateId } = token
    const exp = Math.floor(token.exp)
    return parts.signer.sign({ jti: id, userId, sessionId, mandateId, type: use, exp })
  }

  async function verify(cookie: CookieValue): Promise<Verification | CredentialsCode> {
    if (cookie.kind === 'none') return 'credentials_missing'
    if (cookie.kind === 'ambiguous') return 'credentials_ambiguous'
    return parts.verifier.verify(cookie.value, 'refresh')
  }

  return {
    verify,
    async byCookie(exchange, origin) {
      const verified = await verify(readCookies(exchange.request.rawHeaders, cookies).refresh)
      if (typeof verified === 'string') return { kind: 'refused', code: verified }
      if (verified.kind === 'refused') return { kind: 'refused', code: verified.code }
      if (!isSameOrigin(exchange, origin)) return { kind: 'refused', code: 'origin_forbidden' }
      if (await isClientGone(exchange)) return { kind: 'abandoned' }
      const rotation = await parts.store.rotate(verified.token, () => !clientIsGone(exchange))
      if (rotation.kind !== 'rotated') return rotation
      const { access, refresh, isAccessGood } = rotation
      const tokens = { access: await sign(access, 'access'), refresh: await sign(refresh, 'refresh') }
      const fields = parts.setCookies(tokens, origin.scheme)
      return { kind: 'refreshed', access, isAccessGood, fields }
    },
  }
}

/**
 * A process that was frozen finds requests whose clients have long moved on to another instance. A refresh for such a
 * request would be a second use of its token, and end the session. The end of the connection is seen a turn later.
 */
async function isClientGone(exchange: Exchange): Promise<boolean> {
  await new Promise((resolve) => setImmediate(resolve))
  return clientIsGone(exchange)
}

/** A request that changes a session has to pass the Origin rule for writes, whatever its method. */
export function isSameOrigin(exchange: Exchange, origin: Origin): boolean {
  return originAllowed(exchange.request, { ...origin, upgrade: true }, null)
}
