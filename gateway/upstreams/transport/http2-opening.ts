import { type ClientHttp2Session, type ClientSessionOptions, connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Connector, PendingConnection } from './connector.ts'
import type { Http2ExchangeOptions } from './http2-exchange.ts'
import { TimeLimit } from './time-limit.ts'
import { faultOf, TransportError } from './transport-errors.ts'

export interface Http2Options extends Http2ExchangeOptions {
  readonly connectMs: number
  readonly connector: Connector
}

export interface OpeningHandler {
  onOpened(session: ClientHttp2Session, socket: Socket): void
  onFailed(error: TransportError): void
}

/** Bytes that a target may have under way to the gateway, of one stream and of all. */
const STREAM_WINDOW = 262_144
const CONNECTION_WINDOW = 4_194_304

/**
 * Megabytes that Node may count for a connection before it resets each stream whose answer begins, as if the target had
 * sent too much. Its own 10 are used up by 150 uploads that wait to be taken. What there is for each exchange is bounded
 * anyway: a piece of its upload, and its window.
 */
const SESSION_MEMORY = 1024

/**
 * Opens a connection of HTTP/2, up to the target's SETTINGS: a stream beyond what they allow would be refused (RFC 9113,
 * section 5.1.2). The handler is called once, unless it was cancelled.
 */
export class Http2Opening {
  readonly #options: Http2Options
  readonly #handler: OpeningHandler
  readonly #connecting: PendingConnection
  readonly #limit: TimeLimit
  #socket: Socket | null = null
  #isOver = false

  constructor(options: Http2Options, handler: OpeningHandler) {
    const { connector, connectMs, transport } = options
    this.#options = options
    this.#handler = handler
    this.#limit = new TimeLimit(transport.deadlines, () =>
      this.#fail(new TransportError('response_timeout', { detail: 'it sent no SETTINGS' })),
    )
    this.#connecting = connector.connect(
      { connectMs, reads: null },
      {
        onConnected: (socket) => this.#onConnected(socket),
        onFailed: (error) => this.#fail(error),
      },
    )
  }

  cancel(): void {
    this.#end()
    this.#connecting.close()
    this.#socket?.destroy()
  }

  #onConnected(socket: Socket): void {
    const { origin, responseMs } = this.#options
    this.#socket = socket
    // Not removed, because an `error` event without a listener would end the process.
    socket.on('error', (error) => this.#fail(faultOf(error, 'connect_failed')))
    if (origin.startsWith('https:') && (socket as TLSSocket).alpnProtocol !== 'h2') {
      this.#fail(new TransportError('connect_failed', { detail: 'it does not offer HTTP/2' }))
      return
    }
    // As long as for an answer: the system accepts connections for a target that is too busy to speak on them.
    this.#limit.start(responseMs)
    const session = connectHttp2(origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
      maxSessionMemory: SESSION_MEMORY,
      // A client may repeat a field that should occur once. It passes as over HTTP/1.1 and is no failure of the target.
      strictSingleValueFields: false,
    } as ClientSessionOptions)
    session.on('error', (error) => this.#fail(faultOf(error, 'connect_failed')))
    session.once('close', () => this.#fail(faultOf(undefined, 'connect_failed')))
    session.once('connect', () => {
      if (!session.destroyed) session.setLocalWindowSize(CONNECTION_WINDOW)
    })
    session.once('remoteSettings', () => {
      if (this.#isOver) return
      this.#end()
      this.#handler.onOpened(session, socket)
    })
  }

  #fail(error: TransportError): void {
    if (this.#isOver) return
    this.cancel()
    this.#handler.onFailed(error)
  }

  #end(): void {
    this.#isOver = true
    this.#limit.close()
  }
}
