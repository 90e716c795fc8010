import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { Cell } from '../telemetry/metrics/series.ts'

export interface ClientConnectionsOptions {
  /** Open connections past which new ones are turned away. */
  readonly max: number
  /** A client that takes nothing of what is ready for it for this long is disconnected. */
  readonly stallMs: number
  readonly scheduler: Scheduler
  /** The whole answer to a connection that is turned away; null where none can be given in plain text. */
  readonly busyAnswer: (() => string) | null
  /** Told once each time the limit is reached. */
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
/** Connections past the limit that are being answered; further ones are closed without a word. */
const BUSY_MAX = 1000
/** Between the end of all exchanges and that of all connections. */
const LAST_WORDS_MS = 500
/** Looks at every connection; at least four times within the limit. */
const SWEEP_MAX_MS = 5000

/**
 * Bounds what clients can hold by their connections alone: how many there are, and how long one may leave its
 * answer unread. Takes the place of the server's own handling of new connections, and passes on to it.
 */
export function limitClientConnections(server: Server, options: ClientConnectionsOptions): void {
  const serve = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  const { counts } = options
  const open = new Map<Socket, Unread>()
  let busy = 0
  let full = false

  server.on('connection', (socket: Socket) => {
    if (open.size >= options.max) {
      if (!full) options.onFull()
      full = true
      counts.refused.value++
      turnAway(socket)
      return
    }
    // With some room to spare, or a limit that is just met would be told over and over.
    if (open.size < options.max * 0.9) full = false
    open.set(socket, { since: 0, buffered: 0, queued: 0 })
    counts.open.value++
    socket.once('close', () => {
      open.delete(socket)
      counts.open.value--
    })
    for (const each of serve) each.call(server, socket)
  })

  function turnAway(socket: Socket): void {
    if (options.busyAnswer === null || busy >= BUSY_MAX) {
      socket.destroy()
      return
    }
    busy++
    const answer = options.busyAnswer()
    let cancel = options.scheduler.after(BUSY_REQUEST_MS, say)
    function say(): void {
      cancel()
      cancel = options.scheduler.after(BUSY_ANSWER_MS, () => socket.destroy())
      socket.end(answer)
    }
    socket.on('error', () => socket.destroy())
    socket.once('close', () => {
      busy--
      cancel()
    })
    // Read on to the end: closing with bytes unread would reset the connection, and the answer with it.
    socket.once('data', say)
  }

  function sweep(): void {
    const now = options.scheduler.now()
    for (const [socket, unread] of open) {
      if (isStalled(socket, unread, now, options.stallMs)) socket.destroy()
    }
    schedule()
  }

  // What is left of a connection where its protocol has let go of it: a handshake that was never finished, a peer that
  // was told to leave and does not. The last words of others get the time to go out.
  const { closeAllConnections } = server
  server.closeAllConnections = () => {
    closeAllConnections.call(server)
    options.scheduler.after(LAST_WORDS_MS, () => {
      for (const socket of open.keys()) socket.destroy()
    })
  }

  let cancelSweep = () => {}
  function schedule(): void {
    cancelSweep = options.scheduler.after(Math.min(SWEEP_MAX_MS, options.stallMs / 4), sweep)
  }
  server.on('listening', schedule)
  server.on('close', () => cancelSweep())
}

/** What a connection held ready for its client when it was last seen to move. */
interface Unread {
  since: number
  /** Bytes in Node's buffer. */
  buffered: number
  /** Bytes handed to libuv that the kernel has not taken. */
  queued: number
}

function isStalled(socket: Socket, unread: Unread, now: number, stallMs: number): boolean {
  const buffered = socket.writableLength
  // Only here one large write that goes out little by little is seen to move.
  const queued = (socket as { _handle?: { writeQueueSize?: number } })._handle?.writeQueueSize ?? 0
  if ((buffered === 0 && queued === 0) || buffered !== unread.buffered || queued !== unread.queued) {
    Object.assign(unread, { since: now, buffered, queued })
    return false
  }
  return now - unread.since >= stallMs
}
