import type { Socket } from 'node:net'

/**
 * Bytes of a client's that were read and not looked at yet: what it sends behind its request, or of a body that nobody
 * takes at present. Past the bound they stay in the socket, until some were taken.
 */
export class ReadAhead {
  readonly #socket: Socket
  readonly #maxBytes: number
  #bytes: Buffer | null = null
  #paused = false

  constructor(socket: Socket, maxBytes: number) {
    this.#socket = socket
    this.#maxBytes = maxBytes
  }

  get isEmpty(): boolean {
    return this.#bytes === null
  }

  /** @param bytes not empty */
  keep(bytes: Buffer): void {
    this.#bytes = this.#bytes === null ? bytes : Buffer.concat([this.#bytes, bytes])
    if (this.#bytes.length < this.#maxBytes || this.#paused) return
    this.#paused = true
    this.#socket.pause()
  }

  /** @returns what is kept, which is kept no more; null where there is nothing */
  take(): Buffer | null {
    const bytes = this.#bytes
    this.#bytes = null
    return bytes
  }

  /** Reads on where there is room again. */
  goOn(): void {
    if (!this.#paused || (this.#bytes !== null && this.#bytes.length >= this.#maxBytes)) return
    this.#paused = false
    this.#socket.resume()
  }
}
