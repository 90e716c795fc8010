import type { ErrorCode } from '../core/errors.ts'
import type { InboundRequest } from '../exchange/inbound.ts'
import type { OwnPaths } from '../http/own-paths.ts'
import { hasDotSegment, otherReadings, parseHost, parseRequestTarget } from '../http/request-target.ts'
import type { RouteMatch } from '../routing/route-table.ts'
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
  | AdmissionRefusal

export interface AdmissionRefusal {
  readonly kind: 'refused'
  readonly code: ErrorCode
  /** Which rule it was, in words that repeat nothing of the request. */
  readonly reason: string
  readonly allow?: readonly string[]
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
 */
export function admit(
  request: RoutedRequest,
  snapshot: Snapshot,
  scheme: 'http' | 'https',
  own: OwnPaths,
): Admission {
  const read = readTarget(request, scheme, own)
  if (read.kind !== 'forwardable') return read

  const { target } = read
  const { hostname, path } = target
  const { method } = request
  const match = snapshot.routes.match({ host: hostname, path, method })
  if (read.ambiguous) {
    const problem = problemOfReadings(path, (other) => {
      return (
        !own.has(other) && sameRoute(match, snapshot.routes.match({ host: hostname, path: other, method }))
      )
    })
    if (problem !== null) return refusal('bad_request', problem)
  }
  if (match.kind === 'matched') return { kind: 'route', route: match.route, target }
  if (match.kind === 'none') return refusal('route_not_found', 'no route')
  return { ...refusal('method_not_allowed', 'no route for the method'), allow: match.allow }
}

/**
 * Backends disagree on `;parameters` and on `%2F`: some drop the one and decode the other before they look at the path.
 * A path whose route depends on that has no right answer (CVE-2025-66490 and similar ones).
 *
 * @param sameRoute whether another reading has the route of the path itself
 * @returns why it must be refused; null where all readings agree
 */
function problemOfReadings(path: string, sameRoute: (path: string) => boolean): string | null {
  const readings = otherReadings(path)
  if (readings.some((other) => hasDotSegment(other.path)))
    return 'the path holds a dot segment where an escaped slash is decoded'
  const differing = readings.filter((other) => !sameRoute(other.path))
  if (differing.length === 0) return null
  return differing.every(({ decodesSlashes }) => decodesSlashes)
    ? 'the path has another route where an escaped slash is decoded'
    : 'the path has another route without its parameters'
}

function sameRoute(match: RouteMatch<Route>, other: RouteMatch<Route>): boolean {
  if (match.kind !== 'matched') return match.kind === other.kind
  return other.kind === 'matched' && other.route === match.route
}

/** Reads and checks the target of a request, whether or not it has a route. */
export function readTarget(
  request: RoutedRequest,
  scheme: 'http' | 'https',
  own: OwnPaths,
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

  const { raw, path, ambiguous } = parsed
  const target: RequestTarget = { host, hostname: parsedHost.hostname, raw, path }
  if (own.has(path)) return { kind: 'own', path: path.slice(own.prefix.length), target }
  return { kind: 'forwardable', target, ambiguous }
}

interface Forwardable {
  readonly kind: 'forwardable'
  readonly target: RequestTarget
  readonly ambiguous: boolean
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
