import type { HeaderEdits } from '../../http/headers.ts'
import { AnswerRelay, type AnswerSource } from './answer-relay.ts'
import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient, ClientWatcher } from './client-side.ts'
import type { EndOfTick } from './end-of-tick.ts'
import type { KeptBody } from './kept-body.ts'
import type { FailureFacts, RequestHead, StreamHandler, TargetStream } from './target-stream.ts'
import { TransportError, upstreamErrorCode } from './transport-errors.ts'
import { Upload, type UploadOwner } from './upload.ts'

/** What is sent to a target. */
export interface AttemptRequest extends RequestHead {
  /** Bytes of body that pass; one more ends the exchange. `Infinity` where the route sets no bound. */
  readonly maxBodyBytes: number
  /** The body, where it may have to be sent again; without it the body comes straight from the client. */
  readonly keptBody?: KeptBody | null
  readonly responseEdits: HeaderEdits | null
}

/** A failure once the answer has begun. */
export const IN_ANSWER: FailureFacts = {
  unconnected: false,
  unprocessed: false,
  answerBegan: true,
  stale: false,
}

/**
 * Sends one request to one target and streams the answer to the client, with backpressure both ways. A connection uses
 * the same one for all its exchanges.
 *
 * Its result is the outcome. Where that is a failure before the answer began, nothing was written to the client. After
 * that the caller has to abort the client's response.
 */
export class HttpAttempt implements StreamHandler, AnswerSource, UploadOwner, ClientWatcher {
  readonly reusesBuffers: boolean
  readonly #stream: TargetStream
  readonly #relay: AnswerRelay
  readonly #upload: Upload
  #client: AttemptClient | null = null
  #request: AttemptRequest | null = null
  #onOutcome: ((outcome: HttpOutcome) => void) | null = null

  constructor(stream: TargetStream, endOfTick: EndOfTick) {
    this.reusesBuffers = stream.reusesBuffers
    this.#stream = stream
    this.#relay = new AnswerRelay(this, endOfTick)
    this.#upload = new Upload(this, stream)
  }

  /**
   * To be followed by `onReady` once the connection is there.
   *
   * @param onOutcome called once
   */
  begin(client: AttemptClient, request: AttemptRequest, onOutcome: (outcome: HttpOutcome) => void): void {
    this.#client = client
    this.#request = request
    this.#onOutcome = onOutcome
    this.#relay.begin(client, request.responseEdits)
    this.#upload.prepare()
    client.watcher = this
  }

  clientClosed(): void {
    if (this.#client === null || this.#client.response.writableFinished) return
    this.#settle({ kind: 'client-gone' })
  }

  onReady(): void {
    const client = this.#client!
    const request = this.#request!
    try {
      this.#stream.sendHead(client.request.method, request)
    } catch (error) {
      this.onUnsendable(error)
      return
    }
    if (request.hasBody) this.#upload.start(client, request)
  }

  onInformation(status: number, fields: readonly string[]): void {
    this.#request!.keptBody?.drop()
    this.#relay.passInformation(status, fields)
  }

  onAnswer(status: number, reason: string | undefined, fields: readonly string[]): void {
    this.#request!.keptBody?.drop()
    this.#relay.passHead(status, reason, fields)
  }

  onAnswerBody(bytes: Buffer): void {
    this.#relay.passBody(bytes)
  }

  onAnswerEnd(trailers: readonly string[]): void {
    this.#relay.passEnd(trailers)
  }

  onWritable(): void {
    this.#upload.goOn()
  }

  onRequestRefused(): void {
    this.#upload.stop()
  }

  onUnsendable(cause: unknown): void {
    this.#settle({ kind: 'unsendable', cause })
  }

  onUnplaced(): void {
    this.#settle({ kind: 'unplaced' })
  }

  onFailure(error: TransportError, facts: FailureFacts): void {
    if (this.#client === null) return
    const { request, response } = this.#client
    if (request.brokenOff || response.destroyed) {
      this.#settle({ kind: 'client-gone' })
      return
    }
    this.#settle({
      kind: 'failed',
      code: upstreamErrorCode(error),
      cause: error,
      bodyTouched: this.#upload.touched,
      bodyKept: this.#request!.keptBody?.isWhole ?? false,
      ...facts,
    })
  }

  onTooLarge(): void {
    this.#settle({ kind: 'body-too-large' })
  }

  onBrokenOff(): void {
    this.#settle({ kind: 'client-gone' })
  }

  pauseAnswer(): void {
    this.#stream.pause()
  }

  resumeAnswer(): void {
    this.#stream.resume()
  }

  onPassed(status: number): void {
    this.#settle({ kind: 'answered', status })
  }

  onUnpassable(error: unknown): void {
    this.onFailure(new TransportError('invalid', { cause: error }), IN_ANSWER)
  }

  #settle(outcome: HttpOutcome): void {
    const onOutcome = this.#onOutcome
    if (onOutcome === null) return
    this.#client!.watcher = null
    this.#upload.stop()
    this.#relay.stop()
    this.#client = null
    this.#request = null
    this.#onOutcome = null
    this.#stream.release()
    onOutcome(outcome)
  }
}
