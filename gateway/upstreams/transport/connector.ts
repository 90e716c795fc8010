import { connect, type Socket } from 'node:net'
import { ConnectionRace } from './connection-race.ts'
import { SOCKET_OPTIONS, type SocketReads } from './socket-options.ts'
import { hasName, type TargetAddress, type TlsOptions } from './target-address.ts'
import { createTargetTls, type TargetTls } from './target-tls.ts'
import { TimeLimit } from './time-limit.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError } from './transport-errors.ts'

export interface ConnectorOptions {
  readonly address: TargetAddress
  readonly tls: TlsOptions | null
  /** What is offered over TLS (RFC 7301). */
  readonly protocols: readonly string[]
}

/** Opens connections to one target. */
export interface Connector {
  /** @param handler not called before this has returned */
  connect(options: ConnectOptions, handler: ConnectHandler): PendingConnection
}

export interface ConnectOptions {
  /** For all that comes before the connection can be used: its name, TCP, TLS. */
  readonly connectMs: number
  /** Gets what is read, in place of `data` events; null for `data` events. */
  readonly reads: SocketReads | null
}

export interface ConnectHandler {
  /**
   * The connection is open, and its certificate was checked. From here on its events are the handler's, `error` first of
   * all: without a listener it would end the process.
   */
  onConnected(socket: Socket): void
  onFailed(error: TransportError): void
}

export interface PendingConnection {
  /** Gives up. The handler is not called after that. Does nothing where the handler has been called. */
  close(): void
}

/** @throws the file system's error where a TLS file cannot be read */
export function createConnector(options: ConnectorOptions, transport: Transport): Connector {
  const { address } = options
  const tls = address.secure ? createTargetTls(options) : null
  return {
    connect: (connectOptions, handler) =>
      new OpeningConnection({ address, tls, transport, ...connectOptions, handler }),
  }
}

interface OpeningParts extends ConnectOptions {
  readonly address: TargetAddress
  readonly tls: TargetTls | null
  readonly transport: Transport
  readonly handler: ConnectHandler
}

class OpeningConnection implements PendingConnection {
  readonly #parts: OpeningParts
  readonly #limit: TimeLimit
  #race: ConnectionRace | null = null
  #socket: Socket | null = null
  #over = false

  constructor(parts: OpeningParts) {
    const { address, tls, transport, connectMs } = parts
    this.#parts = parts
    this.#limit = new TimeLimit(transport.deadlines, () => this.#onLimit())
    this.#limit.start(connectMs)
    try {
      tls?.prepare()
    } catch (error) {
      // A file without a usable certificate or key is a failure of each connection, like a fault of the target.
      queueMicrotask(() => this.#fail(error as Error))
      return
    }
    if (hasName(address)) this.#race = this.#startRace()
    else this.#connect()
  }

  close(): void {
    if (this.#over) return
    this.#over = true
    this.#limit.close()
    this.#race?.close()
    this.#socket?.destroy()
  }

  #startRace(): ConnectionRace {
    const { address, connectMs, transport } = this.#parts
    const { findAddresses, addressHistory: history, deadlines } = transport
    return new ConnectionRace({
      hostname: address.hostname!,
      port: address.port,
      open: (host) => this.#open({ host, port: address.port }),
      connectMs,
      findAddresses,
      history,
      deadlines,
      onConnected: (socket) => this.#onConnected(socket),
      onFailed: (error) => this.#fail(error),
    })
  }

  #connect(): void {
    const { socketPath, hostname, port } = this.#parts.address
    const socket = this.#open(socketPath === null ? { host: hostname!, port } : { path: socketPath })
    this.#await(socket, 'connect', () => this.#onConnected(socket))
  }

  #open(to: { host: string; port: number } | { path: string }): Socket {
    const { reads, tls } = this.#parts
    const destination = { ...SOCKET_OPTIONS, ...to, ...(reads === null ? {} : { onread: reads }) }
    return tls === null ? connect(destination) : tls.open(destination)
  }

  #onConnected(socket: Socket): void {
    if (this.#parts.tls === null) this.#conclude(socket)
    else this.#await(socket, 'secureConnect', () => this.#conclude(socket))
  }

  #await(socket: Socket, event: 'connect' | 'secureConnect', onOpen: () => void): void {
    const onError = (error: Error) => this.#fail(error)
    const onClose = () => this.#fail(undefined)
    this.#socket = socket
    socket.on('error', onError).on('close', onClose)
    socket.once(event, () => {
      if (this.#over) return
      socket.off('error', onError).off('close', onClose)
      onOpen()
    })
  }

  #onLimit(): void {
    this.#race?.expire()
    this.#failBy(new TransportError('connect_timeout'))
  }

  #conclude(socket: Socket): void {
    this.#over = true
    this.#limit.close()
    this.#parts.handler.onConnected(socket)
  }

  /** @param error what the socket said; undefined where it said nothing */
  #fail(error: Error | undefined): void {
    this.#failBy(faultOf(error, 'connect_failed'))
  }

  #failBy(error: TransportError): void {
    if (this.#over) return
    this.close()
    this.#parts.handler.onFailed(error)
  }
}
