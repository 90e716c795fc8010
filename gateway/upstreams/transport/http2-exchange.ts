import { type ClientHttp2Stream, constants, type OutgoingHttpHeaders } from 'node:http2'
import { InformationalCount } from './answer-limits.ts'
import { HttpAttempt, IN_ANSWER } from './http-attempt.ts'
import { requestFields, withoutPseudoFields } from './http2-fields.ts'
import { UploadHold } from './http2-taken-streams.ts'
import type { RequestHead, TargetStream } from './target-stream.ts'
import { TimeLimit } from './time-limit.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError } from './transport-errors.ts'

export interface Http2ExchangeOptions {
  readonly origin: string
  readonly responseMs: number
  readonly idleMs: number
  readonly transport: Transport
}

/** A connection, as an exchange on it sees it. */
export interface StreamOwner {
  request(fields: OutgoingHttpHeaders, endStream: boolean): ClientHttp2Stream
  /** Bytes that were read of it so far. */
  readonly bytesRead: number
  /** It was given up, since the target did not answer at all. */
  readonly isLost: boolean
  /** Ends a stream that is not over. */
  reset(stream: ClientHttp2Stream): void
  /** Waits until the streams begun so far are taken or left out. @returns false where there is no doubt, or no way */
  confirm(onTaken: () => void): boolean
  /** False where the target has said that it does nothing for this stream (RFC 9113, sections 6.8 and 8.7). */
  mayProcess(stream: ClientHttp2Stream): boolean
  /** @param bytesBefore `bytesRead` when the exchange that has timed out began */
  onTimeout(bytesBefore: number): void
  /** The exchange is over, or does not wait any more. */
  leave(exchange: Http2Exchange): void
}

/** One exchange on a stream of a connection of HTTP/2. */
export class Http2Exchange implements TargetStream {
  readonly reusesBuffers = false
  readonly attempt: HttpAttempt
  readonly #options: Http2ExchangeOptions
  readonly #informational = new InformationalCount()
  /** Node's own for a stream is put off by all that is sent on the same connection. */
  readonly #limit: TimeLimit
  readonly #hold = new UploadHold(() => this.#onReleased())
  /** The one that it is on, or waits for. */
  #connection: StreamOwner | null = null
  #stream: ClientHttp2Stream | null = null
  #bytesBefore = 0
  #answerBegan = false
  #answered = false
  #requestSent = false
  #done = false
  #trailers: readonly string[] = []

  constructor(options: Http2ExchangeOptions) {
    this.#options = options
    this.attempt = new HttpAttempt(this, options.transport.endOfTick)
    this.#limit = new TimeLimit(options.transport.deadlines, () => this.#onTimeout())
  }

  /** @param connection the one that it is to begin on; null for none */
  waitFor(connection: StreamOwner | null): void {
    this.#connection = connection
  }

  start(connection: StreamOwner): void {
    this.#connection = connection
    this.attempt.onReady()
  }

  /** No connection came about. */
  refuse(error: TransportError): void {
    this.#connection = null
    this.#done = true
    this.attempt.onFailure(error, { unconnected: true, unprocessed: false, answerBegan: false, stale: false })
  }

  /** No connection has a stream for it. */
  leaveUnplaced(): void {
    this.#done = true
    this.attempt.onUnplaced()
  }

