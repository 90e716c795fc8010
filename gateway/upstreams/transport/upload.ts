import type { AttemptClient, AttemptRecord, BodyReader, BodySource } from './client-side.ts'
import type { KeptBody } from './kept-body.ts'
import type { TargetStream } from './target-stream.ts'

export interface UploadOptions {
  /** `Infinity` where there is no bound. */
  readonly maxBodyBytes: number
  /** Read in place of the client's request. */
  readonly keptBody?: KeptBody | null
}

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
  #record: AttemptRecord | null = null
  #body: BodySource | null = null
  #kept: KeptBody | null = null
  #stopReading: (() => void) | null = null
  #taken = 0
  #maxBytes = 0
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

  start({ request, record }: AttemptClient, { keptBody = null, maxBodyBytes }: UploadOptions): void {
    const body = keptBody ?? request
    this.#record = record
    this.#body = body
    this.#kept = keptBody
    this.#taken = 0
    this.#maxBytes = maxBodyBytes
    this.#stopReading = body.readBody(this)
    // An earlier attempt has read it to its end and found it empty.
    if (body.bodyRead) this.onEnd()
    else body.resume()
  }

  /** Reads no more. What was not touched, or was kept, is there for another attempt. */
  stop(): void {
    const body = this.#body
    if (body === null) return
    const isThere = !this.#touched || (this.#kept?.isWhole ?? false)
    this.#finish()
    // The next attempt gets all of a body that is still there. The rest of another one is read and discarded, or the
    // client's connection would stand still.
    if (isThere) body.pause()
    else body.resume()
  }

  /** The target takes more. */
  goOn(): void {
    this.#body?.resume()
  }

  onChunk(chunk: Buffer): void {
    const body = this.#body
    if (body === null) return
    const record = this.#record!
    this.#touched = true
    this.#taken += chunk.length
    // Not those that an earlier attempt has counted.
    record.bytesIn = Math.max(record.bytesIn, this.#taken)
    if (this.#taken > this.#maxBytes) {
      this.stop()
      this.#owner.onTooLarge()
    } else if (!this.#stream.write(chunk) && this.#body !== null) body.pause()
  }

  onEnd(): void {
    if (this.#body === null) return
    this.#finish()
    this.#stream.endRequest()
  }

  onBrokenOff(): void {
    if (this.#body === null) return
    this.#finish()
    this.#owner.onBrokenOff()
  }

  #finish(): void {
    this.#body = null
    this.#record = null
    this.#kept = null
    this.#stopReading?.()
    this.#stopReading = null
  }
}
