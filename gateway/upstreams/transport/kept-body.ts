import type { BodyReader, BodySource } from './client-side.ts'

/**
 * A body can be sent again as long as no more than this was taken from the client. That covers any body that its target
 * has not begun to take, whatever its size: a window of 64 KiB, which is usual, and a piece that waits behind it.
 */
const KEPT_BYTES = 131_072

const NOTHING = Buffer.alloc(0)

/**
 * The body of a request to a target that may say, after it was sent, that it has not processed the request (RFC 9113,
 * section 8.7). Each reader gets it from its first byte, as long as what was taken of it is kept.
 */
export class KeptBody implements BodySource, BodyReader {
  readonly #source: BodySource
  /** In one piece, because each of many small ones would take more memory than its bytes. Null where it is not kept. */
  #kept: Buffer | null = NOTHING
  #bytes = 0
  /** Bytes that the present reader has got. */
  #given = 0
  #flowing = false
  #reader: BodyReader | null = null

  constructor(source: BodySource) {
    this.#source = source
  }

  /** True while all that was taken from the client is kept. */
  get isWhole(): boolean {
    return this.#kept !== null
  }

  get bodyRead(): boolean {
    return this.#source.bodyRead && !this.#isBehind
  }

  get #isBehind(): boolean {
    return this.#kept !== null && this.#given < this.#bytes
  }

  /** No further reader follows. */
  drop(): void {
    if (!this.#isBehind) this.#kept = null
  }

  readBody(reader: BodyReader): () => void {
    this.#reader = reader
    this.#given = 0
    const stop = this.#source.readBody(this)
    return () => {
      this.#reader = null
      stop()
    }
  }

  pause(): void {
    this.#flowing = false
    this.#source.pause()
  }

  resume(): void {
    this.#flowing = true
    if (this.#isBehind) {
      const piece = this.#kept!.subarray(this.#given, this.#bytes)
      this.#given = this.#bytes
      this.#reader?.onChunk(piece)
    }
    // The reader may have paused.
    if (!this.#flowing) return
    if (this.#source.bodyRead) this.#reader?.onEnd()
    else this.#source.resume()
  }

  onChunk(chunk: Buffer): void {
    this.#keep(chunk)
    this.#reader?.onChunk(chunk)
  }

  onEnd(): void {
    this.#reader?.onEnd()
  }

  onBrokenOff(error: Error): void {
    this.#reader?.onBrokenOff(error)
  }

  #keep(chunk: Buffer): void {
    if (this.#kept === null) return
    const bytes = this.#bytes + chunk.length
    if (bytes > KEPT_BYTES) {
      this.#kept = null
      return
    }
    if (bytes > this.#kept.length) {
      // Pieces that were given out are parts of the old buffer, which is not changed any more.
      const larger = Buffer.allocUnsafeSlow(Math.min(KEPT_BYTES, Math.max(bytes, 2 * this.#kept.length)))
      this.#kept.copy(larger, 0, 0, this.#bytes)
      this.#kept = larger
    }
    chunk.copy(this.#kept, this.#bytes)
    this.#bytes = bytes
    this.#given = bytes
  }
}
