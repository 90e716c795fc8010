import type { AuthDecision } from '../auth/authenticator.ts'
import { GatewayError } from '../core/errors.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { isNavigation } from '../http/login-redirect.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Own, Refresh } from './refresh.ts'

type Refusal = Extract<AuthDecision, { kind: 'refused' }>

/**
 * Refreshes a session while its request passes, where the refusal and the request are such that it may.
 *
 * @returns the identity of the new row, which this request's own transaction made or read; a fault; or the
 *   refusal as it was
 */
export type InlineRefresh = (
  exchange: Exchange,
  own: Own & { readonly upgrade: boolean },
  refusal: Refusal,
) => Promise<AuthDecision>

export function createInlineRefresh(
  refresh: Pick<Refresh, 'byCookie'>,
  onFault: (error: GatewayError) => void,
): InlineRefresh {
  return async (exchange, own, refusal) => {
    if (!isOutOfDate(refusal) || own.upgrade || !mayRefresh(exchange.request)) return refusal
    try {
      const refreshed = await refresh.byCookie(exchange, own)
      if (refreshed.kind !== 'refreshed' || !refreshed.accessIsGood) return refusal
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

/** Time alone took the token away; what was revoked, forged or is unknown has to be logged in again. */
function isOutOfDate({ code }: Refusal): boolean {
  return code === 'credentials_missing' || code === 'token_expired'
}

/**
 * A refresh uses its token up, and a second use long after ends the session. So only a page's own navigation may
 * cause one: a browser is sure to keep its cookies. Another site's link, frame or prefetch, made and thrown away,
 * could otherwise log the user out (cross-site request forgery). Cookies that the gateway sets are SameSite=Strict
 * and do not come from other sites at all; those of a backend's login may.
 * Browsers without Fetch Metadata send none of these fields.
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
