import type { ErrorCode } from '../core/errors.ts'
import { isoTime } from '../core/iso-time.ts'
import type { ExchangeRecord } from '../exchange/record.ts'
import type { PeerTrust } from '../http/forwarded.ts'
import { traceIdOf } from '../http/traceparent.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import { loggedTarget } from '../telemetry/logging/masking.ts'

export interface AccessLog {
  /** Writes one line for one finished exchange, unless it is a probe that gets none. */
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

export interface AccessLogParts {
  readonly lines: Pick<LineWriter, 'write'>
  readonly peers: Pick<PeerTrust, 'clientAddress'>
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** True where the probes of load balancers get a line too. */
  readonly probes: boolean
}

/**
 * Writes lines of the same form as the log's. They are put together here, since pino took a tenth of what a request
 * costs to look at every field of every line anew.
 */
export function createAccessLog({ lines, peers, wallClock, probes }: AccessLogParts): AccessLog {
  let time = 0
  let prefix = ''
  // Many lines are of the same millisecond.
  const begin = () => {
    const now = wallClock()
    if (now === time) return prefix
    time = now
    prefix = `{"level":"info","time":"${isoTime(now)}","requestId":`
    return prefix
  }

  return {
    write(record, status, durationMs) {
      if (record.isProbe && !probes) return
      const { head, route, identity } = record
      lines.write(
        `${begin()}${quoted(record.requestId)}` +
          `,"traceId":${quoted(traceIdOf(record.trace.traceparent))}` +
          `,"clientAddress":${quoted(peers.clientAddress(record.peer, head))}` +
          `,"method":${quoted(head.method)}` +
          `,"host":${quotedOrNull(head.headers.host)}${serverNameOf(record)}` +
          `,"path":${quoted(loggedTarget(head.target))}` +
          `,"route":${quotedOrNull(route?.label)}` +
          `,"upstream":${quotedOrNull(route?.upstream.name)}` +
          `,"target":${quotedOrNull(record.target)}` +
          `,"status":${status},"code":${quotedOrNull(record.code)},"retries":${record.retries}` +
          `,"userId":${quotedOrNull(identity?.userId)}` +
          `,"mandateId":${quotedOrNull(identity?.mandateId)}` +
          `,"bytesIn":${record.bytesIn},"bytesOut":${record.bytesOut}` +
          `,"durationMs":${rounded(durationMs)},"lookupMs":${roundedOrNull(record.lookupMs)}` +
          `,"upstreamMs":${roundedOrNull(record.upstreamMs)}` +
          (record.reason === null ? END : `,"reason":${quoted(record.reason)}${END}`),
      )
    },
    writeUnparsed({ requestId, clientAddress, status, code }) {
      lines.write(
        `${begin()}${quoted(requestId)},"traceId":null,"clientAddress":${quoted(clientAddress)}` +
          `,"method":null,"host":null,"path":null,"route":null,"upstream":null,"target":null` +
          `,"status":${status},"code":${quoted(code)},"retries":0,"userId":null,"mandateId":null` +
          `,"bytesIn":0,"bytesOut":0,"durationMs":0,"lookupMs":null,"upstreamMs":null${END}`,
      )
    },
  }
}

const END = ',"msg":"request"}\n'

const quoted: (text: string) => string = JSON.stringify

/** Only behind a load balancer that tells it. */
function serverNameOf({ peer }: ExchangeRecord): string {
  return peer.serverName === null ? '' : `,"serverName":${quoted(peer.serverName)}`
}

function quotedOrNull(text: string | null | undefined): string {
  return text === null || text === undefined ? 'null' : quoted(text)
}

function roundedOrNull(ms: number | null): number | null {
  return ms === null ? null : rounded(ms)
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
