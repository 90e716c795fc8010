import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Deadlines } from '../../core/deadlines.ts'
import { TCP_KEEP_ALIVE_MS } from './socket-options.ts'
import { TimeLimit } from './time-limit.ts'

export interface SplicedSockets {
  readonly client: Duplex
  readonly target: Socket
  /** Gets the bytes that cross. */
  readonly record: { bytesIn: number; bytesOut: number }
  /** Both are closed where nothing crosses for so long; null for never. */
  readonly silenceMs: number | null
  readonly deadlines: Deadlines
}

/** How long a side may take what is on its way to it once the other has ended. */
const CLOSING_MS = 10_000

/**
 * Passes on what comes from either side, with backpressure, until one side ends. A WebSocket has no half-closed state
 * (RFC 6455, section 7.1.1): the side that has ended gets nothing more, and the other one gets what is on its way to it
 * and then the end as well.
 */
export function spliceSockets({ client, target, record, silenceMs, deadlines }: SplicedSockets): void {
  const limit = new TimeLimit(deadlines, breakOff)
  let ended = false

  function breakOff(): void {
    client.destroy()
    target.destroy()
  }

  function onEnd(): void {
    ended = true
    limit.start(CLOSING_MS)
    // Each closes once the other side has ended too. Closing one with bytes unread would reset it, and the reset could
    // overtake what is on its way.
    client.end()
    target.end()
  }

  function onClose(other: Duplex): void {
    if (!ended) other.destroy()
    if (client.destroyed && target.destroyed) limit.close()
  }

  function connect(from: Duplex, to: Duplex, count: (bytes: number) => void): void {
    from.on('data', (chunk: Buffer) => {
      // Only the side that has ended would get it.
      if (ended) return
      count(chunk.length)
      if (silenceMs !== null) limit.start(silenceMs)
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.once('end', onEnd)
    from.on('error', breakOff)
    from.once('close', () => onClose(to))
    // A WebSocket may be silent for hours, and a host may disappear meanwhile without closing it.
    ;(from as Socket).setKeepAlive(true, TCP_KEEP_ALIVE_MS)
    from.resume()
  }

  connect(client, target, (bytes) => {
    record.bytesIn += bytes
  })
  connect(target, client, (bytes) => {
    record.bytesOut += bytes
  })
  if (silenceMs !== null) limit.start(silenceMs)
}

/**
 * Destroys the client's connection when the client ends it. Nobody reads it before the target has switched over, and
 * without reading its end goes unnoticed. What the client sends early stays in the stream's buffer.
 *
 * @returns stops it
 */
export function watchForEnd(socket: Duplex): () => void {
  const onReadable = () => {
    if (socket.readableLength === 0) socket.read()
  }
  const onEnd = () => void socket.destroy()
  socket.on('readable', onReadable)
  socket.once('end', onEnd)
  return () => {
    socket.off('readable', onReadable)
    socket.off('end', onEnd)
  }
}
