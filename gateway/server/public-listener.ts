import { createServer, type Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Scheduler } from '../core/scheduler.ts'
import type { Wire } from '../http1/wire.ts'
import type { Gateway } from '../pipeline/gateway.ts'
import { type ConnectionCounts, limitConnections } from './connection-limit.ts'
import type { ConnectionRegistry } from './connection-registry.ts'
import { type ConnectionStage, chainStages } from './connection-stages.ts'
import { createHttp1Server, MAX_HEADER_FIELDS } from './http1/http1-server.ts'
import { problemResponse } from './http1/problem-response.ts'
import { createHttp2Server } from './http2/http2-server.ts'
import { listening } from './listening.ts'
import { type ProxyProtocolOptions, readProxyHeaders } from './proxy-protocol/proxy-stage.ts'
import { type TlsTermination, terminateTls } from './tls/tls.ts'

export interface PublicListenerOptions {
  readonly maxHeaderBytes: number
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly keepAliveTimeoutMs: number
  /** Streams that a client may have open on one connection of HTTP/2. */
  readonly http2MaxStreams: number
  /** Open client connections past which new ones are answered 503 and closed. */
  readonly maxConnections: number
  readonly requestId: () => string
  /** Reads what clients send over HTTP/1.1. */
  readonly wire: Wire
  readonly scheduler: Scheduler
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  /** Where all open connections are registered. */
  readonly connections: ConnectionRegistry
  /** Null: connections begin with what the client sends. */
  readonly proxyProtocol: Pick<ProxyProtocolOptions, 'peers' | 'onRefused'> | null
  /** Called once each time `maxConnections` is reached. */
  readonly onFull: () => void
  readonly connectionCounts: ConnectionCounts
  /** Null: plain HTTP. */
  readonly tls: TlsTermination | null
  /** `Strict-Transport-Security` over TLS; null where it is not set. */
  readonly hsts: string | null
}

/** A port towards clients. */
export interface PublicListener {
  /** @returns the port. @throws the listener's error, such as EADDRINUSE */
  listen(port: number, host: string): Promise<number>
  /** Takes no further connections. Resolves once all that it took have closed. */
  close(): Promise<void>
}

/** A listener whose connections run through the stages of `stagesOf` and are then served by their protocol. */
export function createPublicListener(gateway: Gateway, options: PublicListenerOptions): PublicListener {
  const http1 = createHttp1Server(gateway, options.connections, options)
  const http2 = createHttp2Server(gateway, options.connections, {
    ...options,
    maxHeaderFields: MAX_HEADER_FIELDS,
  })
  const serve = (socket: Socket) => {
    if (socket instanceof TLSSocket && socket.alpnProtocol === 'h2') http2(socket)
    else http1.serve(socket)
  }
  const server = createServer(
    // Of plain HTTP a client may close its half and still read the answer.
    { allowHalfOpen: options.tls === null, noDelay: true },
    chainStages(stagesOf(options), serve),
  )
  return {
    listen: (port, host) => listening(server, port, host),
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  }
}

/** What a connection runs through before its protocol, in this order. */
function stagesOf(options: PublicListenerOptions): ConnectionStage[] {
  const { tls, proxyProtocol, scheduler, connections: registry, connectionCounts: counts } = options
  const stages = [
    limitConnections({
      max: options.maxConnections,
      // A client has as much time to continue reading an answer as to send its request.
      stallMs: options.requestTimeoutMs,
      scheduler,
      registry,
      // Before the handshake a client of TLS would not understand an answer.
      busyAnswer: tls === null ? () => problemResponse('overloaded', options.requestId()) : null,
      onFull: options.onFull,
      counts,
    }),
  ]
  if (proxyProtocol !== null) {
    const timeoutMs = options.headersTimeoutMs
    stages.push(
      readProxyHeaders({ ...proxyProtocol, timeoutMs, scheduler, registry, beforeTls: tls !== null }),
    )
  }
  if (tls !== null) {
    stages.push(
      terminateTls(tls, {
        onSecured: (secure, carrier) => proxyProtocol?.peers.adoptClient(secure, carrier),
        onFailed() {
          counts.handshakesFailed.value++
        },
      }),
    )
  }
  return stages
}
