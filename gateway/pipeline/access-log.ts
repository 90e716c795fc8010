import type { ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Exchange } from '../exchange/exchange.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import { traceIdOf } from '../http/traceparent.ts'
import { maskPath } from '../telemetry/logging/masking.ts'

export interface AccessLog {
  /** One line for one finished exchange. */
  write(exchange: Exchange, status: number, durationMs: number): void
  /** One line for bytes that were no request. */
  writeUnparsed(refusal: UnparsedLine): void
}

export interface UnparsedLine {
  readonly requestId: string
  /** Of the connection: there are no header fields that could tell another. */
  readonly clientAddress: string
  readonly status: number
  readonly code: ErrorCode
}

const NOTHING_READ = {
  requestId: '',
  traceId: null,
  clientAddress: '',
  method: null,
  host: null,
  path: null,
  route: null,
  upstream: null,
  target: null,
  status: 0,
  code: null,
  retries: 0,
  userId: null,
  mandateId: null,
  bytesIn: 0,
  bytesOut: 0,
  durationMs: 0,
  lookupMs: null,
  upstreamMs: null,
}

export function createAccessLog(log: Pick<Log, 'info'>, peers: Pick<PeerTrust, 'clientAddress'>): AccessLog {
  return {
    write(exchange, status, durationMs) {
      const { req, route, identity, count } = exchange
      log.info(
        {
          requestId: exchange.requestId,
          traceId: traceIdOf(exchange.trace.traceparent),
          clientAddress: peers.clientAddress(exchange.peer, req),
          method: req.method,
          host: req.headers.host ?? null,
          path: maskPath(req.url ?? ''),
          route: route?.label ?? null,
          upstream: route?.upstream.name ?? null,
          target: exchange.target,
          status,
          code: exchange.code,
          retries: exchange.retries,
          userId: identity?.userId ?? null,
          mandateId: identity?.mandateId ?? null,
          bytesIn: count.bytesIn,
          bytesOut: count.bytesOut,
          durationMs: rounded(durationMs),
          lookupMs: exchange.lookupMs === null ? null : rounded(exchange.lookupMs),
          upstreamMs: exchange.upstreamMs === null ? null : rounded(exchange.upstreamMs),
        },
        'request',
      )
    },
    writeUnparsed: (refusal) => log.info({ ...NOTHING_READ, ...refusal }, 'request'),
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
