import type { ErrorCode } from '../core/errors.ts'
import type { InboundRequest } from '../exchange/inbound.ts'
import { parseHost, parseRequestTarget, withoutParameters } from '../http/request-target.ts'
import type { Route, Snapshot } from '../routing/snapshot.ts'

/** Methods that the gateway forwards for a route without `methods`, for `Allow`. */
const FORWARDED_METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']

export type Admission =
  | {
      readonly kind: 'route'
      readonly route: Route
      readonly target: RequestTarget
    }
  | { readonly kind: 'own'; readonly path: string; readonly target: RequestTarget }
  | {
      readonly kind: 'refused'
      readonly code: ErrorCode
      /** For operators; not sent. */
      readonly reason: string
      readonly allow?: readonly string[]
      readonly route?: Route
    }

/** The target of a request as it was matched: the same bytes go upstream. */
export interface RequestTarget {
  /** `Host` as it was sent. */
  readonly host: string
  readonly hostname: string
  /** Origin-form, as it was sent. */
  readonly raw: string
  /** The form in which paths are compared. */
  readonly path: string
}

/** The parts of a request that decide where it goes. */
export type RoutedRequest = Pick<InboundRequest, 'method' | 'target' | 'rawHeaders' | 'framingProblem'>

/**
 * Where a request goes, by its head alone. Routing reads `Host`, the target and the method; no other field has
 * any influence (not `X-Original-URL`, nor `X-HTTP-Method-Override`).
 *
 * @param gatewayPath prefix of the gateway's own endpoints
 */
export function admit(
  request: RoutedRequest,
  snapshot: Snapshot,
  scheme: 'http' | 'https',
  gatewayPath: string,
): Admission {
  const read = readTarget(request, scheme, gatewayPath)
  if (read.kind !== 'forwardable') return read

  const { target } = read
  const { hostname, path } = target
  const { method } = request
  const match = snapshot.routes.match({ host: hostname, path, method })
  if (read.hasParameters) {
    // Backends disagree on `;parameters`: some drop them before they look at the path. A path whose route
    // depends on that reading has no right answer (CVE-2025-66490 and similar ones).
    const bare = withoutParameters(path)
    const other = snapshot.routes.match({ host: hostname, path: bare, method })
    const same =
      match.kind === 'matched'
        ? other.kind === 'matched' && other.route === match.route
        : match.kind === other.kind
    if (!same || isBelow(bare, gatewayPath)) return refusal('bad_request', 'path parameters change the route')
  }
  if (match.kind === 'matched') return { kind: 'route', route: match.route, target }
  if (match.kind === 'none') return refusal('route_not_found', 'no route')
  return { ...refusal('method_not_allowed', 'no route for the method'), allow: match.allow }
}

/** Reads and checks the target of a request, whether or not it has a route. */
export function readTarget(
  request: RoutedRequest,
  scheme: 'http' | 'https',
  gatewayPath: string,
): Exclude<Admission, { kind: 'route' }> | Forwardable {
  const { framingProblem, method } = request
  if (framingProblem !== null) return refusal('bad_request', framingProblem)
  const host = onlyHost(request.rawHeaders)
  if (host === null) return refusal('bad_request', 'Host is missing, empty or repeated')
  const parsedHost = parseHost(host)
  if (parsedHost.kind === 'bad') return refusal('bad_request', 'Host is malformed')
  if (method === 'TRACE' || method === 'CONNECT') {
    return { ...refusal('method_not_allowed', 'the method is never forwarded'), allow: FORWARDED_METHODS }
  }
  const parsed = parseRequestTarget(request.target, { scheme, host })
  if (parsed.kind === 'bad') return refusal('bad_request', parsed.reason)

  const { raw, path, hasParameters } = parsed
  const target: RequestTarget = { host, hostname: parsedHost.hostname, raw, path }
  if (isBelow(path, gatewayPath)) return { kind: 'own', path: path.slice(gatewayPath.length), target }
  return { kind: 'forwardable', target, hasParameters }
}

interface Forwardable {
  readonly kind: 'forwardable'
  readonly target: RequestTarget
  readonly hasParameters: boolean
}

function isBelow(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 47)
}

function onlyHost(rawHeaders: readonly string[]): string | null {
  let host: string | null = null
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length !== 4 || name.toLowerCase() !== 'host') continue
    if (host !== null) return null
    host = rawHeaders[i + 1]!
  }
  return host === '' ? null : host
}

function refusal(code: ErrorCode, reason: string) {
  return { kind: 'refused', code, reason } as const
}
