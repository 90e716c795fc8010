import { type ServerResponse, STATUS_CODES } from 'node:http'
import { type ErrorCode, problemBody, statusOf } from '../core/errors.ts'
import { type Exchange, hasBody, isHttp2 } from './exchange.ts'

/** Seconds after which a client may try again where the gateway itself is short of something. */
const RETRY_AFTER_S = '1'

/** A refused upload is read on for this long and this far, so that the client gets to see the answer. */
const LINGER_MS = 2000
const LINGER_BYTES = 1024 * 1024

export interface RefusalDetails {
  /** Methods for `Allow`; every 405 carries it (RFC 9110, section 15.5.6). */
  readonly allow?: readonly string[] | undefined
  /** The access cookie's name, for `WWW-Authenticate`. */
  readonly accessCookie: string
}

/** Answers with the gateway's own problem+json (RFC 9457). Does nothing where an answer has already begun. */
export function refuse(exchange: Exchange, code: ErrorCode, details: RefusalDetails): void {
  const { res, requestId } = exchange
  if (res.headersSent) return
  exchange.code = code
  if (res.destroyed) return
  const status = statusOf(code)
  const body = Buffer.from(problemBody(code, requestId))
  const fields = [
    'Content-Type',
    'application/problem+json',
    'Content-Length',
    String(body.length),
    'Cache-Control',
    'no-store',
    'X-Request-Id',
    requestId,
  ]
  if (status === 401) {
    fields.push('WWW-Authenticate', `Cookie realm="gateway", cookie-name="${details.accessCookie}"`)
  }
  if (status === 503) fields.push('Retry-After', RETRY_AFTER_S)
  if (details.allow !== undefined) fields.push('Allow', details.allow.join(', '))
  finish(exchange, status, fields, body)
}

/**
 * Refuses an exchange that is under way: the hop that it waits for is ended. @returns false where it cannot be
 * refused any more
 */
export function interrupt(exchange: Exchange, code: ErrorCode, details: RefusalDetails): boolean {
  if (exchange.res.headersSent || exchange.res.destroyed) return false
  // The hop first: one whose answer is out looks at it no more.
  exchange.watcher?.clientClosed()
  refuse(exchange, code, details)
  return true
}

/** Sends a small answer of the gateway's own: JSON, a redirect, or nothing. */
export function answer(
  exchange: Exchange,
  status: number,
  fields: readonly string[],
  body: Buffer | null,
): void {
  const { res, requestId } = exchange
  if (res.headersSent || res.destroyed) return
  const all = [...fields, 'Cache-Control', 'no-store', 'X-Request-Id', requestId]
  if (status !== 204) all.push('Content-Length', String(body?.length ?? 0))
  finish(exchange, status, all, body)
}

function finish(exchange: Exchange, status: number, fields: string[], body: Buffer | null): void {
  const { req, res } = exchange
  exchange.count.bytesOut = req.method === 'HEAD' ? 0 : (body?.length ?? 0)
  // HTTP/2 can say that it wants no more of a body (RFC 9113, section 8.1).
  const unread = hasBody(req) && !req.complete && !isHttp2(req)
  // After an unread body the next request could not be told from the rest of it.
  if (unread || exchange.isLast()) res.shouldKeepAlive = false
  if (exchange.hsts !== null) fields.push('Strict-Transport-Security', exchange.hsts)
  // Said outright: an upstream's answer that could not be begun may have left its own words behind.
  const all = exchange.newCookies === null ? fields : [...exchange.newCookies, ...fields]
  res.writeHead(status, STATUS_CODES[status], all)
  if (!unread || exchange.awaitsContinue) {
    res.end(body)
    return
  }
  if (body !== null) res.write(body)
  lingerThenEnd(exchange, res)
}

const LINGERS = Symbol('the whole answer is written, the rest of the request is read on')

/** Ends an answer that only waits for the rest of its request. @returns false where it is not such an answer */
export function endLingering(res: ServerResponse & { [LINGERS]?: () => void }): boolean {
  const end = res[LINGERS]
  end?.()
  return end !== undefined
}

/**
 * Closing at once with the client's bytes unread resets the connection, and the reset can overtake the answer
 * (RFC 9112, section 9.6). So the body is read on, within bounds, and thrown away.
 */
function lingerThenEnd(exchange: Exchange, res: ServerResponse): void {
  const { req } = exchange
  let left = LINGER_BYTES
  const end = () => {
    clearTimeout(timer)
    req.off('data', onData)
    res.end()
  }
  const onData = (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) end()
  }
  const timer = setTimeout(end, LINGER_MS)
  timer.unref()
  Object.assign(res, { [LINGERS]: end })
  req.on('data', onData)
  req.once('end', end)
  req.once('close', end)
  req.resume()
}
