import { METHODS } from 'node:http'
import type { ErrorCode } from '../core/errors.ts'
import { createExchange, type Exchange } from '../exchange/exchange.ts'
import type { InboundRequest, InboundResponse } from '../exchange/inbound.ts'
import { createRecord } from '../exchange/record.ts'
import { announcesBody, framingProblemOf } from '../http/request-framing.ts'
import { type NamedFields, namedFields } from '../http/request-head.ts'

/** A request that is explained and never sent. */
export interface ExplainedRequest {
  readonly scheme: 'http' | 'https'
  readonly host: string
  /** Path and query, as they would be sent. */
  readonly target: string
  readonly method: string
  /** Further headers, flat name, value pairs; `Host` is not among them. */
  readonly headers: readonly string[]
}

/** The client address that `explain` assumes. It never counts as a trusted proxy. */
export const ASSUMED_CLIENT = '127.0.0.1'

/** The exchange that the request would begin. Nothing can be written to it. */
export function exchangeOf(explained: ExplainedRequest): Exchange {
  const request = new UnsentRequest(explained)
  return createExchange({
    request,
    response: NO_RESPONSE,
    record: createRecord({
      head: request,
      peer: {
        address: ASSUMED_CLIENT,
        trusted: false,
        scheme: explained.scheme,
        serverName: null,
        isProxy: () => false,
      },
      requestId: '(made for each request)',
      trace: { traceparent: '(begun where the client has none)', isNew: true },
      startedAt: 0,
    }),
    isLast: () => false,
  })
}

/** What decisions read of a request of HTTP/1.1. Its body may be announced, but is never read. */
class UnsentRequest implements InboundRequest {
  readonly method: string
  readonly target: string
  readonly httpVersion = '1.1'
  readonly rawHeaders: readonly string[]
  readonly headers: NamedFields
  readonly socket = { destroyed: false, remoteAddress: ASSUMED_CLIENT }
  readonly complete = true
  readonly bodyRead = true
  readonly holdings = null
  readonly brokenOff = false

  constructor({ method, target, host, headers }: ExplainedRequest) {
    this.method = method
    this.target = target
    this.rawHeaders = ['Host', host, ...headers]
    this.headers = namedFields(this.rawHeaders)
  }

  get hasBody(): boolean {
    return announcesBody(this)
  }

  get framingProblem(): string | null {
    return framingProblemOf(this)
  }

  readBody(): () => void {
    return () => {}
  }

  pause(): void {}
  resume(): void {}
  discardBody(): void {}
}

const NO_RESPONSE: InboundResponse = {
  statusCode: 0,
  headersSent: false,
  destroyed: false,
  writableFinished: false,
  carriesTrailers: true,
  setOwner() {},
  sendContinue() {},
  sendWhole() {},
  endConnection() {},
  inform() {},
  writeHead() {},
  flushHeaders() {},
  write: () => true,
  addTrailers() {},
  end() {},
  onDrain() {},
  abort() {},
}

/** What the listener refuses before a route is looked for; null where it would accept the request. */
export function refusedByListener(
  { method, target, host, headers }: ExplainedRequest,
  limits: { readonly maxHeaderBytes: number; readonly maxHeaderFields: number },
): { readonly code: ErrorCode; readonly reason: string } | null {
  if (!METHODS.includes(method)) return { code: 'bad_request', reason: `${method} is no method of HTTP` }
  const fields = ['Host', host, ...headers]
  const bytes = headBytes(method, target, fields)
  if (bytes > limits.maxHeaderBytes) {
    return {
      code: 'headers_too_large',
      reason: `the head has ${bytes} bytes, MAX_HEADER_BYTES is ${limits.maxHeaderBytes}`,
    }
  }
  if (fields.length / 2 > limits.maxHeaderFields) {
    return { code: 'headers_too_large', reason: `the head has more than ${limits.maxHeaderFields} fields` }
  }
  const expectation = namedFields(fields).expect?.toLowerCase()
  return expectation === undefined || expectation === '100-continue'
    ? null
    : { code: 'expectation_failed', reason: 'Expect is other than 100-continue' }
}

/** Of the whole head, from its first byte to the end of its empty line. */
function headBytes(method: string, target: string, fields: readonly string[]): number {
  const line = Buffer.byteLength(`${method} ${target} HTTP/1.1\r\n`)
  // Behind each name `: `, behind each value CR LF.
  return fields.reduce((sum, text) => sum + Buffer.byteLength(text) + 2, line) + 2
}
