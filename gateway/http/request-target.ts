import { sameAuthority } from './host.ts'
import { normalPath, pathStep } from './path-normal-form.ts'

export { type ParsedHost, parseHost } from './host.ts'
export { withoutParameters } from './path-normal-form.ts'

export type ParsedRequestTarget =
  | {
      readonly kind: 'ok'
      /** Path and query as they were sent: what is forwarded, in origin-form. */
      readonly raw: string
      /** The path in its normal form: what routes are matched with. */
      readonly path: string
      /** From the `?` on; empty where there is none. */
      readonly query: string
      /** True where some backends read the path in another way, which `withoutParameters` gives. */
      readonly hasParameters: boolean
    }
  | { readonly kind: 'bad'; readonly reason: string }

export interface TargetContext {
  readonly scheme: 'http' | 'https'
  /** `Host` as it was sent. */
  readonly host: string
}

const SLASH = 47

/** Others end or fold a request line somewhere (RFC 9112, section 3.2), or are read by each backend in its own encoding. */
const UNPRINTABLE = /[^!-~]/

const ABSOLUTE = /^([a-z][a-z\d+.-]*):\/\/([^/?#]*)/i

/**
 * Reads a request target (RFC 9112, section 3.2) as the bytes to forward and the path to match.
 *
 * Absolute-form must name this request's own scheme and host, and is forwarded in origin-form. A fragment,
 * which no client may send, is cut off, so that what is matched is what is forwarded. The query passes as
 * it is. Bytes above ASCII are refused: no URI has them (RFC 3986, section 2).
 *
 * @param target the target of the request line, one character a byte
 */
export function parseRequestTarget(target: string, context: TargetContext): ParsedRequestTarget {
  if (target.charCodeAt(0) === SLASH) return parseOriginForm(target)
  const absolute = ABSOLUTE.exec(target)
  if (absolute === null) return { kind: 'bad', reason: 'the target is neither a path nor a URL' }
  if (absolute[1]!.toLowerCase() !== context.scheme) {
    return { kind: 'bad', reason: "the target's scheme is not the request's" }
  }
  if (!sameAuthority(absolute[2]!, context.host, context.scheme)) {
    return { kind: 'bad', reason: "the target's authority is not the request's" }
  }
  const rest = target.slice(absolute[0].length)
  // RFC 9112, section 3.2.1: an empty path is sent as "/".
  return parseOriginForm(rest.charCodeAt(0) === SLASH ? rest : `/${rest}`)
}

function parseOriginForm(target: string): ParsedRequestTarget {
  if (UNPRINTABLE.test(target)) return { kind: 'bad', reason: 'the target holds an unprintable character' }
  const fragment = target.indexOf('#')
  const raw = fragment === -1 ? target : target.slice(0, fragment)
  const mark = raw.indexOf('?')
  const rawPath = mark === -1 ? raw : raw.slice(0, mark)
  const query = mark === -1 ? '' : raw.slice(mark)
  const normal = normalPath(rawPath)
  if (normal.kind === 'bad') return normal
  return { kind: 'ok', raw, path: normal.path, query, hasParameters: normal.hasParameters }
}

/**
 * What is left of a target once the path of its route is removed; begins with exactly one `/`, since a
 * backend could take what follows two for an authority.
 *
 * The raw bytes are walked beside their normal form, so that `/%61pi//x` on the route `/api` is `/x`.
 *
 * @param raw path and query as they were sent; its normal form is matched by the route
 * @param routePath the route's path, in normal form
 */
export function stripRoutePrefix(raw: string, routePath: string): string {
  const prefixLength = routePath.endsWith('/') ? routePath.length - 1 : routePath.length
  let at = 0
  for (let matched = 0; matched < prefixLength; ) {
    const step = pathStep(raw, at)
    if (step === null) throw new RangeError('the target is not on the route')
    matched += step.text.length
    at = step.next
  }
  while (raw.charCodeAt(at) === SLASH) at++
  return `/${raw.slice(at)}`
}
