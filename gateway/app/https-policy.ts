import { parseHost } from '../http/host.ts'
import { asciiTarget } from '../http/request-target.ts'
import type { RequestTarget } from '../pipeline/admission.ts'
import type { Settings } from '../settings/values.ts'

/** The port that clients reach; `0` of the settings is replaced by the real one once the listener is open. */
export interface PublicPort {
  current: number
}

/** @returns the HTTPS URL of a request over plain HTTP */
export function createSecureUrl(
  { httpRedirectToPort }: Pick<Settings, 'httpRedirectToPort'>,
  port: Readonly<PublicPort>,
): (target: Pick<RequestTarget, 'host' | 'hostname' | 'raw'>) => string {
  return ({ host, hostname, raw }) => {
    const parsed = parseHost(host)
    // A client that names no port has come by 80, so that 443 leads here too, whatever the ports are behind it.
    const direct = parsed.kind === 'ok' && parsed.port !== '' ? port.current : 443
    const to = httpRedirectToPort ?? direct
    return `https://${hostname}${to === 443 ? '' : `:${to}`}${asciiTarget(raw)}`
  }
}

/** `Strict-Transport-Security` (RFC 6797, section 6.1), or null where it is off. */
export function hstsOf(
  settings: Pick<Settings, 'hstsMaxAgeS' | 'hstsIncludeSubdomains' | 'hstsPreload'>,
): string | null {
  if (settings.hstsMaxAgeS === 0) return null
  const subdomains = settings.hstsIncludeSubdomains ? '; includeSubDomains' : ''
  return `max-age=${settings.hstsMaxAgeS}${subdomains}${settings.hstsPreload ? '; preload' : ''}`
}
