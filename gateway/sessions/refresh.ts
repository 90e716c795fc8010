import type { CredentialsCode } from '../auth/authenticator.ts'
import { originAllowed } from '../auth/authorization.ts'
import type { TokenSigner } from '../auth/jwt/token-signer.ts'
import type { TokenVerifier, Verification } from '../auth/jwt/token-verifier.ts'
import { clientIsGone, type Exchange } from '../exchange/exchange.ts'
import { type CookieNames, type CookieValue, readCookies } from '../http/cookies.ts'
import type { SessionToken } from './session-rows.ts'
import type { SessionStore } from './session-store.ts'

/** The request's own origin. */
export interface Own {
  readonly scheme: string
  readonly host: string
}

export type Refreshed =
  | {
      readonly kind: 'refreshed'
      readonly access: SessionToken
      /** False where a racing request made the pair, and its access token has ended since. */
      readonly accessIsGood: boolean
      /** `Set-Cookie` fields for both new tokens, flat name, value pairs. */
      readonly fields: readonly string[]
    }
  | { readonly kind: 'refused'; readonly code: CredentialsCode | 'origin_forbidden' }
  /** Nobody is left to be given the new tokens; nothing was changed. */
  | { readonly kind: 'left' }

export interface Refresh {
  /**
   * Replaces the tokens of the session whose refresh token the request's cookie holds, in one transaction.
   *
   * @throws GatewayError `token_store_unavailable`
   */
  byCookie(exchange: Exchange, own: Own): Promise<Refreshed>
  /** Verifies a refresh cookie's signature and claims; the table is not asked. */
  verify(cookie: CookieValue): Promise<Verification | CredentialsCode>
}

export interface RefreshParts {
  readonly cookies: CookieNames
  readonly verifier: TokenVerifier
  readonly store: Pick<SessionStore, 'rotate'>
  readonly signer: TokenSigner
}

export function createRefresh(parts: RefreshParts): Refresh {
  const { cookies } = parts

  /** The same row gives the same JWT to the byte: racing tabs end with equal cookies. */
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
    async byCookie(exchange, own) {
      const verified = await verify(readCookies(exchange.request.rawHeaders, cookies).refresh)
      if (typeof verified === 'string') return { kind: 'refused', code: verified }
      if (verified.kind === 'refused') return { kind: 'refused', code: verified.code }
      if (!isOwnOrigin(exchange, own)) return { kind: 'refused', code: 'origin_forbidden' }
      if (await hasLeft(exchange)) return { kind: 'left' }
      const rotation = await parts.store.rotate(verified.token, () => !clientIsGone(exchange))
      if (rotation.kind !== 'rotated') return rotation
      const { access, refresh, accessIsGood } = rotation
      const fields = [
        ...setCookie(cookies.access, await sign(access, 'access'), own),
        ...setCookie(cookies.refresh, await sign(refresh, 'refresh'), own),
      ]
      return { kind: 'refreshed', access, accessIsGood, fields }
    },
  }
}

/**
 * A process that was frozen finds requests whose clients have long gone on with another instance. Such a refresh
 * would be a second use of its token, and end the session. That the connection has ended shows a turn later.
 */
async function hasLeft(exchange: Exchange): Promise<boolean> {
  await new Promise((resolve) => setImmediate(resolve))
  return clientIsGone(exchange)
}

/** What changes a session is held to the rule for writes, whatever its method. */
export function isOwnOrigin(exchange: Exchange, own: Own): boolean {
  return originAllowed(exchange.request, { ...own, upgrade: true }, null)
}

export function setCookie(name: string, value: string, own: Own): [string, string] {
  return ['Set-Cookie', `${name}=${value}; ${attributes(own)}`]
}

export function clearCookie(name: string, own: Own): [string, string] {
  return ['Set-Cookie', `${name}=; ${attributes(own)}; Max-Age=0`]
}

function attributes(own: Own): string {
  return `Path=/; HttpOnly; SameSite=Strict${own.scheme === 'https' ? '; Secure' : ''}`
}
