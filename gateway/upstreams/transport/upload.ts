import type { AttemptClient, BodyReader } from './client-side.ts'
import type { TargetStream } from './target-stream.ts'

export interface UploadOwner {
  /** The client sent more than the route allows. The upload has stopped. */
  onTooLarge(): void
  /** The client broke its request off. The upload has stopped. */
  onBrokenOff(): void
}

/**
 * Sends the bodies of requests to a target, one after the other, with backpressure. Nothing is read from the client
 * before a connection is there, so that a refused one leaves the body whole for another target.
 */
export class Upload implements BodyReader {
  readonly #owner: UploadOwner
  readonly #stream: TargetStream
  #client: AttemptClient | null = null
  #stopReading: (() => void) | null = null
  #left = 0
  #touched = false

  constructor(owner: UploadOwner, stream: TargetStream) {
    this.#owner = owner
    this.#stream = stream
  }

  /** True once a byte was taken from the client. */
  get touched(): boolean {
    return this.#touched
  }

  prepare(): void {
    this.#touched = false
  }

  /** @param maxBytes `Infinity` where there is no bound */
  start(client: AttemptClient, maxBytes: number): void {
    const { request } = client
    this.#client = client
    this.#left = maxBytes
    this.#stopReading = request.readBody(this)
    // An earlier attempt has read it to its end and found it empty.
    if (request.bodyRead) this.onEnd()
    else request.resume()
  }

  /** Reads no more. What was not touched is there for another attempt. */
  stop(): void {
    const client = this.#client
    if (client === null) return
    this.#finish()
    // The next attempt gets all of a body that was not touched. The rest of another one is read and discarded, or the
    // client's connection would stand still.
    if (this.#touched) client.request.resume()
    else client.request.pause()
  }

  /** The target takes more. */
  goOn(): void {
    this.#client?.request.resume()
  }

  onChunk(chunk: Buffer): void {
    const client = this.#client
    if (client === null) return
    this.#touched = true
    client.record.bytesIn += chunk.length
    this.#left -= chunk.length
    if (this.#left < 0) {
      this.stop()
      this.#owner.onTooLarge()
    } else if (!this.#stream.write(chunk) && this.#client !== null) client.request.pause()
  }

  onEnd(): void {
    if (this.#client === null) return
    this.#finish()
    this.#stream.endRequest()
  }

  onBrokenOff(): void {
    if (this.#client === null) return
    this.#finish()
    this.#owner.onBrokenOff()
  }

  #finish(): void {
    this.#client = null
    this.#stopReading?.()
    this.#stopReading = null
  }
}
