import type { ClientWatcher } from '../upstreams/transport/client-side.ts'
import type { InboundRequest, InboundResponse } from './inbound.ts'
import type { ExchangeRecord } from './record.ts'
import type { ExchangeSpan } from './span.ts'

/** One request and its response, and what controls them. What is only read about them is in `record`. */
export interface Exchange {
  readonly request: InboundRequest
  readonly response: InboundResponse
  readonly record: ExchangeRecord
  /** True where the client's connection ends with this response, since the gateway is leaving. */
  readonly isLast: () => boolean
  /** `Strict-Transport-Security` for a client that speaks HTTPS, where it is set; else null. */
  hsts: string | null
  /** `Set-Cookie` fields that every response of this exchange carries, flat name, value pairs. */
  newCookies: readonly string[] | null
  /** Ends both connections of an exchange that was switched over. */
  breakOff: (() => void) | null
  /** Null where the exchange is not traced. */
  span: ExchangeSpan | null
  /** The attempt, or the wait for a target, that is under way; called when the client's side closes. */
  watcher: ClientWatcher | null
}

export function createExchange(from: Pick<Exchange, 'request' | 'response' | 'record' | 'isLast'>): Exchange {
  return {
    request: from.request,
    response: from.response,
    record: from.record,
    isLast: from.isLast,
    hsts: null,
    newCookies: null,
    breakOff: null,
    span: null,
    watcher: null,
  }
}

/** `traceparent` with the flag that shows whether this exchange is sampled. */
export function traceparentOf({ span, record }: Exchange): string {
  return span === null ? record.trace.traceparent : span.upstream.traceparent
}

/** True where the client's side has closed, so that no answer can be sent. */
export function clientIsGone({ request, response }: Exchange): boolean {
  return response.destroyed || request.socket.destroyed
}
