import { createFieldNameCache, type FieldNameCache } from './field-name-cache.ts'

/** Names of the identity headers, spelled as in the routing file. */
export interface IdentityHeaderNames {
  readonly userId: string
  readonly mandateId: string
  readonly sessionId: string
  readonly tokenId: string
}

/**
 * How a header field of a request is treated before the request is forwarded. `pass` fields are kept and `drop` fields
 * removed; `forwarding` fields are accepted from trusted proxies only; each other class has a rule of its own.
 */
export type FieldClass =
  | 'pass'
  | 'drop'
  | 'forwarding'
  | 'host'
  | 'connection'
  | 'cookie'
  | 'content-length'
  | 'traceparent'
  | 'tracestate'

export interface FieldClassifier {
  /** @param rawName the field name as the client spelled it */
  classify(rawName: string): FieldClass
}

/**
 * The fields of RFC 9110, section 7.6.1, and of RFC 2616, section 13.5.1. `Expect` is among them because the gateway
 * answers it itself, and `TE` because trailers of requests are not forwarded.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
])

/** Field names of nearly all requests. Each is cached in this spelling and in lower case. */
const COMMON_REQUEST_FIELDS =
  'Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length Content-Type Cookie ' +
  'DNT Host If-Match If-Modified-Since If-None-Match Keep-Alive Origin Pragma Priority Range Referer ' +
  'Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User ' +
  'Transfer-Encoding Upgrade-Insecure-Requests User-Agent X-Forwarded-For X-Forwarded-Host X-Forwarded-Port ' +
  'X-Forwarded-Proto X-Real-IP X-Request-Id X-Requested-With traceparent tracestate'

const FORWARDING = new Set(['forwarded', 'x-real-ip', 'x-request-id'])

/**
 * True for a field that belongs to one connection only and must not be forwarded.
 *
 * @param name in lower case
 */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name)
}

/**
 * The form in which field names are compared with identity headers. Many backends (CGI, WSGI, PHP) treat all
 * characters that are neither letters nor digits alike, so a client's `X_User_Id` or `X.User.Id` would be read
 * there as the gateway's own `X-User-Id` (the attack of CVE-2025-64484).
 */
export function spoofForm(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-')
}

/**
 * Prepares the classification of request fields. Called once for each reading of the routing file.
 *
 * @param identity the header names that only the gateway may set
 */
export function createFieldClassifier(identity: IdentityHeaderNames): FieldClassifier {
  const identityForms = new Set(Object.values(identity).map(spoofForm))
  const cache = createFieldNameCache<FieldClass>()

  function classifyField(rawName: string): FieldClass {
    const name = rawName.toLowerCase()
    const form = spoofForm(name)
    if (identityForms.has(form) || form.startsWith('x-gateway-')) return 'drop'
    if (name === 'host' || name === 'connection' || name === 'cookie' || name === 'content-length')
      return name
    if (HOP_BY_HOP.has(name)) return 'drop'
    if (name === 'traceparent' || name === 'tracestate') return name
    if (form.startsWith('x-forwarded-') || FORWARDING.has(form)) {
      return name === form ? 'forwarding' : 'drop'
    }
    return 'pass'
  }

  // Cached before the first request, so that no client can fill the cache with names of its own.
  for (const name of COMMON_REQUEST_FIELDS.split(' ')) {
    const lower = name.toLowerCase()
    cache.set(name, classifyField(name))
    if (lower !== name) cache.set(lower, classifyField(lower))
  }

  return {
    classify(rawName) {
      const known = cache.get(rawName)
      if (known !== undefined) return known
      const kind = classifyField(rawName)
      cache.set(rawName, kind)
      return kind
    },
  }
}

/**
 * How a header field of an upstream's answer is treated. `pass` fields reach the client and `drop` fields do not; each
 * other class is a field that describes the body.
 */
export type ResponseFieldClass =
  | 'pass'
  | 'drop'
  | 'content-length'
  | 'content-type'
  | 'transfer-encoding'
  | 'trailer'

/** Field names of nearly all answers. Each is cached in this spelling and in lower case. */
const COMMON_RESPONSE_FIELDS =
  'Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Origin Age Cache-Control Connection ' +
  'Content-Encoding Content-Length Content-Security-Policy Content-Type Date ETag Expires Keep-Alive Last-Modified ' +
  'Location Pragma Referrer-Policy Server Set-Cookie Strict-Transport-Security Trailer Transfer-Encoding Vary Via ' +
  'X-Content-Type-Options X-Frame-Options X-Powered-By X-Request-Id'

const RESPONSE_FIELD_CLASSES: Pick<FieldNameCache<ResponseFieldClass>, 'get'> = commonResponseFields()

function commonResponseFields(): FieldNameCache<ResponseFieldClass> {
  const cache = createFieldNameCache<ResponseFieldClass>()
  for (const name of COMMON_RESPONSE_FIELDS.split(' ')) {
    const lower = name.toLowerCase()
    const kind = classifyResponseName(lower)
    cache.set(name, kind)
    if (lower !== name) cache.set(lower, kind)
  }
  return cache
}

/**
 * Classifies a field by a cache of common names, so that these need no lower-case copy.
 *
 * @param rawName the field name as the upstream spelled it
 */
export function classifyResponseField(rawName: string): ResponseFieldClass {
  return RESPONSE_FIELD_CLASSES.get(rawName) ?? classifyResponseName(rawName.toLowerCase())
}

function classifyResponseName(name: string): ResponseFieldClass {
  if (name === 'content-length' || name === 'content-type') return name
  if (name === 'transfer-encoding' || name === 'trailer') return name
  return isHopByHop(name) || name === 'x-request-id' ? 'drop' : 'pass'
}

/**
 * The field names that `Connection` lists as connection options (RFC 9110, section 7.6.1).
 *
 * @returns names in lower case; null where `Connection` lists nothing besides `close` and `keep-alive`
 */
export function fieldsNamedByConnection(rawHeaders: readonly string[]): ReadonlySet<string> | null {
  let connectionFields: Set<string> | null = null
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue
    const value = rawHeaders[i + 1]!
    if (value === 'keep-alive' || value === 'close') continue
    for (const option of value.toLowerCase().split(',')) {
      const token = option.trim()
      if (token === '' || token === 'close' || token === 'keep-alive') continue
      connectionFields ??= new Set()
      connectionFields.add(token)
    }
  }
  return connectionFields
}
