import type { AuthDecision } from '../auth/authenticator.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { answer } from '../exchange/answers.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { type CookieNames, readCookies } from '../http/cookies.ts'
import { clearCookie, isOwnOrigin, type Own, type Refresh } from './refresh.ts'
import type { SessionStore } from './session-store.ts'

export interface SessionEndpoints {
  /** @returns the code that refuses it, or null where it was answered */
  refresh(exchange: Exchange, own: Own): Promise<ErrorCode | null>
  logout(exchange: Exchange, own: Own): Promise<ErrorCode | null>
}

export interface SessionEndpointParts {
  readonly cookies: CookieNames
  readonly refresh: Refresh
  readonly store: Pick<SessionStore, 'end' | 'endByRefresh'>
  /** The store could not be asked, or not be changed. */
  readonly onFault: (error: GatewayError) => void
  /** Authenticates by the access cookie. */
  readonly identify: (exchange: Exchange) => Promise<AuthDecision>
}

/** `POST refresh` and `POST logout` (interface, section 7). */
export function createSessionEndpoints(parts: SessionEndpointParts): SessionEndpoints {
  const { cookies, store } = parts

  async function refresh(exchange: Exchange, own: Own): Promise<ErrorCode | null> {
    const refreshed = await parts.refresh.byCookie(exchange, own)
    if (refreshed.kind === 'refused') return refreshed.code
    if (refreshed.kind === 'refreshed') answer(exchange, 204, refreshed.fields, null)
    return null
  }

  async function logout(exchange: Exchange, own: Own): Promise<ErrorCode | null> {
    const refusal = await endSession(exchange, own)
    if (refusal !== null) return refusal
    answer(exchange, 204, [...clearCookie(cookies.access, own), ...clearCookie(cookies.refresh, own)], null)
    return null
  }

  /** By the access token, or by a good refresh token alone: who wants to leave may have waited too long. */
  async function endSession(exchange: Exchange, own: Own): Promise<ErrorCode | null> {
    const decision = await parts.identify(exchange)
    if (decision.kind === 'failed') return decision.error.code
    if (decision.kind === 'authenticated') {
      if (!isOwnOrigin(exchange, own)) return 'origin_forbidden'
      await store.end(decision.identity)
      return null
    }
    const code = decision.kind === 'refused' ? decision.code : 'credentials_missing'
    const verified = await parts.refresh.verify(readCookies(exchange.request.rawHeaders, cookies).refresh)
    if (typeof verified === 'string' || verified.kind === 'refused') return code
    if (!isOwnOrigin(exchange, own)) return 'origin_forbidden'
    const ending = await store.endByRefresh(verified.token)
    return ending.kind === 'refused' ? ending.code : null
  }

  /** A fault of the store becomes its code. */
  function guarded(endpoint: SessionEndpoints['refresh']): SessionEndpoints['refresh'] {
    return async (exchange, own) => {
      try {
        return await endpoint(exchange, own)
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
        parts.onFault(error)
        return error.code
      }
    }
  }

  return { refresh: guarded(refresh), logout: guarded(logout) }
}
