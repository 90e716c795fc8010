import { Readable } from 'node:stream'
import type { BodyReader, ClientRequest } from './client-side.ts'

/** The client sent more than the route allows. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError'
}

/**
 * A request's body as an attempt sends it. It stands between undici and the request for two reasons: undici
 * destroys the body of an exchange that fails, which would take the client's connection along before it could
 * be answered; and nothing is read from the client before a connection to the target asks for it, so that a
 * refused connection leaves the body whole for another target.
 */
export class RequestBody extends Readable implements BodyReader {
  readonly #request: ClientRequest
  readonly #maxBytes: number
  readonly #onBytes: (bytes: number) => void
  #taken = 0
  #stopReading: (() => void) | null = null

  /** @param onBytes called for each piece that is taken from the client, with its size */
  constructor(request: ClientRequest, maxBytes: number, onBytes: (bytes: number) => void) {
    super()
    this.#request = request
    this.#maxBytes = maxBytes
    this.#onBytes = onBytes
  }

  /** True once a byte was taken from the client. */
  get touched(): boolean {
    return this.#taken > 0
  }

  override _read(): void {
    this.#stopReading ??= this.#request.readBody(this)
    // An earlier attempt has read it to its end and found it empty.
    if (this.#request.bodyRead) this.push(null)
    else this.#request.resume()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#stopReading?.()
    // Of a body that nobody has taken anything of, the next attempt gets all. What the client still sends of another
    // is read and thrown away, or its connection would stand still.
    if (this.#taken > 0) this.#request.resume()
    else if (this.#stopReading !== null) this.#request.pause()
    callback(error)
  }

  onChunk(chunk: Buffer): void {
    this.#taken += chunk.length
    this.#onBytes(chunk.length)
    if (this.#taken > this.#maxBytes)
      this.destroy(new BodyTooLargeError('the body is larger than the route allows'))
    else if (!this.push(chunk)) this.#request.pause()
  }

  onEnd(): void {
    this.push(null)
  }

  onBrokenOff(error: Error): void {
    this.destroy(error)
  }
}
