import { checkKeys } from './key-checks.ts'
import type { Reader } from './reader.ts'
import type { Settings } from './values.ts'

/** Checks variables that depend on each other. */
export function checkCombinations(settings: Settings, reader: Reader): void {
  const { addProblem, rawValue } = reader
  if (settings.production) {
    if (rawValue('DATABASE_URL') === null && rawValue('DATABASE_URL_FILE') === null) {
      addProblem(
        'DATABASE_URL: not set; expected postgres://… (the embedded database is not for NODE_ENV=production)',
      )
    }
    if (settings.keySource === null) {
      addProblem(
        'JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: none is set; expected exactly one (a key is not generated with NODE_ENV=production)',
      )
    }
  }
  checkKeys(settings, reader)
  if (settings.accessCookie === settings.refreshCookie) {
    addProblem(
      `ACCESS_COOKIE and REFRESH_COOKIE are both "${settings.accessCookie}"; expected different names`,
    )
  }
  checkCookieDomain(settings, addProblem)
  if (settings.proxyProtocol && settings.trustedProxies.length === 0) {
    addProblem(
      'PROXY_PROTOCOL: found "on", but no peer may send its header; expected the balancers\' addresses in TRUSTED_PROXIES',
    )
  }
  checkTls(settings, addProblem)
  checkPorts(settings, addProblem)
  const signs = settings.keySource === null || settings.keySource.kind.startsWith('secret')
  if (settings.sessionEndpoints && !signs) {
    addProblem(
      'SESSION_ENDPOINTS: found "on", but the gateway holds no signing secret; expected JWT_SECRET or JWT_SECRET_FILE',
    )
  }
}

/** Browsers refuse a cookie with this prefix that has a `Domain` (RFC 6265bis, section 4.1.3.2), whatever its case. */
const HOST_PREFIX = /^__Host-/i

function checkCookieDomain(
  { accessCookie, refreshCookie, cookieDomain }: Settings,
  addProblem: (text: string) => void,
): void {
  if (cookieDomain === null) return
  const bound = [accessCookie, refreshCookie].filter((name) => HOST_PREFIX.test(name))
  if (bound.length > 0) {
    addProblem(
      `COOKIE_DOMAIN: found ${JSON.stringify(cookieDomain)}, but browsers refuse a domain for ${bound.join(' and ')}; expected no COOKIE_DOMAIN, or other names in ACCESS_COOKIE and REFRESH_COOKIE`,
    )
  }
}

/** The minimum of the preload list of browsers. */
const PRELOAD_MIN_S = 31_536_000

function checkTls(settings: Settings, addProblem: (text: string) => void): void {
  const { tlsCertFile, tlsKeyFile, tlsCertDir } = settings
  if ((tlsCertFile === null) !== (tlsKeyFile === null)) {
    addProblem(
      `${tlsCertFile === null ? 'TLS_CERT_FILE' : 'TLS_KEY_FILE'}: not set; TLS_CERT_FILE and TLS_KEY_FILE go together`,
    )
  }
  if (settings.httpRedirectPort !== null && tlsCertFile === null && tlsCertDir === null) {
    addProblem(
      'HTTP_REDIRECT_PORT: set, but the public listener does not use TLS; expected TLS_CERT_FILE and TLS_KEY_FILE, or TLS_CERT_DIR',
    )
  }
  if (settings.hstsPreload && (!settings.hstsIncludeSubdomains || settings.hstsMaxAgeS < PRELOAD_MIN_S)) {
    addProblem(
      `HSTS_PRELOAD: found "on"; expected HSTS_INCLUDE_SUBDOMAINS=on and HSTS_MAX_AGE_S of at least ${PRELOAD_MIN_S} with it`,
    )
  }
}

function checkPorts(settings: Settings, addProblem: (text: string) => void): void {
  const { host, port, adminHost, adminPort, httpRedirectPort } = settings
  if (port !== 0 && port === adminPort && hostsOverlap(host, adminHost)) {
    addProblem(`ADMIN_PORT: found ${adminPort}, which is PORT too; expected another port`)
  }
  if (httpRedirectPort === null || httpRedirectPort === 0) return
  if (httpRedirectPort === port) {
    addProblem(`HTTP_REDIRECT_PORT: found ${port}, which is PORT too; expected another port`)
  }
  if (httpRedirectPort === adminPort && hostsOverlap(host, adminHost)) {
    addProblem(`HTTP_REDIRECT_PORT: found ${adminPort}, which is ADMIN_PORT too; expected another port`)
  }
}

function hostsOverlap(a: string, b: string): boolean {
  const any = (host: string) => host === '0.0.0.0' || host === '::'
  return a === b || any(a) || any(b)
}
