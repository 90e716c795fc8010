import { type ErrorCode, problemBody, statusOf } from '../core/errors.ts'

/** A whole response of the gateway's own about what is wrong (RFC 9457). */
export interface Problem {
  readonly status: number
  /** Flat name, value pairs. */
  readonly fields: string[]
  readonly body: Buffer
}

/** The value of `Retry-After`: seconds after which a client may try again where the gateway itself is short of something. */
const RETRY_AFTER_VALUE = '1'

/** @param reason which rule the request broke; it must repeat nothing of it */
export function problemFor(code: ErrorCode, requestId: string, reason?: string): Problem {
  const status = statusOf(code)
  const body = Buffer.from(problemBody(code, requestId, reason))
  const fields = [
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(body.length),
    'Cache-Control',
    'no-store',
    'X-Request-Id',
    requestId,
    ...retryFields(status),
  ]
  return { status, fields, body }
}

/** `Retry-After`, which every 503 carries. Flat name, value pairs. */
export function retryFields(status: number): readonly string[] {
  return status === 503 ? ['Retry-After', RETRY_AFTER_VALUE] : []
}