  sendHead(method: string, head: RequestHead): void {
    const fields = requestFields(method, head, this.#options.origin)
    this.#bytesBefore = this.#connection!.bytesRead
    const stream = this.#connection!.request(fields, !head.hasBody)
    this.#stream = stream
    this.#requestSent = !head.hasBody
    this.#startLimit()
    stream.on('headers', (headers, _flags, raw) =>
      this.#onInformation(Number(headers[':status']), raw as never),
    )
    stream.on('response', (headers, flags, raw) => {
      this.#answered = true
      this.#hold.release()
      this.#startLimit()
      this.#onAnswer(Number(headers[':status']), raw as never)
      // Concluded in the same tick, so that it ends with its head for the client too: gRPC requires that of a response
      // that is nothing but trailers.
      if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) this.#conclude()
    })
    stream.on('data', (chunk: Buffer) => this.#onBody(chunk))
    stream.on('trailers', (_headers: unknown, _flags: unknown, raw: string[]) => {
      this.#trailers = withoutPseudoFields(raw)
    })
    stream.on('drain', () => {
      if (this.#done) return
      if (!this.#answered) this.#startLimit()
      if (!this.#hold.isHolding) this.attempt.onWritable()
    })
    // The event for trailers that came with the end follows in this tick.
    stream.once('end', () => setImmediate(() => this.#finish(stream)))
    stream.on('error', (error) =>
      this.#fail(error instanceof TransportError ? error : faultOf(error, 'reset')),
    )
    stream.once('close', () => setImmediate(() => this.#finish(stream)))
  }

  write(chunk: Buffer): boolean {
    const stream = this.#stream!
    if (stream.destroyed || stream.writableEnded) return true
    const takesMore = stream.write(chunk)
    if (!takesMore && !this.#answered) this.#startLimit()
    this.#hold.onSent(chunk.length, () => this.#connection!.confirm(() => this.#onTaken()))
    return takesMore && !this.#hold.isHolding
  }

  endRequest(): void {
    this.#requestSent = true
    const stream = this.#stream!
    if (!stream.destroyed) stream.end()
    if (!this.#answered) this.#startLimit()
  }

  /** What the target has left out is to be sent again, so no more of it is taken from the client. */
  #onTaken(): void {
    if (this.#stream !== null && this.#connection?.mayProcess(this.#stream)) this.#hold.release()
  }

  #onReleased(): void {
    if (!this.#done && !this.#stream!.writableNeedDrain) this.attempt.onWritable()
  }

  pause(): void {
    this.#stream?.pause()
  }

  resume(): void {
    if (this.#answered) this.#startLimit()
    this.#stream?.resume()
  }

  release(): void {
    const connection = this.#connection
    this.#connection = null
    if (!this.#done || !this.#requestSent) {
      this.#stop()
      if (this.#stream !== null) connection!.reset(this.#stream)
    }
    connection?.leave(this)
  }

  /**
   * Of what the target is to do next: to take what waits of the request, then to answer, then to send more of its answer.
   * As over HTTP/1.1 only the second has the time of an answer.
   */
  #startLimit(): void {
    if (this.#done) return
    const { responseMs, idleMs } = this.#options
    this.#limit.start(this.#answered || this.#stream!.writableNeedDrain ? idleMs : responseMs)
  }

  /**
   * The time is the target's: it does not count while the client takes no more of the answer, or, before there is one,
   * sends no more of its body.
   */
  #onTimeout(): void {
    const stream = this.#stream!
    const isBlocked = stream.writableNeedDrain
    const waitsForBody = !this.#answered && !this.#requestSent && !isBlocked
    if (stream.isPaused() || waitsForBody) {
      this.#startLimit()
      return
    }
    this.#connection?.onTimeout(this.#bytesBefore)
    this.#fail(new TransportError(this.#answered || isBlocked ? 'idle_timeout' : 'response_timeout'))
  }

  #onInformation(status: number, raw: readonly string[]): void {
    if (this.#done) return
    this.#answerBegan = true
    try {
      const fields = withoutPseudoFields(raw)
      this.#informational.add(fields)
      if (status !== constants.HTTP_STATUS_CONTINUE) this.attempt.onInformation(status, fields)
    } catch (error) {
      this.#failBy(error)
    }
  }

  #onAnswer(status: number, raw: readonly string[]): void {
    if (this.#done) return
    this.#answerBegan = true
    try {
      this.attempt.onAnswer(status, undefined, withoutPseudoFields(raw))
    } catch (error) {
      this.#failBy(error)
    }
  }

  #onBody(chunk: Buffer): void {
    if (this.#done) return
    this.#startLimit()
    try {
      this.attempt.onAnswerBody(chunk)
    } catch (error) {
      this.#failBy(error)
    }
  }

  #finish(stream: ClientHttp2Stream): void {
    if (this.#done) return
    // A stream that was reset ends, too; only this distinguishes it from a whole one.
    if (!this.#answered || stream.rstCode !== constants.NGHTTP2_NO_ERROR || !stream.readableEnded) {
      this.#fail(new TransportError('reset', { detail: 'the stream was reset' }))
      return
    }
    this.#conclude()
  }

  #conclude(): void {
    if (this.#done) return
    try {
      this.#stop()
      this.attempt.onAnswerEnd(this.#trailers)
    } catch (error) {
      this.attempt.onFailure(asFault(error), IN_ANSWER)
    }
  }

  #failBy(error: unknown): void {
    this.#fail(asFault(error))
  }

  #fail(error: TransportError): void {
    if (this.#done) return
    this.#stop()
    const stream = this.#stream!
    const { isLost } = this.#connection!
    const refused =
      stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || !this.#connection!.mayProcess(stream)
    this.#connection!.reset(stream)
    this.attempt.onFailure(error, {
      unconnected: false,
      unprocessed: refused && !this.#answerBegan,
      answerBegan: this.#answerBegan,
      stale: isLost && !this.#answerBegan,
    })
  }

  #stop(): void {
    this.#done = true
    this.#limit.close()
  }
}

/** A head that the client's side cannot be given is a fault of the target; thrown on it would end the process. */
function asFault(error: unknown): TransportError {
  return error instanceof TransportError ? error : new TransportError('invalid', { cause: error })
}
