import type { AuthDecision } from '../auth/authenticator.ts'
import type { Origin } from '../auth/authorization.ts'
import { GatewayError } from '../core/errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { isNavigation } from '../http/login-redirect.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Refresh } from './refresh.ts'

type Refusal = Extract<AuthDecision, { kind: 'refused' }>

/**
 * Refreshes the session of a request that was refused, where the refusal and the request allow it. The request then goes
 * on with the new identity.
 *
 * @returns the identity of the new row, which this request's own transaction wrote or read; a fault; or the unchanged
 *   refusal
 */
export type InlineRefresh = (
  exchange: Exchange,
  origin: Origin & { readonly upgrade: boolean },
  refusal: Refusal,
) => Promise<AuthDecision>

export function createInlineRefresh(
  refresh: Pick<Refresh, 'byCookie'>,
  onFault: (error: GatewayError) => void,
): InlineRefresh {
  return async (exchange, origin, refusal) => {
    if (!isExpired(refusal) || origin.upgrade || !mayRefresh(exchange.request)) return refusal
    try {
      const refreshed = await refresh.byCookie(exchange, origin)
      if (refreshed.kind !== 'refreshed' || !refreshed.isAccessGood) return refusal
      exchange.newCookies = refreshed.fields
      const { id, userId, mandateId, sessionId, exp } = refreshed.access
      const identity = { userId, mandateId, sessionId, tokenId: id }
      return { kind: 'authenticated', identity, expiresAt: exp * 1000, tokenExpiresAt: exp * 1000 }
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      onFault(error)
      return { kind: 'failed', error }
    }
  }
}

/** True where the access token has only expired. A token that was revoked or forged, or is unknown, needs a login. */
function isExpired({ code }: Refusal): boolean {
  return code === 'credentials_missing' || code === 'token_expired'
}

/**
 * A refresh uses its token up, and a second use long after ends the session. So only a navigation within the site may
 * refresh, because a browser then keeps the new cookies. Otherwise another site could log the user out by a frame or a
 * prefetch whose answer is thrown away (cross-site request forgery): unless the cookies are SameSite=Strict, browsers may
 * send them with such a request. Browsers without Fetch Metadata send none of these fields.
 */
function mayRefresh(head: Pick<RequestHead, 'method' | 'headers'>): boolean {
  const { headers } = head
  return (
    isNavigation(head) &&
    (headers['sec-fetch-dest'] ?? 'document') === 'document' &&
    /^(?:same-origin|none)$/.test(String(headers['sec-fetch-site'] ?? 'none')) &&
    !/prefetch/i.test(`${headers['sec-purpose']} ${headers.purpose} ${headers['x-moz']}`)
  )
}
