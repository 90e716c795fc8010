import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Identity } from '../auth/authenticator.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Peer } from '../http/headers.ts'
import type { TraceContext } from '../http/traceparent.ts'
import type { Route } from '../routing/snapshot.ts'
import type { ClientWatcher, TransferCount } from '../upstreams/transport/http-attempt.ts'
import type { ExchangeSpan } from './span.ts'

/** One request and its response, with what the access log and the metrics tell of it. */
export interface Exchange {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly peer: Peer
  readonly requestId: string
  readonly trace: TraceContext
  /** Milliseconds of the injected monotonic clock. */
  readonly startedAt: number
  /** True where the client's connection ends with this answer, since the gateway is leaving. */
  readonly isLast: () => boolean
  readonly count: TransferCount
  /** True while the client waits for `100 Continue` before it sends its body (RFC 9110, section 10.1.1). */
  awaitsContinue: boolean
  route: Route | null
  /** The own code that answered it, or null where the upstream's answer did. */
  code: ErrorCode | null
  identity: Identity | null
  /** `Strict-Transport-Security` for a client that speaks HTTPS, where it is set; else null. */
  hsts: string | null
  /** `Set-Cookie` fields that every answer of this exchange carries, flat name, value pairs. */
  newCookies: readonly string[] | null
  target: string | null
  retries: number
  lookupMs: number | null
  /** When the latest try on a target began, by the same clock. */
  upstreamStartedAt: number | null
  upstreamMs: number | null
  /** A connection that was switched over; its duration is that of a stream. */
  upgraded: boolean
  /** Ends both connections of one that was switched over. */
  breakOff: (() => void) | null
  /** Null where the exchange is not traced. */
  span: ExchangeSpan | null
  /** The hop under way, to be told when the client's side closes. */
  watcher: ClientWatcher | null
}

export function createExchange(
  req: IncomingMessage,
  res: ServerResponse,
  from: Pick<Exchange, 'peer' | 'requestId' | 'trace' | 'startedAt' | 'isLast'>,
): Exchange {
  return {
    req,
    res,
    peer: from.peer,
    requestId: from.requestId,
    trace: from.trace,
    startedAt: from.startedAt,
    isLast: from.isLast,
    count: { bytesIn: 0, bytesOut: 0, eventStream: false },
    breakOff: null,
    span: null,
    watcher: null,
    awaitsContinue: false,
    route: null,
    code: null,
    identity: null,
    hsts: null,
    newCookies: null,
    target: null,
    retries: 0,
    lookupMs: null,
    upstreamStartedAt: null,
    upstreamMs: null,
    upgraded: false,
  }
}

const EXCHANGE = Symbol('the exchange that this response belongs to')

type WithExchange = ServerResponse & { [EXCHANGE]?: Exchange }

/** A property in place of a map: nothing is hashed for a request that nobody asks this about. */
export function bindExchange(exchange: Exchange): void {
  const res: WithExchange = exchange.res
  res[EXCHANGE] = exchange
}

/** The exchange of a response; null where none was begun. */
export function exchangeOf(res: WithExchange): Exchange | null {
  return res[EXCHANGE] ?? null
}

/** With the flag that tells whether this exchange is recorded. */
export function traceparentOf({ span, trace }: Exchange): string {
  return span === null ? trace.traceparent : span.upstream.traceparent
}

/** True where nobody is left to answer. */
export function clientIsGone(exchange: Exchange): boolean {
  return exchange.res.destroyed || exchange.req.socket.destroyed
}

/**
 * True where a body follows the request's head (RFC 9112, section 6.3): in a request only these two fields
 * announce one. HTTP/2 tells it by its frames.
 */
export function hasBody(req: IncomingMessage & { readonly announcesBody?: boolean }): boolean {
  if (isHttp2(req)) return req.announcesBody
  const length = req.headers['content-length']
  return req.headers['transfer-encoding'] !== undefined || (length !== undefined && Number(length) > 0)
}

/** `Content-Length`; 0 where none is announced. */
export function announcedLength(req: IncomingMessage): number {
  return Number(req.headers['content-length'] ?? 0)
}

/** True for a request that came by frames; the version that a request line claims is the client's word. */
export function isHttp2(req: object): req is { readonly announcesBody: boolean } {
  return 'announcesBody' in req
}
