import { createServer, type Server, STATUS_CODES } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket, type TlsOptions } from 'node:tls'
import { type ErrorCode, problemBody, statusOf } from '../core/errors.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { announcesBody } from '../http/request-framing.ts'
import type { Arrival, Gateway } from '../pipeline/gateway.ts'
import { type ConnectionCounts, limitClientConnections } from './connection-limit.ts'
import { Http1Request } from './http1/http1-request.ts'
import { Http1Response } from './http1/http1-response.ts'
import { serveHttp2 } from './http2/http2-server.ts'
import { expectProxyHeader, type ProxyProtocolOptions } from './proxy-protocol/proxy-stage.ts'

export interface PublicServerOptions {
  readonly maxHeaderBytes: number
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
  /** Open client connections past which new ones are answered 503 and closed. */
  readonly maxConnections: number
  readonly requestId: () => string
  readonly scheduler: Scheduler
  /** Null: connections begin with what the client sends. */
  readonly proxyProtocol: Pick<ProxyProtocolOptions, 'peers' | 'onRefused'> | null
  /** Told once each time `maxConnections` is reached. */
  readonly onFull: () => void
  readonly connectionCounts: ConnectionCounts
  /** Null: plain HTTP. */
  readonly tls: TlsOptions | null
  /** `Strict-Transport-Security` over TLS; null where it is not set. */
  readonly hsts: string | null
}

const PLAIN: Arrival = {}

/** Header fields past which a request is refused; Node would cut them off silently. */
export const MAX_HEADER_FIELDS = 2000

/**
 * The listener towards clients, with its limits. Everything that arrives becomes a call of the gateway's
 * `handle`; what cannot be parsed is answered here.
 */
export function createPublicServer(gateway: Gateway, options: PublicServerOptions): Server | TlsServer {
  const limits = {
    IncomingMessage: Http1Request,
    ServerResponse: Http1Response,
    maxHeaderSize: options.maxHeaderBytes,
    // Node wants it no longer than the whole request's.
    headersTimeout: Math.min(options.headersTimeoutMs, options.requestTimeoutMs),
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    // Looks at the time limits at least four times within the shortest of them.
    connectionsCheckingInterval: Math.max(50, Math.min(1000, Math.floor(options.headersTimeoutMs / 4))),
    noDelay: true,
    insecureHTTPParser: false,
    // A request without a body has no stream then that would have to run through its states.
    optimizeEmptyRequests: true,
    // The gateway answers a missing Host itself, with a body that names the code.
    requireHostHeader: false,
    shouldUpgradeCallback: asksForWebSocket,
  }
  const { tls } = options
  const server =
    tls === null
      ? createServer(limits)
      : createTlsServer({ ...limits, ...tls, handshakeTimeout: options.headersTimeoutMs })
  // 0 is Node's word for no silent cut; the count is judged below.
  server.maxHeadersCount = 0
  server.maxRequestsPerSocket = 0

  const onRequest = (req: Http1Request, res: Http1Response, awaitsContinue: boolean) => {
    if (res.socket === null && isLast(answerUnderWay(req.socket))) return
    // Node tells only the answer at the head of the line that its connection has gone.
    if (res.socket === null) tellWhenGone(req.socket, res)
    res.awaitsContinue = awaitsContinue
    const refusal = tooManyFields(req)
    void gateway.handle(req, res, refusal === null ? PLAIN : { refusal })
  }
  server.on('request', (req, res) => onRequest(req, res, false))
  server.on('checkContinue', (req, res) => onRequest(req, res, true))
  server.on('checkExpectation', (req, res) => {
    if (res.socket === null) tellWhenGone(req.socket, res)
    void gateway.handle(req, res, { refusal: 'expectation_failed' })
  })
  server.on('upgrade', (req: Http1Request, socket: Duplex, head: Buffer) => {
    const res = answerOn(req)
    // A body would travel through the tunnel as if it were the client's first frames.
    const refusal = tooManyFields(req) ?? (announcesBody(req) ? 'bad_request' : null)
    void gateway.handle(req, res, {
      upgrade: { socket, head },
      ...(refusal === null ? {} : { refusal }),
    })
  })
  server.on('connect', (req: Http1Request) => {
    const earlier = answerUnderWay(req.socket)
    if (earlier === null) void gateway.handle(req, answerOn(req))
    else breakOff(req.socket, earlier)
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    answerUnparsed(error, socket as Socket, { ...options, gateway })
  })
  if (tls !== null) {
    server.on('tlsClientError', () => {
      options.connectionCounts.handshakesFailed.value++
    })
    serveHttp2(server as TlsServer, gateway, {
      maxHeaderBytes: options.maxHeaderBytes,
      maxHeaderFields: MAX_HEADER_FIELDS,
      requestTimeoutMs: options.requestTimeoutMs,
      keepAliveTimeoutMs: options.keepAliveTimeoutMs,
      scheduler: options.scheduler,
    })
  }
  if (options.proxyProtocol !== null) {
    const { headersTimeoutMs: timeoutMs, scheduler } = options
    expectProxyHeader(server, { ...options.proxyProtocol, timeoutMs, scheduler })
  }
  limitClientConnections(server, {
    max: options.maxConnections,
    // What a client may take to send its request is also what it may take to go on reading the answer.
    stallMs: options.requestTimeoutMs,
    scheduler: options.scheduler,
    // Before the handshake nothing can be said that a client of TLS would understand.
    busyAnswer:
      tls === null ? () => problemAnswer('overloaded', options.requestId(), 'Retry-After: 1\r\n') : null,
    onFull: options.onFull,
    counts: options.connectionCounts,
  })
  return server
}

