import type { Socket } from 'node:net'
import type { ResponseHead } from '../../http1/heads.ts'
import type { MessageParser } from '../../http1/message-parser.ts'
import type { Disposition, MessageHandler, Outcome } from '../../http1/messages.ts'
import { ANSWER_LIMITS, InformationalCount } from './answer-limits.ts'
import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient } from './client-side.ts'
import type { Connector } from './connector.ts'
import { Deadline, type DeadlineOwner, type TimeLimit } from './deadlines.ts'
import type { Deferred } from './end-of-tick.ts'
import { type AttemptRequest, HttpAttempt } from './http-attempt.ts'
import { KEEP_ALIVE_MS, KeepAliveReader } from './keep-alive.ts'
import { RequestWriter } from './request-writer.ts'
import type { RequestHead, TargetStream } from './target-stream.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError } from './transport-errors.ts'
import { keepReadingAfterFailedWrite } from './write-failures.ts'

export interface ConnectionLimits {
  readonly connect: TimeLimit
  readonly response: TimeLimit
  readonly idle: TimeLimit
}

export interface ConnectionParts {
  readonly transport: Transport
  readonly connector: Connector
  readonly limits: ConnectionLimits
  /** False where each connection carries one exchange. */
  readonly keepAlive: boolean
}

export interface ConnectionOwner {
  /** @returns false where the connection is not to be kept for another exchange */
  onFree(connection: Http1Connection): boolean
  onClosed(connection: Http1Connection): void
}

const CONNECTING = 0
const IDLE = 1
const BUSY = 2
const CLOSED = 3

const NO_TRAILERS: readonly string[] = []

/**
 * A connection to a target over HTTP/1.1, made for an exchange, which may carry others one after the other. Nothing
 * is made anew for those.
 */
export class Http1Connection implements TargetStream, MessageHandler<ResponseHead>, DeadlineOwner, Deferred {
  nextDeferred: Deferred | null = null
  readonly reusesBuffers = true
  /** When it was begun, by the transport's clock. */
  readonly since: number
  readonly #transport: Transport
  readonly #limits: ConnectionLimits
  readonly #owner: ConnectionOwner
  readonly #socket: Socket
  readonly #parser: MessageParser<ResponseHead>
  readonly #writer: RequestWriter
  readonly #attempt: HttpAttempt
  readonly #deadline = new Deadline(this)
  readonly #informational = new InformationalCount()
  readonly #keepAlive = new KeepAliveReader()
  #state = CONNECTING
  /** It has carried an exchange before. */
  #used = false
  #awaitsEndOfTick = false
  // Of the exchange under way.
  #isHead = false
  #requestSent = false
  #writeFailed = false
  /** The target takes no more at present. */
  #blocked = false
  /** A byte of the answer was seen. */
  #answerBegan = false
  /** Its final head was seen. */
  #headSeen = false
  /** All of it was seen. */
  #answered = false
  #paused = false
  /** Nothing was seen that forbids another exchange. */
  #sound = true
  #keepAliveMs = KEEP_ALIVE_MS
  #trailers: readonly string[] = NO_TRAILERS

