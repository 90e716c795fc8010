/**
 * The gateway's own error responses: for each code the HTTP status and the title. The codes are part of the interface,
 * since dashboards and clients match on them.
 */
const CODES = {
  bad_request: [400, 'The request is malformed'],
  credentials_missing: [401, 'No access token was sent'],
  credentials_ambiguous: [401, 'Several different access tokens were sent'],
  token_invalid: [401, 'The access token is not valid'],
  token_expired: [401, 'The access token has expired'],
  token_unknown: [401, 'The access token is not known'],
  token_revoked: [401, 'The access token was revoked'],
  token_mismatch: [401, 'The access token disagrees with its record'],
  mandate_forbidden: [403, 'The mandate may not use this route'],
  origin_forbidden: [403, 'The request comes from a foreign origin'],
  route_not_found: [404, 'No route matches the request'],
  method_not_allowed: [405, 'The method is not allowed here'],
  request_timeout: [408, 'The request did not arrive in time'],
  body_too_large: [413, 'The request body is too large'],
  expectation_failed: [417, 'The expectation cannot be met'],
  headers_too_large: [431, 'The request header fields are too large'],
  upstream_unreachable: [502, 'The upstream could not be reached'],
  upstream_reset: [502, 'The upstream broke the exchange off'],
  upstream_invalid: [502, 'The upstream sent an invalid answer'],
  token_store_unavailable: [503, 'The token store is not available'],
  overloaded: [503, 'The gateway is overloaded'],
  upstream_unavailable: [503, 'No healthy target is available'],
  upstream_overloaded: [503, 'The upstream is overloaded'],
  draining: [503, 'The gateway is shutting down'],
  upstream_timeout: [504, 'The upstream did not answer in time'],
} as const satisfies Record<string, readonly [number, string]>

export type ErrorCode = keyof typeof CODES

/** The codes of refusals and faults that a decision on a request can end with. */
export const DECISION_CODES: readonly ErrorCode[] = [
  'credentials_missing',
  'credentials_ambiguous',
  'token_invalid',
  'token_expired',
  'token_unknown',
  'token_revoked',
  'token_mismatch',
  'mandate_forbidden',
  'origin_forbidden',
  'token_store_unavailable',
  'overloaded',
]

/** All codes, in the order of their statuses. */
export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[]

/** The HTTP status that answers `code`. */
export function statusOf(code: ErrorCode): number {
  return CODES[code][0]
}

/** One short sentence about what is wrong, for programs and their developers. */
export function titleOf(code: ErrorCode): string {
  return CODES[code][1]
}

/** A fault: something broke. A refusal is no error but a value. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}

/**
 * The body of the gateway's own errors (`application/problem+json`, RFC 9457).
 * It repeats nothing of the request but its id, so that no secret can be in it.
 */
export function problemBody(code: ErrorCode, requestId: string, reason?: string): string {
  const [status, title] = CODES[code]
  return JSON.stringify({ type: `urn:poweron-gateway:${code}`, title, status, code, requestId, reason })
}
