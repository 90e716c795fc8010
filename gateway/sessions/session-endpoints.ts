import { answer } from '../answers.ts'
import type { AuthDecision } from '../auth/authenticator.ts'
import { type CookieNames, readCookies } from '../auth/cookies.ts'
import { type ErrorCode, GatewayError } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
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
  readonly store: Pick<SessionStore, 'find' | 'end'>
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
    const session = await sessionOf(exchange)
    if (typeof session === 'string') return session
    if (!isOwnOrigin(exchange, own)) return 'origin_forbidden'
    await store.end(session)
    answer(exchange, 204, [...clearCookie(cookies.access, own), ...clearCookie(cookies.refresh, own)], null)
    return null
  }

  /** By the access token, or by a good refresh token alone: who wants to leave may have waited too long. */
  async function sessionOf(exchange: Exchange): Promise<{ userId: string; sessionId: string } | ErrorCode> {
    const decision = await parts.identify(exchange)
    if (decision.kind === 'authenticated') return decision.identity
    if (decision.kind === 'failed') throw decision.error
    const code = decision.kind === 'refused' ? decision.code : 'credentials_missing'
    const verified = await parts.refresh.verify(readCookies(exchange.req.rawHeaders, cookies).refresh)
    if (typeof verified === 'string' || verified.kind === 'refused') return code
    const found = await store.find(verified.token)
    return found.kind === 'refused' ? found.code : found.session
  }

  return { refresh: guarded(refresh), logout: guarded(logout) }
}

type Endpoint = SessionEndpoints['refresh']

/** A fault of the store becomes its code. */
function guarded(endpoint: Endpoint): Endpoint {
  return async (exchange, own) => {
    try {
      return await endpoint(exchange, own)
    } catch (error) {
      if (error instanceof GatewayError) return error.code
      throw error
    }
  }
}
