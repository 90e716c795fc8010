import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import { didYouMean } from '../../core/message-text.ts'
import { isHopByHop, spoofForm } from '../../http/field-classes.ts'
import { parseHost } from '../../http/host.ts'
import { normalizePath, withoutParameters } from '../../http/path-normal-form.ts'

/*
 * What the strings of the routing file must look like. Each check returns what was expected, or null where the
 * string will do.
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

/** Milliseconds of a string that `DURATION` matches. */
export function milliseconds(duration: string): number {
  const amount = Number.parseInt(duration, 10)
  return amount * UNITS[duration.replace(/\d+/, '') as keyof typeof UNITS]
}

/** A path in the form that `normalizePath` gives, so that what the file says is what is compared. */
export function checkRoutePath(path: string): string | null {
  if (!path.startsWith('/')) return 'a path that begins with "/"'
  if (/[{}]/.test(path)) return 'a path without placeholders; a prefix takes whatever follows it'
  const special = /[?#;\\\s]/.exec(path)
  if (special !== null) return `a path without ${JSON.stringify(special[0])}`
  if (/[^!-~]/.test(path))
    return path.isWellFormed() ? normalFormHint(encodeURI(path)) : 'well-formed Unicode'
  const normal = normalizePath(path)
  if (normal.kind === 'bad') return `a path that every backend reads alike; ${normal.reason}`
  const form = withoutParameters(normal.path)
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

/** The name in a certificate; an address there is that of the target's URL. */
export function checkServerName(name: string): string | null {
  return isIP(name.replace(/^\[|\]$/g, '')) === 0
    ? checkHostname(name)
    : "a host name; a certificate for an address is judged by the target's URL, without serverName"
}

/** `preserve` and `target` are words of their own; spelled otherwise they would be a host's name. */
export function checkAuthority(authority: string): string | null {
  const word = /^(?:preserve|target)$/i.exec(authority)?.[0].toLowerCase()
  if (word !== undefined) return `"${word}", in lower case, or a host`
  return parseHost(authority).kind === 'ok' ? null : 'preserve, target, or a host'
}

/** Others no client can send: HTTP/1.1's parser refuses them, and so does HTTP/2's listener. */
export function checkMethod(method: string): string | null {
  if (method === 'CONNECT' || method === 'TRACE') return 'a method that is forwarded'
  return METHODS.includes(method) ? null : `a method of HTTP${didYouMean(method, METHODS)}`
}

export function checkTarget(target: string): string | null {
  if (target.startsWith('unix:')) {
    // The platform's sockaddr_un holds 107 bytes and an end.
    return /^unix:\/[^\0]{1,106}$/.test(target) ? null : 'unix: and the absolute path of a socket'
  }
  const parts = /^https?:\/\/([^/?#\\]*)(.*)$/is.exec(target)
  if (parts === null) return 'http://host:port, https://host:port or unix:/path/to.sock'
  const [, authority = '', rest = ''] = parts
  if (authority.includes('@')) return 'a URL without credentials'
  if (rest !== '' && rest !== '/') return 'a URL without path, query and fragment'
  const host = parseHost(authority)
  // Some hosts no connection can be opened to: `10.0.0.256` is neither an address nor a name.
  return host.kind === 'bad' || host.port === '0' || authority.endsWith(':') || !URL.canParse(target)
    ? 'a URL with a valid host and port'
    : null
}

/** Equal for targets that are the same place. */
export function targetKey(target: string): string {
  return target.startsWith('unix:') || !URL.canParse(target) ? target : new URL(target).origin
}

export function checkOrigin(origin: string): string | null {
  if (!/^https?:\/\//i.test(origin) || !URL.canParse(origin))
    return 'an origin such as https://app.example.com'
  const serialized = new URL(origin).origin
  return serialized === origin ? null : `the origin as browsers send it, ${JSON.stringify(serialized)}`
}

/** Same-origin, or an absolute URL that the file's author chose; never one that a request could bend. */
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

/** Fields that mean something else already: as an identity field each would be taken from every client. */
const NOT_FOR_IDENTITY = new Set([...ALWAYS_KEPT.split(' '), 'forwarded', 'x-real-ip', 'x-request-id'])

/** What proxies say of the connection. Others of this prefix are identity (`X-Forwarded-User`), and may be. */
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

/** Framing and the connection are the gateway's own (RFC 9112, section 6; RFC 9110, section 7.6.1). */
export function checkEditedName(name: string, of: 'request' | 'response'): string | null {
  const lower = name.toLowerCase()
  if (isHopByHop(lower) || lower === 'content-length') return 'a header that does not frame the message'
  return of === 'request' && lower === 'host' ? 'another header; "host" of the upstream sets Host' : null
}
