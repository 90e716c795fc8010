import { type ClientHttp2Session, type ClientSessionOptions, connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Connector } from './connector.ts'
import { Http2Exchange, type Http2ExchangeOptions } from './http2-exchange.ts'
import type { TargetConnections } from './target-connections.ts'
import { TransportError } from './transport-errors.ts'

export interface Http2Options extends Http2ExchangeOptions {
  readonly connectMs: number
  /** Age from which on new exchanges get a new connection; `Infinity` for never. */
  readonly maxAgeMs: number
  readonly connector: Connector
}

/** Bytes that a target may have under way to the gateway, of one stream and of all. */
const STREAM_WINDOW = 262_144
const CONNECTION_WINDOW = 4_194_304

/** One connection of HTTP/2 at a time for all exchanges with a target. */
export function createHttp2Connections(options: Http2Options): TargetConnections {
  let session: ClientHttp2Session | null = null
  let since = 0
  let connecting: Promise<ClientHttp2Session> | null = null
  let closing = false

  async function open(): Promise<ClientHttp2Session> {
    const socket = await connectInTime(options)
    const opened = connectHttp2(options.origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
      // A client may repeat a field that should occur once. It passes as over HTTP/1.1 and is no failure of the target.
      strictSingleValueFields: false,
    } as ClientSessionOptions)
    // Each stream gets an error of its own.
    opened.on('error', () => {})
    opened.once('connect', () => opened.setLocalWindowSize(CONNECTION_WINDOW))
    session?.close()
    session = opened
    since = performance.now()
    // The exchanges that it was opened for begin before the next tick, and finish.
    if (closing) setImmediate(() => opened.close())
    return opened
  }

  function usable(): ClientHttp2Session | Promise<ClientHttp2Session> {
    const old = performance.now() - since > options.maxAgeMs
    if (session !== null && !session.closed && !session.destroyed && !old) return session
    connecting ??= open().finally(() => {
      connecting = null
    })
    return connecting
  }

  return {
    begin(client, request, onOutcome) {
      const exchange = new Http2Exchange(options)
      exchange.attempt.begin(client, request, onOutcome)
      const given = usable()
      if (given instanceof Promise)
        given.then(
          (opened) => exchange.start(opened),
          (error) => exchange.refuse(error),
        )
      else exchange.start(given)
    },
    async close() {
      closing = true
      const open = session
      if (open === null || open.destroyed) return
      await new Promise<void>((resolve) => open.close(() => resolve()))
    },
  }
}

/** @returns a connection that speaks HTTP/2. Rejects with a TransportError */
function connectInTime({ connector, connectMs, origin }: Http2Options): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const onConnected = (socket: Socket) => {
      // Not removed, because an `error` event without a listener would end the process.
      socket.on('error', () => {})
      if (origin.startsWith('https:') && (socket as TLSSocket).alpnProtocol !== 'h2') {
        socket.destroy()
        reject(new TransportError('connect_failed', { detail: 'it does not offer HTTP/2' }))
      } else resolve(socket)
    }
    connector.connect({ connectMs, reads: null }, { onConnected, onFailed: reject })
  })
}
