import { sameAuthority } from './host.ts'
import { normalizePath, readPathCharacter } from './path-normal-form.ts'

export { type ParsedHost, parseHost } from './host.ts'
export { hasDotSegment, otherReadings } from './path-normal-form.ts'

export type ParsedRequestTarget =
  | {
      readonly kind: 'ok'
      /** Path and query as they were sent, in origin-form. This is what is forwarded. */
      readonly raw: string
      /** The path in its normal form. Routes are matched against it. */
      readonly path: string
      /** Begins with `?`; empty where there is no query. */
      readonly query: string
      /** True where some backends may read another path: `otherReadings` has these. */
      readonly ambiguous: boolean
    }
  | { readonly kind: 'bad'; readonly reason: string }

export interface RequestTargetContext {
  readonly scheme: 'http' | 'https'
  /** `Host` as it was sent. */
  readonly host: string
}

const SLASH = 47

/**
 * Some servers end or fold the request line at another character (RFC 9112, section 3.2). Bytes above ASCII are decoded
 * differently by each backend, which matters where they name a resource: in the path.
 */
const PRINTABLE = /^[!->@-~]*(?:\?[!-~\x80-\xff]*)?$/
const ABOVE_ASCII = /[\x80-\xff]/g

const ABSOLUTE = /^([a-z][a-z\d+.-]*):\/\/([^/?#]*)/i

/**
 * Reads a request target (RFC 9112, section 3.2): which bytes to forward, and which path to match.
 *
 * Absolute-form must name this request's own scheme and host, and is forwarded in origin-form. A fragment, which
 * clients must not send, is cut off before matching and forwarding. The query passes unchanged, also with bytes above
 * ASCII. A URI cannot contain them (RFC 3986, section 2), so that they are refused in a path.
 *
 * @param target the target of the request line, one character a byte
 */
export function parseRequestTarget(target: string, context: RequestTargetContext): ParsedRequestTarget {
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
  if (!PRINTABLE.test(target)) return { kind: 'bad', reason: 'the target holds an unprintable character' }
  const fragment = target.indexOf('#')
  const raw = fragment === -1 ? target : target.slice(0, fragment)
  const mark = raw.indexOf('?')
  const rawPath = mark === -1 ? raw : raw.slice(0, mark)
  const query = mark === -1 ? '' : raw.slice(mark)
  const normal = normalizePath(rawPath)
  if (normal.kind === 'bad') return normal
  return { kind: 'ok', raw, path: normal.path, query, ambiguous: normal.ambiguous }
}

/** The target with bytes above ASCII percent-encoded, for what is read as text: logs, traces, `Location`. */
export function asciiTarget(target: string): string {
  return target.replace(ABOVE_ASCII, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`)
}

/**
 * Removes the route's path from a request target. The result begins with exactly one `/`, because a backend could
 * read what follows `//` as an authority.
 *
 * The length is counted in the normal form while the raw bytes are cut, so `/%61pi//x` on the route `/api` gives `/x`.
 *
 * @param raw path and query as they were sent; the route matches its normal form
 * @param routePath the route's path, in normal form
 */
export function stripRoutePrefix(raw: string, routePath: string): string {
  const prefixLength = routePath.endsWith('/') ? routePath.length - 1 : routePath.length
  let at = 0
  for (let matched = 0; matched < prefixLength; ) {
    const character = readPathCharacter(raw, at)
    if (character === null) throw new RangeError('the target is not on the route')
    matched += character.text.length
    at = character.next
  }
  while (raw.charCodeAt(at) === SLASH) at++
  return `/${raw.slice(at)}`
}
