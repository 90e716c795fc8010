import type { KeyObject } from 'node:crypto'
import { SignJWT } from 'jose'
import { answer } from '../answers.ts'
import type { AuthDecision, CredentialsCode } from '../auth/authenticator.ts'
import { type CookieNames, type CookieValue, readCookies } from '../auth/cookies.ts'
import type { TokenVerifier, Verification } from '../auth/token-verifier.ts'
import { originAllowed } from '../authorization.ts'
import { type ErrorCode, GatewayError } from '../errors.ts'
import { clientIsGone, type Exchange } from '../exchange.ts'
import type { SessionStore, SessionToken } from './session-store.ts'

export interface SessionEndpoints {
  /** @returns the code that refuses it, or null where it was answered */
  refresh(exchange: Exchange, own: Own): Promise<ErrorCode | null>
  logout(exchange: Exchange, own: Own): Promise<ErrorCode | null>
}

/** The request's own origin. */
export interface Own {
  readonly scheme: string
  readonly host: string
}

export interface SessionEndpointParts {
  readonly cookies: CookieNames
  readonly verifier: TokenVerifier
  readonly store: SessionStore
  /** Authenticates by the access cookie. */
  readonly identify: (exchange: Exchange) => Promise<AuthDecision>
  readonly signer: { readonly secret: () => KeyObject; readonly algorithm: () => string }
  readonly issuer: string | null
  readonly audience: string | null
}

/** `POST refresh` and `POST logout` (interface, section 7). */
export function createSessionEndpoints(parts: SessionEndpointParts): SessionEndpoints {
  const { cookies, store } = parts

  /** The same row gives the same JWT to the byte: racing tabs end with equal cookies. */
  async function sign(token: SessionToken, use: 'access' | 'refresh'): Promise<string> {
    const { id, userId, sessionId, mandateId, exp } = token
    const claims = {
      jti: id,
      userId,
      sessionId,
      mandateId,
      type: use,
      exp,
      ...(parts.issuer === null ? {} : { iss: parts.issuer }),
      ...(parts.audience === null ? {} : { aud: parts.audience }),
    }
    const header = { alg: parts.signer.algorithm(), typ: 'JWT' }
    return new SignJWT(claims).setProtectedHeader(header).sign(parts.signer.secret())
  }

  async function verifyRefresh(cookie: CookieValue): Promise<Verification | CredentialsCode> {
    if (cookie.kind === 'none') return 'credentials_missing'
    if (cookie.kind === 'ambiguous') return 'credentials_ambiguous'
    return parts.verifier.verify(cookie.value, 'refresh')
  }

  async function refresh(exchange: Exchange, own: Own): Promise<ErrorCode | null> {
    const verified = await verifyRefresh(readCookies(exchange.req.rawHeaders, cookies).refresh)
    if (typeof verified === 'string') return verified
    if (verified.kind === 'refused') return verified.code
    if (!isOwnOrigin(exchange, own)) return 'origin_forbidden'
    if (await hasLeft(exchange)) return null
    const rotation = await store.rotate(verified.token)
    if (rotation.kind === 'refused') return rotation.code
    const fields = [
      ...setCookie(cookies.access, await sign(rotation.access, 'access'), own),
      ...setCookie(cookies.refresh, await sign(rotation.refresh, 'refresh'), own),
    ]
    answer(exchange, 204, fields, null)
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
    const verified = await verifyRefresh(readCookies(exchange.req.rawHeaders, cookies).refresh)
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

/**
 * A process that was frozen finds requests whose clients have long gone on with another instance. Such a refresh
 * would be a second use of its token, and end the session. That the connection has ended shows a turn later.
 */
async function hasLeft(exchange: Exchange): Promise<boolean> {
  await new Promise((resolve) => setImmediate(resolve))
  return clientIsGone(exchange)
}

function isOwnOrigin(exchange: Exchange, own: Own): boolean {
  return originAllowed(exchange.req, { ...own, upgrade: false }, null)
}

function setCookie(name: string, value: string, own: Own): [string, string] {
  return ['Set-Cookie', `${name}=${value}; ${attributes(own)}`]
}

function clearCookie(name: string, own: Own): [string, string] {
  return ['Set-Cookie', `${name}=; ${attributes(own)}; Max-Age=0`]
}

function attributes(own: Own): string {
  return `Path=/; HttpOnly; SameSite=Strict${own.scheme === 'https' ? '; Secure' : ''}`
}
