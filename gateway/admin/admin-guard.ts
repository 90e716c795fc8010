import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { parseHost } from '../http/host.ts'

export interface AdminGuardParts {
  /** ADMIN_HOST: who binds to a name means to use it. */
  readonly adminHost: string
  /** The machine's own name. */
  readonly instance: string
  /** ADMIN_ALLOWED_HOSTS: lower-case names, or `*.` and the end of some. */
  readonly allowedHosts: readonly string[]
}

/** @returns why the request is not answered, or null where it is */
export type AdminGuard = (headers: IncomingHttpHeaders) => string | null

/** Names that do not exist in the public DNS, so that no owner of a domain can point one to this listener. */
const PRIVATE = /^[^.]+$|\.(?:localhost|local|internal|svc|home\.arpa)$/

/**
 * Keeps web pages of other sites away from a listener without authentication. Every page that a user opens can reach a
 * listener on 127.0.0.1: directly (cross-site requests), or under the page's own name after this name has been pointed
 * at 127.0.0.1 (DNS rebinding), which to the browser is the same origin.
 *
 * A browser is answered only under names that others cannot point here. A program, such as Prometheus or the check of
 * a balancer, is answered under any name, since it runs no code of others. Browsers are recognised by fields that
 * scripts cannot remove.
 */
export function createAdminGuard({ adminHost, instance, allowedHosts }: AdminGuardParts): AdminGuard {
  const named = new Set([adminHost.toLowerCase(), instance.toLowerCase()])
  const exact = new Set(allowedHosts.filter((name) => !name.startsWith('*.')))
  const suffixes = allowedHosts.filter((name) => name.startsWith('*.')).map((name) => name.slice(1))

  function isOurs(hostname: string): boolean {
    if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || PRIVATE.test(hostname)) return true
    return named.has(hostname) || exact.has(hostname) || suffixes.some((suffix) => hostname.endsWith(suffix))
  }

  return (headers) => {
    const site = headers['sec-fetch-site']
    const byLink = headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
    if (site !== undefined && site !== 'same-origin' && site !== 'none' && !byLink)
      return 'pages of other sites are not answered'
    const host = headers.host ?? ''
    const { origin } = headers
    if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`)
      return 'pages of other origins are not answered'
    if (!isBrowser(headers)) return null
    const parsed = parseHost(host)
    if (parsed.kind === 'ok' && isOurs(parsed.hostname.replace(/\.$/, ''))) return null
    return 'a browser is not answered under this name, which could be made to point here by anybody; use an address, or allow the name by ADMIN_ALLOWED_HOSTS'
  }
}

/** Every browser sends at least the first of these with every request, and no script can keep it from that. */
function isBrowser(headers: IncomingHttpHeaders): boolean {
  return (
    headers['accept-language'] !== undefined ||
    headers['sec-fetch-site'] !== undefined ||
    headers.origin !== undefined ||
    headers.referer !== undefined ||
    (headers['user-agent'] ?? '').startsWith('Mozilla/')
  )
}
