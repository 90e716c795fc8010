import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import { didYouMean } from '../../core/message-text.ts'
import { isHopByHop, spoofForm } from '../../http/field-classes.ts'
import { parseHost } from '../../http/host.ts'
import { hasDotSegment, normalizePath, otherReadings } from '../../http/path-normal-form.ts'

/*
 * The formats of strings in the routing file. Each check returns what was expected, or null where the string is valid.
 */

export const DURATION = /^(?:0|[1-9]\d{0,8})(?:ms|s|m)$/
export const UPSTREAM_NAME = /^[A-Za-z\d][\w.-]{0,63}$/
/** RFC 9110, section 5.6.2. */
export const FIELD_NAME = /^[\w!#$%&'*+.^`|~-]+$/
/** RFC 9110, section 5.5, without its obsolete part. */
export const FIELD_VALUE = /^(?:[!-~](?:[\t -~]*[!-~])?)?$/
export const METHOD = /^[A-Z]+(?:-[A-Z]+)*$/
export const REQUEST_PATH = /^\/[!"$-~]*$/

const UNITS = { ms: 1, s: 1000, m: 60_000 } as const

/** @param duration a string that `DURATION` matches */
export function milliseconds(duration: string): number {
  const amount = Number.parseInt(duration, 10)
  return amount * UNITS[duration.replace(/\d+/, '') as keyof typeof UNITS]
}

/** A path has to be in the normal form of `normalizePath`, so that the file shows the very path that is compared. */
export function checkRoutePath(path: string): string | null {
  if (!path.startsWith('/')) return 'a path that begins with "/"'
  if (/[{}]/.test(path)) return 'a path without placeholders; a prefix matches whatever follows it'
  const special = /[?#;\\\s]/.exec(path)
  if (special !== null) return `a path without ${JSON.stringify(special[0])}`
  if (/[^!-~]/.test(path))
    return path.isWellFormed() ? normalFormHint(encodeURI(path)) : 'well-formed Unicode'
  const normal = normalizePath(path)
  if (normal.kind === 'bad') return `a path that every backend reads in the same way; ${normal.reason}`
  const plainest = otherReadings(normal.path).find((other) => otherReadings(other.path).length === 0)
  const form = plainest?.path ?? normal.path
  if (hasDotSegment(form)) return 'a path without dot segments'
  return form === path ? null : normalFormHint(form)
}

function normalFormHint(form: string): string {
  return `the path's normal form, ${JSON.stringify(form)}`
}

export function checkRouteHost(host: string): string | null {
  const isWildcard = host.startsWith('*.') && !host.startsWith('*.[')
  return (
    checkHostname(isWildcard ? host.slice(2) : host) &&
    'a host such as admin.example.com or *.example.com, no port'
  )
}

export function checkHostname(host: string): string | null {
  const parsed = parseHost(host)
  return parsed.kind === 'ok' && parsed.hostname === host.toLowerCase() ? null : 'a host name without a port'
}

/**
 * The name in a certificate; a dot at its end is left out when it is used. It cannot be an address, since that is always
 * checked against the target's URL.
 */
export function checkServerName(name: string): string | null {
  return isIP(name.replace(/^\[|\]$/g, '')) === 0
    ? checkHostname(name.replace(/\.$/, ''))
    : "a host name; a certificate for an address is checked against the target's URL, without serverName"
}

/** `preserve` and `target` are keywords. In another spelling they would be taken for host names by mistake. */
export function checkAuthority(authority: string): string | null {
  const word = /^(?:preserve|target)$/i.exec(authority)?.[0].toLowerCase()
  if (word !== undefined) return `"${word}", in lower case, or a host`
  return parseHost(authority).kind === 'ok' ? null : 'preserve, target, or a host'
}

/** Clients cannot send other methods: the HTTP/1.1 parser and the HTTP/2 listener refuse them. */
export function checkMethod(method: string): string | null {
  if (method === 'CONNECT' || method === 'TRACE') return 'a method that the gateway forwards'
  return METHODS.includes(method) ? null : `a method of HTTP${didYouMean(method, METHODS)}`
}

export function checkTarget(target: string): string | null {
  if (target.startsWith('unix:')) {
    // `sockaddr_un` holds 107 bytes and a terminating NUL.
    return /^unix:\/[^\0]{1,106}$/.test(target) ? null : 'unix: and the absolute path of a socket'
  }
  const parts = /^https?:\/\/([^/?#\\]*)(.*)$/is.exec(target)
  if (parts === null) return 'http://host:port, https://host:port or unix:/path/to.sock'
  const [, authority = '', rest = ''] = parts
  if (authority.includes('@')) return 'a URL without credentials'
  if (rest !== '' && rest !== '/') return 'a URL without path, query and fragment'
  const host = parseHost(authority)
  // `URL.canParse` refuses hosts to which no connection can be opened: `10.0.0.256` is neither an address nor a name.
  return host.kind === 'bad' || host.port === '0' || authority.endsWith(':') || !URL.canParse(target)
    ? 'a URL with a valid host and port'
    : null
}

/** Equal for two spellings of the same target. */
export function targetKey(target: string): string {
  return target.startsWith('unix:') || !URL.canParse(target) ? target : new URL(target).origin
}

export function checkOrigin(origin: string): string | null {
  if (!/^https?:\/\//i.test(origin) || !URL.canParse(origin))
    return 'an origin such as https://app.example.com'
  const serialized = new URL(origin).origin
  return serialized === origin ? null : `the origin as browsers send it, ${JSON.stringify(serialized)}`
}

/** A path of the own origin or a whole absolute URL, so that a request cannot change the host of the redirect. */
export function checkLoginRedirect(location: string): string | null {
  if (/[^!-~]|\\/.test(location)) return 'printable ASCII without spaces and backslashes'
  if (/[{}]/.test(location.replaceAll('{path}', ''))) return '{path} as the only placeholder'
  if (/^\/(?!\/)/.test(location)) return null
  const authority = /^https?:\/\/([^/?#]*)/i.exec(location)?.[1]
  return authority !== undefined && parseHost(authority).kind === 'ok'
    ? null
    : 'a path that begins with a single "/", or an absolute URL'
}

const ALWAYS_KEPT =
  'host cookie set-cookie authorization content-length content-type content-encoding origin range'

/** Fields that have another meaning. As an identity header such a field would be removed from every request. */
const NOT_FOR_IDENTITY = new Set([...ALWAYS_KEPT.split(' '), 'forwarded', 'x-real-ip', 'x-request-id'])

/**
 * Fields in which proxies describe the connection. Other fields with this prefix are allowed, since some proxies use
 * them for the identity (`X-Forwarded-User`).
 */
const FORWARDED =
  /^x-forwarded(?:-(?:by|client-cert|for|host|method|path|port|prefix|proto|protocol|scheme|server|ssl|uri))?$/

export function checkIdentityName(name: string): string | null {
  const form = spoofForm(name)
  const reserved =
    isHopByHop(form) ||
    NOT_FOR_IDENTITY.has(form) ||
    FORWARDED.test(form) ||
    /^(?:sec|accept)(?:-|$)/.test(form)
  return reserved ? 'a header that has no other meaning' : null
}

/**
 * Fields that frame the message or belong to the connection are set by the gateway alone (RFC 9112, section 6; RFC 9110,
 * section 7.6.1).
 */
export function checkEditedName(name: string, of: 'request' | 'response'): string | null {
  const lower = name.toLowerCase()
  if (isHopByHop(lower) || lower === 'content-length') return 'a header that does not frame the message'
  return of === 'request' && lower === 'host' ? 'another header; "host" of the upstream sets Host' : null
}
