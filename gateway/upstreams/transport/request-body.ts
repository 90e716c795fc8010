import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'

/** The client sent more than the route allows. */
export class BodyTooLargeError extends Error {
  override readonly name = 'BodyTooLargeError'
}

/**
 * A request's body as the hop reads it. It stands between undici and the request for two reasons: undici
 * destroys the body of an exchange that fails, which would take the client's connection along before it could
 * be answered; and nothing is read from the client before a connection to the target asks for it, so that a
 * refused connection leaves the body whole for another target.
 */
export class RequestBody extends Readable {
  readonly #req: IncomingMessage
  readonly #maxBytes: number
  readonly #onBytes: (bytes: number) => void
  #taken = 0
  #started = false

  /** @param onBytes told of each piece that is taken from the client */
  constructor(req: IncomingMessage, maxBytes: number, onBytes: (bytes: number) => void) {
    super()
    this.#req = req
    this.#maxBytes = maxBytes
    this.#onBytes = onBytes
  }

  /** True once a byte was taken from the client. */
  get touched(): boolean {
    return this.#taken > 0
  }

  override _read(): void {
    if (!this.#started) {
      this.#started = true
      const req = this.#req
      req.on('data', this.#onData)
      req.on('end', this.#onEnd)
      req.on('error', this.#onError)
      req.on('close', this.#onClose)
    }
    // Read to its end by an earlier try, which found it empty.
    if (this.#req.readableEnded) this.push(null)
    else this.#req.resume()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const req = this.#req
    req.off('data', this.#onData)
    req.off('end', this.#onEnd)
    req.off('close', this.#onClose)
    // Of a body that nobody has taken anything of, the next try gets all. What the client still sends of another is
    // read and thrown away, or its connection would stand still.
    if (this.#taken > 0) req.resume()
    else if (this.#started) req.pause()
    callback(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#taken += chunk.length
    this.#onBytes(chunk.length)
    if (this.#taken > this.#maxBytes)
      this.destroy(new BodyTooLargeError('the body is larger than the route allows'))
    else if (!this.push(chunk)) this.#req.pause()
  }

  readonly #onEnd = (): void => {
    this.push(null)
  }

  readonly #onError = (error: Error): void => {
    this.destroy(error)
  }

  /** A request that closes before its end was broken off, also where Node has no error to tell. */
  readonly #onClose = (): void => {
    if (!this.#req.complete) this.destroy(new Error('the client broke its request off'))
  }
}
