import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ErrorCode } from '../../core/errors.ts'
import { announcesBody } from '../../http/request-framing.ts'
import { asksForWebSocket } from '../../http/websocket.ts'
import type { Arrival, Gateway } from '../../pipeline/gateway.ts'
import type { ConnectionRegistry } from '../connection-registry.ts'
import type { ConnectionHandler } from '../connection-stages.ts'
import { Http1Request } from './http1-request.ts'
import { Http1Response } from './http1-response.ts'
import {
  breakConnection,
  closeWithConnection,
  endsConnection,
  respondOn,
  responseUnderWay,
} from './response-under-way.ts'
import { answerUnparsed, type UnparsedParts } from './unparsed.ts'

export interface Http1Options extends Omit<UnparsedParts, 'gateway'> {
  readonly maxHeaderBytes: number
  /** Times in milliseconds. */
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
}

/** HTTP/1.1 and HTTP/1.0 on connections that are given to it. It listens at no port of its own. */
export interface Http1Server {
  readonly serve: ConnectionHandler
  /** Begins to enforce the time limits. */
  start(): void
  /** Ends idle connections and no longer enforces the time limits. */
  stop(): void
}

const PLAIN: Arrival = {}

/** Header fields past which a request is refused; Node would cut them off silently. */
export const MAX_HEADER_FIELDS = 2000

/** What arrives becomes a call of the gateway's `handle`; what cannot be parsed is answered here. */
export function createHttp1Server(
  gateway: Gateway,
  registry: ConnectionRegistry,
  options: Http1Options,
): Http1Server {
  const server = createServer({
    IncomingMessage: Http1Request,
    ServerResponse: Http1Response,
    maxHeaderSize: options.maxHeaderBytes,
    // Node wants it no longer than the whole request's.
    headersTimeout: Math.min(options.headersTimeoutMs, options.requestTimeoutMs),
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    // Looks at the time limits at least four times within the shortest of them.
    connectionsCheckingInterval: Math.max(50, Math.min(1000, Math.floor(options.headersTimeoutMs / 4))),
    insecureHTTPParser: false,
    // A request without a body has no stream then that would have to run through its states.
    optimizeEmptyRequests: true,
    // The gateway answers a missing Host itself, with a body that names the code.
    requireHostHeader: false,
    shouldUpgradeCallback: mayUpgrade,
  })
  // With 0 Node cuts nothing off; the count is checked below.
  server.maxHeadersCount = 0
  server.maxRequestsPerSocket = 0

  function onRequest(request: Http1Request, response: Http1Response, awaitsContinue: boolean): void {
    if (response.socket === null && endsConnection(responseUnderWay(request.socket))) return
    if (response.socket === null) closeWithConnection(request.socket, response)
    response.awaitsContinue = awaitsContinue
    const refusal = tooManyFields(request)
    void gateway.handle(request, response, refusal === null ? PLAIN : { refusal })
  }
  server.on('request', (request, response) => onRequest(request, response, false))
  server.on('checkContinue', (request, response) => onRequest(request, response, true))
  server.on('checkExpectation', (request, response) => {
    if (response.socket === null) closeWithConnection(request.socket, response)
    void gateway.handle(request, response, { refusal: 'expectation_failed' })
  })
  server.on('upgrade', (request: Http1Request, socket: Duplex, head: Buffer) => {
    const response = respondOn(request)
    // A body would travel through the tunnel as if it were the client's first frames.
    const refusal = tooManyFields(request) ?? (announcesBody(request) ? 'bad_request' : null)
    const upgrade = { socket, head }
    void gateway.handle(request, response, refusal === null ? { upgrade } : { upgrade, refusal })
  })
  server.on('connect', (request: Http1Request) => {
    const earlier = responseUnderWay(request.socket)
    if (earlier === null) void gateway.handle(request, respondOn(request))
    else breakConnection(request.socket, earlier)
  })
  const { requestId, hsts } = options
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
    answerUnparsed(error, socket as Socket, { gateway, requestId, hsts })
  })
  // Node keeps a list of these connections and of which of them are idle: one entry stands for all of them.
  registry.register({
    closeIdle: () => server.closeIdleConnections(),
    close: () => server.closeAllConnections(),
  })
  return {
    serve: (socket) => void server.emit('connection', socket),
    // For connections that are emitted Node does all but this: its check of the time limits starts with a listener.
    start: () => void server.emit('listening'),
    stop: () => void server.close(),
  }
}

/**
 * Any other wish to upgrade is ignored, and the request answered as what it else is. So is one that comes before the
 * request ahead of it was answered: Node would hand its connection over amid that answer.
 */
function mayUpgrade(request: Http1Request): boolean {
  return asksForWebSocket(request) && responseUnderWay(request.socket) === null
}

function tooManyFields(request: Http1Request): ErrorCode | null {
  return request.rawHeaders.length / 2 > MAX_HEADER_FIELDS ? 'headers_too_large' : null
}
