import type { ServerHttp2Stream } from 'node:http2'

/** From so many bytes on that wait for the client, its target has to wait too. */
const HIGH_WATER_BYTES = 65_536
/** What is handed to Node of all answers of a connection together, about. */
const CONNECTION_BYTES = 524_288
const LEAST_PIECE = 8_192
const MOST_PIECE = 65_536

/**
 * Sends the body of an answer piece by piece. The streams of a connection have their turns one after the other, a whole
 * piece each, and what is answered later waits behind all that Node was handed. So the more streams there are, the
 * smaller are the pieces: on a line of 1 MB/s with 100 downloads a small answer takes 5 s in place of 12, most of which
 * are what the kernel holds, and each download goes on every second in place of every 10.
 */
export class PacedWriter {
  /** When the latest piece was given to Node. */
  handedOverAt = 0
  readonly #stream: ServerHttp2Stream
  readonly #openStreams: () => number
  readonly #now: () => number
  readonly #onWritten = () => this.#next()
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #isWriting = false
  #isEnding = false
  #onDrained: (() => void) | null = null

  /** @param openStreams how many streams the connection has open */
  constructor(
    stream: ServerHttp2Stream,
    { openStreams, now }: { readonly openStreams: () => number; readonly now: () => number },
  ) {
    this.#stream = stream
    this.#openStreams = openStreams
    this.#now = now
  }

  /** @returns false where enough waits: `onDrain` tells when it has gone */
  write(chunk: Buffer): boolean {
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.length
    if (!this.#isWriting) this.#next()
    return this.#waitingBytes < HIGH_WATER_BYTES
  }

  onDrain(onDrained: () => void): void {
    this.#onDrained = onDrained
  }

  /** Ends the stream behind all that waits. */
  end(): void {
    this.#isEnding = true
    if (this.#waitingBytes === 0) this.#stream.end()
  }

  #next(): void {
    if (this.#stream.destroyed) return
    this.#isWriting = this.#waitingBytes > 0
    if (this.#isWriting) {
      this.handedOverAt = this.#now()
      this.#stream.write(this.#take(), this.#onWritten)
    }
    if (this.#waitingBytes > 0) return
    if (this.#isEnding && !this.#stream.writableEnded) this.#stream.end()
    if (this.#onDrained === null) return
    const onDrained = this.#onDrained
    this.#onDrained = null
    onDrained()
  }

  /** The next piece: a part of a large chunk, or several small ones. */
  #take(): Buffer {
    const share = Math.floor(CONNECTION_BYTES / this.#openStreams())
    const size = Math.min(MOST_PIECE, Math.max(LEAST_PIECE, share))
    const first = this.#waiting[0]!
    if (first.length >= size || this.#waiting.length === 1) {
      this.#waitingBytes -= Math.min(size, first.length)
      if (first.length <= size) this.#waiting.shift()
      else this.#waiting[0] = first.subarray(size)
      return first.length <= size ? first : first.subarray(0, size)
    }
    const all = Buffer.concat(this.#waiting)
    const piece = all.subarray(0, size)
    this.#waiting = all.length > size ? [all.subarray(size)] : []
    this.#waitingBytes -= piece.length
    return piece
  }
}
