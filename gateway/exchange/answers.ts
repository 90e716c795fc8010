import type { ErrorPages } from '../core/error-pages/error-pages.ts'
import type { ErrorCode } from '../core/errors.ts'
import { wantsPage } from '../http/page-preference.ts'
import type { Exchange } from './exchange.ts'
import { pageFor, problemFor } from './problem.ts'

export interface RefusalDetails {
  /** Methods for `Allow`; every 405 carries it (RFC 9110, section 15.5.6). */
  readonly allow?: readonly string[] | undefined
  /** The access cookie's name, for `WWW-Authenticate`. */
  readonly accessCookie: string
  /** Which rule the request broke, in words that repeat nothing of it. */
  readonly reason?: string | undefined
  /** What a person is shown; null where nobody is, since the request could not be read. */
  readonly pages: ErrorPages | null
}

/**
 * Answers with an error of the gateway's own: a page to a browser that navigates, problem+json (RFC 9457) to all others.
 * Does nothing where an answer has already begun.
 */
export function sendRefusal(exchange: Exchange, code: ErrorCode, details: RefusalDetails): void {
  const { request, response, record } = exchange
  if (response.headersSent) return
  record.code = code
  record.reason = details.reason ?? null
  if (response.destroyed) return
  const { pages } = details
  const { status, fields, body } =
    pages !== null && wantsPage(request)
      ? pageFor(code, record.requestId, pages)
      : problemFor(code, record.requestId, details.reason)
  if (status === 401) {
    fields.push('WWW-Authenticate', `Cookie realm="gateway", cookie-name="${details.accessCookie}"`)
  }
  if (details.allow !== undefined) fields.push('Allow', details.allow.join(', '))
  sendAnswer(exchange, status, fields, body)
}

/**
 * Refuses an exchange that is under way: the attempt that it waits for is ended.
 *
 * @returns false where a response has begun or the client has gone
 */
export function interruptExchange(exchange: Exchange, code: ErrorCode, details: RefusalDetails): boolean {
  if (exchange.response.headersSent || exchange.response.destroyed) return false
  // The attempt first: once its response is finished, it ignores that the client has gone.
  exchange.watcher?.clientClosed()
  sendRefusal(exchange, code, details)
  return true
}

/** Sends a small answer of the gateway's own: JSON, a redirect, or nothing. */
export function answerDirectly(
  exchange: Exchange,
  status: number,
  fields: readonly string[],
  body: Buffer | null,
): void {
  const { response, record } = exchange
  if (response.headersSent || response.destroyed) return
  const all = [...fields, 'Cache-Control', 'no-store', 'X-Request-Id', record.requestId]
  if (status !== 204) all.push('Content-Length', String(body?.length ?? 0))
  sendAnswer(exchange, status, all, body)
}

function sendAnswer(exchange: Exchange, status: number, fields: string[], body: Buffer | null): void {
  const { request, response, record } = exchange
  record.bytesOut = request.method === 'HEAD' ? 0 : (body?.length ?? 0)
  if (exchange.isLast()) response.endConnection()
  if (exchange.hsts !== null) fields.push('Strict-Transport-Security', exchange.hsts)
  const all = exchange.newCookies === null ? fields : [...exchange.newCookies, ...fields]
  response.sendWhole(status, all, body)
}
