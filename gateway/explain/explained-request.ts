import { type IncomingMessage, METHODS } from 'node:http'
import type { ErrorCode } from '../core/errors.ts'
import { createExchange, type Exchange } from '../exchange/exchange.ts'

/** A request that is only thought of. */
export interface ExplainedRequest {
  readonly scheme: 'http' | 'https'
  readonly host: string
  /** Path and query, as they would be sent. */
  readonly target: string
  readonly method: string
  /** Further headers, flat name, value pairs; `Host` is not among them. */
  readonly headers: readonly string[]
}

/** Where it comes from: no proxy that is trusted. */
export const CLIENT = '127.0.0.1'

/** The exchange that the request would begin, as far as decisions read it. Nothing can be written to it. */
export function exchangeOf(request: ExplainedRequest): Exchange {
  const rawHeaders = ['Host', request.host, ...request.headers]
  const socket = { destroyed: false, remoteAddress: CLIENT }
  const req = {
    method: request.method,
    url: request.target,
    httpVersion: '1.1',
    rawHeaders,
    headers: merged(rawHeaders),
    socket,
  } as unknown as IncomingMessage
  const res = { destroyed: false, headersSent: false } as unknown as Exchange['res']
  return createExchange(req, res, {
    peer: { address: CLIENT, trusted: false, scheme: request.scheme },
    requestId: '(made for each request)',
    trace: { traceparent: '(begun where the client has none)', isNew: true },
    startedAt: 0,
    isLast: () => false,
  })
}

/** What the listener refuses before a route is looked for; null where it would take the request. */
export function refusedByListener(
  { method, target, host, headers }: ExplainedRequest,
  limits: { readonly maxHeaderBytes: number; readonly maxHeaderFields: number },
): { readonly code: ErrorCode; readonly reason: string } | null {
  if (!METHODS.includes(method)) return { code: 'bad_request', reason: `${method} is no method of HTTP` }
  const fields = ['Host', host, ...headers]
  // As Node's parser counts: the target, names and values, without what stands between them.
  const bytes = fields.reduce((sum, text) => sum + Buffer.byteLength(text), target.length)
  if (bytes >= limits.maxHeaderBytes) {
    return {
      code: 'headers_too_large',
      reason: `the head has ${bytes} bytes, MAX_HEADER_BYTES is ${limits.maxHeaderBytes}`,
    }
  }
  if (fields.length / 2 > limits.maxHeaderFields) {
    return { code: 'headers_too_large', reason: `the head has more than ${limits.maxHeaderFields} fields` }
  }
  const expectation = merged(fields).expect?.toLowerCase()
  return expectation === undefined || expectation === '100-continue'
    ? null
    : { code: 'expectation_failed', reason: 'Expect is other than 100-continue' }
}

/** RFC 6455, section 4.1. */
export function isHandshake({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    headers.upgrade?.trim().toLowerCase() === 'websocket' &&
    /(?:^|[\s,])upgrade(?:[\s,]|$)/i.test(headers.connection ?? '')
  )
}

/** The fields of one name as one (RFC 9110, section 5.2), but for those of which Node takes the first. */
function merged(rawHeaders: readonly string[]): IncomingMessage['headers'] {
  const single = /^(?:host|content-length|content-type|authorization|origin)$/
  const fields: Record<string, string> = {}
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    const before = fields[name]
    if (before === undefined) fields[name] = rawHeaders[i + 1]!
    else if (!single.test(name))
      fields[name] = `${before}${name === 'cookie' ? '; ' : ', '}${rawHeaders[i + 1]}`
  }
  return fields
}
