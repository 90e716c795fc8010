import type { Identity } from '../auth/authenticator.ts'
import type { ErrorCode } from '../core/errors.ts'
import type { Peer } from '../http/headers.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { TraceContext } from '../http/traceparent.ts'
import type { Route } from '../routing/snapshot.ts'
import type { AttemptRecord } from '../upstreams/transport/client-side.ts'

/**
 * What is known of an exchange: what the access log, the metrics and the spans read. Nothing in it controls the
 * exchange; that is `Exchange`.
 */
export interface ExchangeRecord extends AttemptRecord {
  readonly head: RequestHead
  readonly peer: Peer
  readonly trace: TraceContext
  /** Milliseconds of the injected monotonic clock. */
  readonly startedAt: number
  route: Route | null
  /** The gateway's own code that answered it, or null where the upstream's response did. */
  code: ErrorCode | null
  /** Which rule of the gateway's the request broke; null where its code says all. */
  reason: string | null
  identity: Identity | null
  /** URL of the target that was attempted last. */
  target: string | null
  retries: number
  lookupMs: number | null
  /** When the latest attempt began, by the same clock. */
  upstreamStartedAt: number | null
  upstreamMs: number | null
  /** A connection that was switched over; its duration is that of a stream. */
  upgraded: boolean
  /** A load balancer asks whether the gateway is alive, or ready. */
  isProbe: boolean
}

export function createRecord(
  from: Pick<ExchangeRecord, 'head' | 'peer' | 'requestId' | 'trace' | 'startedAt'>,
): ExchangeRecord {
  return {
    head: from.head,
    peer: from.peer,
    requestId: from.requestId,
    trace: from.trace,
    startedAt: from.startedAt,
    bytesIn: 0,
    bytesOut: 0,
    eventStream: false,
    route: null,
    code: null,
    reason: null,
    identity: null,
    target: null,
    retries: 0,
    lookupMs: null,
    upstreamStartedAt: null,
    upstreamMs: null,
    upgraded: false,
    isProbe: false,
  }
}
