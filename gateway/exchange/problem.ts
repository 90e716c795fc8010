import type { ErrorPages } from '../core/error-pages/error-pages.ts'
import { type ErrorCode, problemBody, statusOf } from '../core/errors.ts'

/** A whole response of the gateway's own about what is wrong. */
export interface Problem {
  readonly status: number
  /** Flat name, value pairs. */
  readonly fields: string[]
  readonly body: Buffer
}

/** The value of `Retry-After`: seconds after which a client may try again where the gateway itself is short of something. */
const RETRY_AFTER_VALUE = '1'

/**
 * What programs get (RFC 9457).
 *
 * @param reason which rule the request broke; it must repeat nothing of it
 */
export function problemFor(code: ErrorCode, requestId: string, reason?: string): Problem {
  const body = Buffer.from(problemBody(code, requestId, reason))
  return ownError({ code, requestId, body, type: 'application/problem+json' })
}

/** What a person gets, by a browser. */
export function pageFor(code: ErrorCode, requestId: string, pages: ErrorPages): Problem {
  const { html, policy } = pages.pageFor(code, requestId)
  const page = ownError({ code, requestId, body: Buffer.from(html), type: 'text/html; charset=utf-8' })
  if (policy !== null) page.fields.push('Content-Security-Policy', policy)
  return page
}

interface OwnError {
  readonly code: ErrorCode
  readonly requestId: string
  readonly body: Buffer
  readonly type: string
}

function ownError({ code, requestId, body, type }: OwnError): Problem {
  const status = statusOf(code)
  const fields = [
    'Content-Type',
    type,
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
