import type { Socket } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'

/** A connection with what it held ready for its client when that was last seen to change. */
export interface WatchedConnection {
  readonly socket: Socket
  /** Milliseconds of the scheduler's clock. */
  stuckSince: number
  /** Bytes in Node's buffer. */
  buffered: number
  /** Bytes handed to libuv that the kernel has not taken. */
  queued: number
}

/**
 * How often every connection is looked at. One look finds that something waits, and another one that nothing has moved,
 * so a client is disconnected at most twice as much too late. Limits below five seconds are for tests and small sites.
 */
const SWEEP_MS = 450
const SHORT_SWEEP_MS = 20
const SHORT_LIMIT_MS = 5000

/**
 * Disconnects clients that do not read the data that is ready for them.
 *
 * @returns to be called after each addition to `open`: where there is no connection, nothing is looked at
 */
export function createStallSweep(
  open: ReadonlySet<WatchedConnection>,
  { stallMs, scheduler }: { readonly stallMs: number; readonly scheduler: Scheduler },
): () => void {
  let scheduled = false

  function sweep(): void {
    scheduled = false
    const now = scheduler.now()
    for (const connection of open) {
      if (isStalled(connection, now, stallMs)) connection.socket.destroy()
    }
    if (open.size > 0) schedule()
  }

  function schedule(): void {
    if (scheduled) return
    scheduled = true
    scheduler.after(stallMs < SHORT_LIMIT_MS ? SHORT_SWEEP_MS : SWEEP_MS, sweep)
  }

  return schedule
}

function isStalled(connection: WatchedConnection, now: number, stallMs: number): boolean {
  const { socket } = connection
  const buffered = socket.writableLength
  // One large write that goes out little by little changes this number alone.
  const queued = (socket as { _handle?: { writeQueueSize?: number } })._handle?.writeQueueSize ?? 0
  if ((buffered === 0 && queued === 0) || buffered !== connection.buffered || queued !== connection.queued) {
    connection.stuckSince = now
    connection.buffered = buffered
    connection.queued = queued
    return false
  }
  return now - connection.stuckSince >= stallMs
}