  constructor({ transport, connector, limits, keepAlive }: ConnectionParts, owner: ConnectionOwner) {
    const { readBuffer } = transport
    this.since = transport.now()
    this.#transport = transport
    this.#limits = limits
    this.#owner = owner
    this.#parser = transport.wire.createResponseParser(this, ANSWER_LIMITS)
    this.#attempt = new HttpAttempt(this, transport.endOfTick)
    const socket = connector.connect({
      buffer: readBuffer,
      callback: (bytes) => {
        this.#read(readBuffer.subarray(0, bytes))
        return true
      },
    })
    this.#socket = socket
    this.#writer = new RequestWriter(transport.heads, socket, !keepAlive)
    keepReadingAfterFailedWrite(socket, () => this.#onWriteFailed())
    socket.on(connector.readyEvent, () => this.#onConnected())
    socket.on('drain', () => this.#onDrained())
    socket.on('end', () => this.#onEnded())
    socket.on('error', (error) => this.#onBroken(error))
    socket.on('close', () => this.#onBroken(undefined))
    limits.connect.start(this.#deadline)
  }

  /** Begins an exchange. To be called once it was made, and again each time it is free. */
  begin(client: AttemptClient, request: AttemptRequest, onOutcome: (outcome: HttpOutcome) => void): void {
    this.#isHead = client.request.method === 'HEAD'
    this.#requestSent = false
    this.#blocked = false
    this.#answerBegan = false
    this.#headSeen = false
    this.#answered = false
    this.#trailers = NO_TRAILERS
    this.#informational.reset()
    this.#attempt.begin(client, request, onOutcome)
    if (this.#state === CONNECTING) return
    this.#state = BUSY
    this.#deadline.stop()
    this.#attempt.onReady()
  }

  sendHead(method: string, head: RequestHead): void {
    this.#writer.writeHead(method, head)
    if (!head.hasBody) this.#startWaiting()
    else if (!this.#awaitsEndOfTick) {
      this.#awaitsEndOfTick = true
      this.#transport.endOfTick.add(this)
    }
  }

  /** The body's first piece has not come with the head. */
  onEndOfTick(): void {
    this.#awaitsEndOfTick = false
    if (this.#state === BUSY) this.#writer.flushHead()
  }

  write(chunk: Buffer): boolean {
    if (this.#writeFailed) return true
    try {
      if (this.#writer.writeBody(chunk)) return true
    } catch (error) {
      this.#fail(new TransportError('invalid', { cause: error, detail: 'the request' }))
      return true
    }
    this.#blocked = true
    if (!this.#headSeen) this.#limits.idle.start(this.#deadline)
    return false
  }

  endRequest(): void {
    if (this.#writeFailed) return
    try {
      this.#writer.end()
    } catch (error) {
      this.#fail(new TransportError('invalid', { cause: error, detail: 'the request' }))
      return
    }
    this.#startWaiting()
  }

  pause(): void {
    this.#paused = true
    this.#deadline.stop()
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#state === BUSY && !this.#answered) this.#limits.idle.start(this.#deadline)
    this.#socket.resume()
  }

  release(): void {
    if (this.#state === CLOSED) return
    const complete = this.#requestSent && this.#answered && this.#sound && !this.#writeFailed
    if (complete && this.#parser.keepAlive && this.#keepAliveMs > 0) {
      this.resume()
      this.#state = IDLE
      this.#used = true
      this.#transport.limits.of(this.#keepAliveMs).start(this.#deadline)
      if (this.#owner.onFree(this)) return
    }
    this.close()
  }

  /** Breaks off what is under way, untold. */
  close(): void {
    if (this.#state === CLOSED) return
    this.#state = CLOSED
    this.#deadline.stop()
    this.#writer.reset()
    this.#parser.close()
    this.#socket.destroy()
    this.#owner.onClosed(this)
  }

  onDeadline(): void {
    if (this.#state === CONNECTING) this.#fail(new TransportError('connect_timeout'))
    else if (this.#state === IDLE) this.close()
    else if (this.#answered) return
    else this.#fail(new TransportError(this.#headSeen || this.#blocked ? 'idle_timeout' : 'response_timeout'))
  }

  onHead(head: ResponseHead): Disposition {
    const { status, reason, fields } = head
    if (status < 200) this.#inform(status, fields)
    else {
      this.#headSeen = true
      this.#keepAliveMs = this.#keepAlive.read(fields)
      this.#attempt.onAnswer(status, reason, fields)
    }
    return this.#isHead ? 'skip' : 'read'
  }

  onBody(bytes: Buffer): void {
    this.#attempt.onAnswerBody(bytes)
  }

  onEnd(trailers: readonly string[]): void {
    this.#trailers = trailers
  }

  #inform(status: number, fields: readonly string[]): void {
    this.#informational.add(fields)
    // The gateway answers `Expect` itself: nobody has asked for a 100. Of a 101 the parser says so.
    if (status !== 100 && status !== 101) this.#attempt.onInformation(status, fields)
  }

  #onConnected(): void {
    if (this.#state !== CONNECTING) return
    this.#state = BUSY
    this.#deadline.stop()
    this.#attempt.onReady()
  }

  #startWaiting(): void {
    this.#requestSent = true
    if (this.#state !== BUSY || this.#headSeen) return
    this.#blocked = this.#socket.writableNeedDrain
    const limit = this.#blocked ? this.#limits.idle : this.#limits.response
    limit.start(this.#deadline)
  }

  #onDrained(): void {
    if (!this.#blocked || this.#state !== BUSY || this.#answered) return
    this.#blocked = false
    if (this.#requestSent) this.#startWaiting()
    else {
      if (!this.#headSeen) this.#deadline.stop()
      this.#attempt.onWritable()
    }
  }

  /** The answer may be on its way or here already: what was received can be read though nothing can be sent. */
  #onWriteFailed(): void {
    if (this.#state !== BUSY || this.#writeFailed) return
    this.#writeFailed = true
    this.#blocked = false
    if (!this.#headSeen) this.#limits.response.start(this.#deadline)
    this.#attempt.onRequestRefused()
  }

  #read(bytes: Buffer): void {
    if (this.#state !== BUSY) {
      // Nobody asked for them: they would be taken for the answer to the next request.
      this.close()
      return
    }
    if (this.#answered) {
      this.#sound = false
      return
    }
    if (this.#writer.holdsHead) {
      this.#fail(new TransportError('reset', { detail: 'an answer before the request' }))
      return
    }
    this.#answerBegan = true
    let outcome: Outcome
    try {
      outcome = this.#parser.execute(bytes)
    } catch (error) {
      this.#fail(error instanceof TransportError ? error : new TransportError('invalid', { cause: error }))
      return
    }
    if (outcome === 'ended') {
      if (this.#parser.position < bytes.length) this.#sound = false
      this.#conclude()
    } else if (outcome === 'error') {
      this.#fail(new TransportError('invalid', { detail: this.#parser.error?.reason ?? '' }))
    } else if (outcome === 'more' && this.#headSeen && !this.#paused) this.#limits.idle.start(this.#deadline)
  }

  #conclude(): void {
    this.#answered = true
    try {
      this.#attempt.onAnswerEnd(this.#trailers)
    } catch (error) {
      this.#fail(new TransportError('invalid', { cause: error }))
    }
  }

  /** The target sends nothing more. */
  #onEnded(): void {
    if (this.#state !== BUSY || this.#answered) {
      this.#onBroken(undefined)
      return
    }
    this.#sound = false
    // What ends with its connection is whole only where nothing has gone wrong with that.
    if (this.#parser.finish() === 'ended' && !this.#writeFailed) this.#conclude()
    else this.#fail(new TransportError('reset'))
  }

  #onBroken(error: Error | undefined): void {
    if (this.#state === CONNECTING) {
      // The end of a connection whose handshake is not done is followed by its error.
      if (error !== undefined || this.#socket.destroyed) this.#fail(faultOf(error, 'connect_failed'))
    } else if (this.#state === IDLE) this.close()
    else if (this.#answered) this.#sound = false
    else if (this.#state === BUSY) this.#fail(faultOf(error, 'reset'))
  }

  #fail(error: TransportError): void {
    const unconnected = this.#state === CONNECTING
    const answerBegan = this.#answerBegan
    const stale = this.#used && !answerBegan && error.code === 'reset'
    this.close()
    this.#attempt.onFailure(error, { unconnected, unprocessed: false, answerBegan, stale })
  }
}
