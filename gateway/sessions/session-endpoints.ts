import type { AuthDecision } from '../auth/authenticator.ts'
import type { Origin } from '../auth/authorization.ts'
import { type ErrorCode, GatewayError } from '../core/errors.ts'
import { answerDirectly } from '../exchange/answers.ts'
import type { Exchange } from '../exchange/exchange.ts'
import { type CookieNames, readCookies } from '../http/cookies.ts'
import { isSameOrigin, type Refresh } from './refresh.ts'
import type { SessionStore } from './session-store.ts'
import type { TokenCookies } from './token-cookies.ts'

export interface SessionEndpoints {
  /**
   * @param origin the request's own origin
   * @returns the code that refuses the request, or null where it was answered
   */
  refresh(exchange: Exchange, origin: Origin): Promise<ErrorCode | null>
  logout(exchange: Exchange, origin: Origin): Promise<ErrorCode | null>
}

export interface SessionEndpointParts {
  readonly cookies: CookieNames
  readonly clearCookies: TokenCookies['clear']
  readonly refresh: Refresh
  readonly store: Pick<SessionStore, 'end' | 'endByRefresh'>
  /** The session could not be read or changed. */
  readonly onFault: (error: GatewayError) => void
  /** Authenticates by the access cookie. */
  readonly identify: (exchange: Exchange) => Promise<AuthDecision>
}

/** `POST refresh` and `POST logout`. */
export function createSessionEndpoints(parts: SessionEndpointParts): SessionEndpoints {
  const { cookies, store } = parts

  async function refresh(exchange: Exchange, origin: Origin): Promise<ErrorCode | null> {
    const refreshed = await parts.refresh.byCookie(exchange, origin)
    if (refreshed.kind === 'refused') return refreshed.code
    if (refreshed.kind === 'refreshed') answerDirectly(exchange, 204, refreshed.fields, null)
    return null
  }

  async function logout(exchange: Exchange, origin: Origin): Promise<ErrorCode | null> {
    const refusal = await endSession(exchange, origin)
    if (refusal !== null) return refusal
    answerDirectly(exchange, 204, parts.clearCookies(origin.scheme), null)
    return null
  }

  /** By the access token, or by a good refresh token alone, since the access token may have expired before the logout. */
  async function endSession(exchange: Exchange, origin: Origin): Promise<ErrorCode | null> {
    const decision = await parts.identify(exchange)
    if (decision.kind === 'failed') return decision.error.code
    if (decision.kind === 'authenticated') {
      if (!isSameOrigin(exchange, origin)) return 'origin_forbidden'
      await store.end(decision.identity)
      return null
    }
    const code = decision.kind === 'refused' ? decision.code : 'credentials_missing'
    const verified = await parts.refresh.verify(readCookies(exchange.request.rawHeaders, cookies).refresh)
    if (typeof verified === 'string' || verified.kind === 'refused') return code
    if (!isSameOrigin(exchange, origin)) return 'origin_forbidden'
    const ending = await store.endByRefresh(verified.token)
    return ending.kind === 'refused' ? ending.code : null
  }

  /** Answers a fault of the store with its code. */
  function withFaultCode(endpoint: SessionEndpoints['refresh']): SessionEndpoints['refresh'] {
    return async (exchange, origin) => {
      try {
        return await endpoint(exchange, origin)
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
        parts.onFault(error)
        return error.code
      }
    }
  }

  return { refresh: withFaultCode(refresh), logout: withFaultCode(logout) }
}
