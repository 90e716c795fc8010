import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { Holdings } from '../../core/holdings.ts'
import type { Scheduler } from '../../core/scheduler.ts'
import type { Arrival, Gateway } from '../../pipeline/gateway.ts'
import type { ConnectionRegistry } from '../connection-registry.ts'
import { readHttp2Head } from './http2-head.ts'
import { Http2Request, type StreamConnection } from './http2-request.ts'
import { Http2Response } from './http2-response.ts'
import { createSessionEnding } from './session-ending.ts'
import { LEAST_WINDOW, UploadWindows } from './upload-windows.ts'

export interface Http2Limits {
  readonly maxHeaderBytes: number
  readonly maxHeaderFields: number
  /** Streams that a client may have open on one connection. */
  readonly http2MaxStreams: number
  /** The time from a request's head to the end of its body, and the time without reading an answer. */
  readonly requestTimeoutMs: number
  /** How long a connection may stay without a stream. */
  readonly keepAliveTimeoutMs: number
  readonly scheduler: Scheduler
}

/**
 * What Node may count for one connection, and for each of its streams. A stream that its client does not read has at
 * most two pieces of 64 KiB that came from the target, which then has to wait, and the head of its answer. So streams
 * that are slow, as many as there may be, never reach the sum: only what is not theirs, such as frames without end.
 */
const CONNECTION_BYTES = 10_000_000
const STREAM_BYTES = 4 * 65_536

/** @returns serves HTTP/2 on a connection whose handshake has chosen it */
export function createHttp2Server(
  gateway: Pick<Gateway, 'handle'>,
  registry: ConnectionRegistry,
  limits: Http2Limits,
): (socket: TLSSocket) => void {
  const options = sessionOptions(limits)

  function serve(socket: TLSSocket): void {
    const session = performServerHandshake(socket, options)
    const ending = createSessionEnding(session, socket, limits)
    const connection = {
      socket,
      holdings: new Holdings(),
      windows: new UploadWindows(session),
      openStreams: () => ending.streams,
    }
    // RFC 9113, section 6.8: GOAWAY first; streams that are open finish.
    const deregister = registry.register({
      closeIdle: ending.closeWhenStreamsEnd,
      close: () => session.destroy(),
    })
    session.once('close', () => {
      deregister()
      ending.onSessionClosed()
    })
    // The connection is closed or violated the protocol. Each of its streams gets its own event.
    session.on('error', () => {})
    session.setTimeout(limits.keepAliveTimeoutMs)
    session.on('timeout', () => {
      if (ending.streams === 0) ending.closeWhenStreamsEnd()
      else session.setTimeout(limits.keepAliveTimeoutMs)
    })
    session.on('goaway', ending.limitClosing)
    session.on('stream', (stream, fields, _flags, raw) => {
      ending.onStreamOpened()
      stream.once('close', ending.onStreamClosed)
      accept(stream, { fields, raw: raw as unknown as string[], connection })
    })
  }

  function accept(stream: ServerHttp2Stream, { fields, raw, connection }: StreamHead): void {
    stream.on('error', () => {})
    const head = readHttp2Head(fields, raw, limits.maxHeaderBytes)
    const request = new Http2Request(stream, head, connection)
    const expectation = fields.expect?.toLowerCase()
    const response = new Http2Response(stream, request, {
      awaitsContinue: expectation !== undefined && request.hasBody,
      openStreams: connection.openStreams,
      now: limits.scheduler.now,
    })
    limitUpload(stream, { request, response }, limits)
    limitUnread(stream, { response, socket: connection.socket }, limits)
    const refusal =
      head.refusal ??
      (expectation === undefined || expectation === '100-continue' ? null : 'expectation_failed')
    void gateway.handle(request, response, refusal === null ? PLAIN : { refusal })
  }

  return serve
}

const PLAIN: Arrival = {}

interface StreamHead {
  readonly fields: IncomingHttpHeaders
  readonly raw: readonly string[]
  readonly connection: StreamConnection
}

/** Ends a stream whose body does not arrive in time. */
function limitUpload(
  stream: ServerHttp2Stream,
  { request, response }: { readonly request: Http2Request; readonly response: Http2Response },
  { requestTimeoutMs, scheduler }: Http2Limits,
): void {
  if (!request.hasBody) return
  const cancel = scheduler.after(requestTimeoutMs, () => {
    if (request.complete || response.owner?.onUnreadable('request_timeout')) return
    stream.close(constants.NGHTTP2_CANCEL)
  })
  stream.once('end', cancel)
  stream.once('close', cancel)
}

/**
 * Ends a stream whose answer the client does not read: it never opens the stream's window again (the zero-window stall).
 * Where the connection's window is used up and the client does open that, the stream waits for its turn behind others.
 */
function limitUnread(
  stream: ServerHttp2Stream,
  { response, socket }: { readonly response: Http2Response; readonly socket: TLSSocket },
  { requestTimeoutMs, scheduler }: Http2Limits,
): void {
  let written = socket.bytesWritten
  let cancel = scheduler.after(requestTimeoutMs, check)
  function check(): void {
    const waitsForOthers = socket.bytesWritten !== written && stream.session?.state.remoteWindowSize === 0
    const since = waitsForOthers ? null : response.unreadSince
    const left = since === null ? requestTimeoutMs : since + requestTimeoutMs - scheduler.now()
    written = socket.bytesWritten
    if (left <= 0) stream.close(constants.NGHTTP2_CANCEL)
    else cancel = scheduler.after(left, check)
  }
  stream.once('close', () => cancel())
}

function sessionOptions(limits: Http2Limits): ServerOptions {
  return {
    settings: {
      enablePush: false,
      maxConcurrentStreams: limits.http2MaxStreams,
      initialWindowSize: LEAST_WINDOW,
      // Once the client has confirmed it, a stream past it is refused with ENHANCE_YOUR_CALM. Header bombs by HPACK count
      // at their full size.
      maxHeaderListSize: limits.maxHeaderBytes,
    },
    maxHeaderListPairs: limits.maxHeaderFields,
    // Past these the connection ends: frames that break the protocol, streams refused in a row, SETTINGS entries,
    // resets in a row (rapid reset, CVE-2023-44487).
    maxSessionInvalidFrames: 100,
    // Node counts streams that have ended in this turn as open ones. So it refuses what an honest client that has as many
    // as it may opens in place of those that it resets, and a page that is left resets all at once.
    maxSessionRejectedStreams: 1000 + limits.http2MaxStreams,
    maxSettings: 32,
    streamResetBurst: 1000,
    streamResetRate: 33,
    // Past these megabytes new streams are refused.
    maxSessionMemory: Math.ceil((CONNECTION_BYTES + limits.http2MaxStreams * STREAM_BYTES) / 1e6),
    // An upstream may repeat a field that should occur once; it passes as over HTTP/1.1.
    strictSingleValueFields: false,
  } as ServerOptions
}