/** A client that pipelines for long must not leave a listener for each request. */
function tellWhenGone(socket: Socket, res: Http1Response): void {
  const onGone = () => {
    if (!res.writableFinished) res.emit('close')
  }
  socket.once('close', onGone)
  res.once('close', () => socket.off('close', onGone))
}

/**
 * RFC 6455, section 4.1. Any other wish to upgrade is ignored, and the request answered as what it else is. So is
 * one that comes before the request ahead of it was answered: Node would hand its connection over amid that answer.
 */
function asksForWebSocket(req: Http1Request): boolean {
  return (
    req.method === 'GET' &&
    req.httpVersion === '1.1' &&
    req.headers.upgrade?.trim().toLowerCase() === 'websocket' &&
    answerUnderWay(req.socket) === null
  )
}

function tooManyFields(req: Http1Request): ErrorCode | null {
  return req.rawHeaders.length / 2 > MAX_HEADER_FIELDS ? 'headers_too_large' : null
}

/** The answer that has the connection now, as Node keeps it, or null. */
function answerUnderWay(socket: Socket): Http1Response | null {
  return (socket as { _httpMessage?: Http1Response | null })._httpMessage ?? null
}

/** True for an answer that has told its client that the connection ends: what follows is not done (RFC 9112, section 9.6). */
function isLast(answer: Http1Response | null): boolean {
  return answer?.headersSent === true && !answer.shouldKeepAlive
}

/** Ends a connection that Node has handed over while an earlier answer had it: nobody else tells that answer. */
function breakOff(socket: Socket, earlier: Http1Response): void {
  socket.on('error', () => {})
  socket.once('close', () => earlier.writableFinished || earlier.emit('close'))
  earlier.destroy()
  socket.destroy()
}

/** An answer for a connection that Node has handed over; the connection ends with it. */
function answerOn(req: Http1Request): Http1Response {
  // Not what the event hands over: where the handshake has a body, that is a stream which is no socket.
  const { socket } = req
  const res = new Http1Response(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  socket.on('error', () => socket.destroy())
  socket.once('close', () => {
    if (!res.writableFinished) res.emit('close')
  })
  res.once('finish', () => socket.destroySoon())
  return res
}

/** Answers what is no request; the connection cannot be used any more (RFC 9112, section 2.2). */
function answerUnparsed(
  error: NodeJS.ErrnoException,
  socket: Socket,
  { requestId, hsts, gateway }: Pick<PublicServerOptions, 'requestId' | 'hsts'> & { gateway: Gateway },
): void {
  if (isBeforeTls(socket)) {
    socket.destroy()
    return
  }
  const current = answerUnderWay(socket)
  // What a client sends behind its own `Connection: close` is not read; the answer goes on (RFC 9112, section 9.6).
  if (error.code === 'HPE_CLOSED_CONNECTION' && current !== null) return
  // A refusal is written before the parser stumbles over what follows it; it goes out, and nothing more.
  if (current !== null && (current.writableEnded || current.endLingering())) {
    socket.destroySoon()
    return
  }
  // An answer under way must not get another one written into it.
  if (error.code === 'ECONNRESET' || !socket.writable || current?.headersSent) {
    socket.destroy()
    return
  }
  const code = codeOfUnparsed(error)
  // What follows cannot be read, or is late already: nobody would time it any more.
  if (current !== null) current.shouldKeepAlive = false
  if (current?.refuseUnreadable(code)) {
    // Only where the client is too slow there is something to read on.
    if (code !== 'request_timeout') current.endLingering()
    return
  }
  const more = hsts !== null && 'encrypted' in socket ? `Strict-Transport-Security: ${hsts}\r\n` : ''
  const id = requestId()
  // Where a request was read, its exchange ends with the connection and is told by itself.
  if (current === null) gateway.recordUnparsed({ socket, requestId: id, code })
  socket.end(problemAnswer(code, id, more), () => socket.destroy())
}

/** Nothing can be said to a client whose handshake is not done, and nothing was asked. */
function isBeforeTls(socket: Socket): boolean {
  return socket instanceof TLSSocket && socket.alpnProtocol === null
}

/** A whole answer for a connection on which no request was read. */
function problemAnswer(code: ErrorCode, requestId: string, more = ''): string {
  const body = problemBody(code, requestId)
  const status = statusOf(code)
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
    `Content-Length: ${Buffer.byteLength(body)}\r\nCache-Control: no-store\r\nX-Request-Id: ${requestId}\r\n` +
    `${more}Connection: close\r\n\r\n${body}`
  )
}

function codeOfUnparsed(error: NodeJS.ErrnoException): ErrorCode {
  if (error.code === 'HPE_HEADER_OVERFLOW') return 'headers_too_large'
  return error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request_timeout' : 'bad_request'
}
