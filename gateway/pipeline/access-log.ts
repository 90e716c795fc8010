import type { ErrorCode } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { ExchangeRecord } from '../exchange/record.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import { traceIdOf } from '../http/traceparent.ts'
import { maskPath } from '../telemetry/logging/masking.ts'

export interface AccessLog {
  /** Writes one line for one finished exchange. */
  write(record: ExchangeRecord, status: number, durationMs: number): void
  /** Writes one line for bytes that were not a request. */
  writeUnparsed(refusal: UnparsedLine): void
}

export interface UnparsedLine {
  readonly requestId: string
  /** The connection's address: there are no header fields that could name another. */
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
    write(record, status, durationMs) {
      const { head, route, identity } = record
      log.info(
        {
          requestId: record.requestId,
          traceId: traceIdOf(record.trace.traceparent),
          clientAddress: peers.clientAddress(record.peer, head),
          method: head.method,
          host: head.headers.host ?? null,
          path: maskPath(head.target),
          route: route?.label ?? null,
          upstream: route?.upstream.name ?? null,
          target: record.target,
          status,
          code: record.code,
          retries: record.retries,
          userId: identity?.userId ?? null,
          mandateId: identity?.mandateId ?? null,
          bytesIn: record.bytesIn,
          bytesOut: record.bytesOut,
          durationMs: rounded(durationMs),
          lookupMs: record.lookupMs === null ? null : rounded(record.lookupMs),
          upstreamMs: record.upstreamMs === null ? null : rounded(record.upstreamMs),
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
