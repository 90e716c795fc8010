import type { RequestHead } from '../http/request-head.ts'
import type { Identity } from './authenticator.ts'

const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS'])

/** The scheme and the host of an origin (RFC 6454). */
export interface Origin {
  readonly scheme: string
  /** With the port, where `Host` has one. */
  readonly host: string
}

/** True where the route allows this mandate. An anonymous request has none. */
export function mandateAllowed(
  route: { readonly mandates: ReadonlySet<string> | null },
  identity: Identity | null,
): boolean {
  if (route.mandates === null) return true
  return identity !== null && identity.mandateId !== null && route.mandates.has(identity.mandateId)
}

/**
 * Defends against requests that another site makes a browser send with the user's cookie (cross-site request forgery). A
 * WebSocket handshake, or a request that may change something, passes only from its own origin or an allowed one. A
 * browser sends `Origin` with every such request from another site.
 *
 * @param own the request's own origin, and whether it is a WebSocket handshake
 */
export function originAllowed(
  head: Pick<RequestHead, 'method' | 'headers'>,
  own: Origin & { readonly upgrade: boolean },
  allowed: ReadonlySet<string> | null,
): boolean {
  const { origin } = head.headers
  if (origin === undefined) return true
  if (!own.upgrade && SAFE_METHODS.has(head.method)) return true
  const normal = normalOrigin(origin)
  if (normal === null) return false
  return normal === normalOrigin(`${own.scheme}://${own.host}`) || (allowed?.has(normal) ?? false)
}

/**
 * True for a CORS preflight from an allowed origin. A browser sends no cookie with it, and its answer decides only whether
 * the request itself will be sent, which has one.
 */
export function preflightAllowed(
  { method, headers }: Pick<RequestHead, 'method' | 'headers'>,
  allowed: ReadonlySet<string> | null,
): boolean {
  if (method !== 'OPTIONS' || allowed === null) return false
  const { origin, 'access-control-request-method': intended } = headers
  if (origin === undefined || intended === undefined || intended === '') return false
  const normal = normalOrigin(origin)
  return normal !== null && allowed.has(normal)
}

/** The serialised origin (RFC 6454, section 6.2), or null where the text is no origin (`null`, a list, a path). */
function normalOrigin(text: string): string | null {
  if (!/^https?:\/\/[^\s/?#@\\]+$/i.test(text) || !URL.canParse(text)) return null
  return new URL(text).origin
}
