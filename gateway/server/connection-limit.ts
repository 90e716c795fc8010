import type { Socket } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { Cell } from '../telemetry/metrics/series.ts'
import type { ConnectionRegistry, OpenConnection } from './connection-registry.ts'
import type { ConnectionStage } from './connection-stages.ts'
import { createStallSweep, type WatchedConnection } from './stall-sweep.ts'

export interface ConnectionLimitOptions {
  /** Open connections past which new ones are turned away. */
  readonly max: number
  /** A client that reads nothing of the data for it for this many milliseconds is disconnected. */
  readonly stallMs: number
  readonly scheduler: Scheduler
  readonly registry: ConnectionRegistry
  /** The whole answer to a connection that is turned away; null where none can be given in plain text. */
  readonly busyAnswer: (() => string) | null
  /** Called once each time the limit is reached. */
  readonly onFull: () => void
  readonly counts: ConnectionCounts
}

export interface ConnectionCounts {
  readonly open: Cell
  /** Turned away at the limit. */
  readonly refused: Cell
  readonly handshakesFailed: Cell
}

/** Until then a client that is turned away may send its request; after that it is answered anyway. */
const BUSY_REQUEST_MS = 500
/** Until then it may read the answer. */
const BUSY_ANSWER_MS = 1000
/** Connections past the limit that are being answered; further ones are closed without an answer. */
const BUSY_MAX = 1000
/** Between the end of all exchanges and that of all connections: what was sent last needs time to go out. */
const FLUSH_BEFORE_CLOSE_MS = 500

/**
 * Limits the number of connections, and how long a client may leave its answer unread.
 */
export function limitConnections(options: ConnectionLimitOptions): ConnectionStage {
  const { counts, registry, scheduler } = options
  const open = new Set<ClientConnection>()
  const watchStalls = createStallSweep(open, options)
  const turnAway = createTurnAway(options)
  let full = false

  return (next) => (socket) => {
    if (open.size >= options.max) {
      if (!full) options.onFull()
      full = true
      counts.refused.value++
      turnAway(socket)
      return
    }
    // With some room to spare, or a limit that is just met would be reported over and over.
    if (open.size < options.max * 0.9) full = false
    const connection = new ClientConnection(socket, scheduler)
    open.add(connection)
    watchStalls()
    counts.open.value++
    const deregister = registry.register(connection)
    socket.once('close', () => {
      open.delete(connection)
      deregister()
      counts.open.value--
    })
    next(socket)
  }
}

/**
 * A connection as far as no protocol handles it: in an unfinished handshake, or after the protocol has closed it while
 * the client keeps it open.
 */
class ClientConnection implements OpenConnection, WatchedConnection {
  readonly socket: Socket
  readonly #scheduler: Scheduler
  stuckSince = 0
  buffered = 0
  queued = 0

  constructor(socket: Socket, scheduler: Scheduler) {
    this.socket = socket
    this.#scheduler = scheduler
  }

  /** Nothing to do: the protocol's own entry in the registry knows whether it is idle. */
  closeIdle(): void {}

  close(): void {
    this.#scheduler.after(FLUSH_BEFORE_CLOSE_MS, () => this.socket.destroy())
  }
}

function createTurnAway({ busyAnswer, scheduler }: ConnectionLimitOptions): (socket: Socket) => void {
  let busy = 0
  return (socket) => {
    if (busyAnswer === null || busy >= BUSY_MAX) {
      socket.destroy()
      return
    }
    busy++
    const answer = busyAnswer()
    let cancel = scheduler.after(BUSY_REQUEST_MS, sendBusyAnswer)
    function sendBusyAnswer(): void {
      cancel()
      cancel = scheduler.after(BUSY_ANSWER_MS, () => socket.destroy())
      socket.end(answer)
    }
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      busy--
      cancel()
    })
    // Read on to the end: closing with bytes unread would reset the connection, and the answer with it.
    socket.once('data', sendBusyAnswer)
  }
}
