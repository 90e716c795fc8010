import type { Settings } from '../settings.ts'
import type { Reader } from './reader.ts'

const HMAC = ['HS256', 'HS384', 'HS512']
const PUBLIC = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

/** What no variable shows by itself. */
export function checkTogether(settings: Settings, reader: Reader): void {
  const { problem, given } = reader
  if (settings.production) {
    if (given('DATABASE_URL') === null && given('DATABASE_URL_FILE') === null) {
      problem(
        'DATABASE_URL: not set; expected postgres://… (the embedded database is not for NODE_ENV=production)',
      )
    }
    if (settings.keySource === null) {
      problem(
        'JWT_SECRET, JWT_SECRET_FILE, JWT_PUBLIC_KEY_FILE, JWT_JWKS_URL: none is set; expected exactly one (a key is not generated with NODE_ENV=production)',
      )
    }
  }
  checkAlgorithms(settings, problem)
  if (settings.accessCookie === settings.refreshCookie) {
    problem(`ACCESS_COOKIE and REFRESH_COOKIE are both "${settings.accessCookie}"; expected different names`)
  }
  if (settings.proxyProtocol && settings.trustedProxies.length === 0) {
    problem(
      'PROXY_PROTOCOL: found "on", but nobody may send its header; expected the balancers\' addresses in TRUSTED_PROXIES',
    )
  }
  checkTls(settings, problem)
  checkPorts(settings, problem)
  const signs = settings.keySource === null || settings.keySource.kind.startsWith('secret')
  if (settings.sessionEndpoints && !signs) {
    problem(
      'SESSION_ENDPOINTS: found "on", but the gateway holds no signing secret; expected JWT_SECRET or JWT_SECRET_FILE',
    )
  }
}

/** The least that the browsers' list takes. */
const PRELOAD_MIN_S = 31_536_000

function checkTls(settings: Settings, problem: (text: string) => void): void {
  const { tlsCertFile, tlsKeyFile, tlsCertDir } = settings
  if ((tlsCertFile === null) !== (tlsKeyFile === null)) {
    problem(
      `${tlsCertFile === null ? 'TLS_CERT_FILE' : 'TLS_KEY_FILE'}: not set; TLS_CERT_FILE and TLS_KEY_FILE go together`,
    )
  }
  if (settings.httpRedirectPort !== null && tlsCertFile === null && tlsCertDir === null) {
    problem(
      'HTTP_REDIRECT_PORT: set, but the public listener does not speak TLS; expected TLS_CERT_FILE and TLS_KEY_FILE, or TLS_CERT_DIR',
    )
  }
  if (settings.hstsPreload && (!settings.hstsIncludeSubdomains || settings.hstsMaxAgeS < PRELOAD_MIN_S)) {
    problem(
      `HSTS_PRELOAD: found "on"; expected HSTS_INCLUDE_SUBDOMAINS=on and HSTS_MAX_AGE_S of at least ${PRELOAD_MIN_S} with it`,
    )
  }
}

function checkPorts(settings: Settings, problem: (text: string) => void): void {
  const { host, port, adminHost, adminPort, httpRedirectPort } = settings
  if (port !== 0 && port === adminPort && overlap(host, adminHost)) {
    problem(`ADMIN_PORT: found ${adminPort}, which is PORT too; expected another port`)
  }
  if (httpRedirectPort === null || httpRedirectPort === 0) return
  if (httpRedirectPort === port) {
    problem(`HTTP_REDIRECT_PORT: found ${port}, which is PORT too; expected another port`)
  }
  if (httpRedirectPort === adminPort && overlap(host, adminHost)) {
    problem(`HTTP_REDIRECT_PORT: found ${adminPort}, which is ADMIN_PORT too; expected another port`)
  }
}

function checkAlgorithms(settings: Settings, problem: (text: string) => void): void {
  if (settings.jwtAlgorithms === null) return
  const symmetric = settings.keySource === null || settings.keySource.kind.startsWith('secret')
  const allowed = symmetric ? HMAC : PUBLIC
  const bad = settings.jwtAlgorithms.filter((name) => !allowed.includes(name))
  if (bad.length > 0) {
    problem(
      `JWT_ALGORITHMS: found ${bad.map((name) => JSON.stringify(name)).join(', ')}; expected ${symmetric ? 'with a secret' : 'with public keys'} some of ${allowed.join(', ')}`,
    )
  }
}

function overlap(a: string, b: string): boolean {
  const any = (host: string) => host === '0.0.0.0' || host === '::'
  return a === b || any(a) || any(b)
}
