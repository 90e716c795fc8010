import type { Socket } from 'node:net'
import { AnswerReader } from './answer-reader.ts'
import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient } from './client-side.ts'
import { triesConnectionLogin } from './connection-logins.ts'
import type { ConnectHandler, Connector, PendingConnection } from './connector.ts'
import type { Deferred } from './end-of-tick.ts'
import { type AttemptRequest, HttpAttempt } from './http-attempt.ts'
import { RequestWriter } from './request-writer.ts'
import type { TargetOptions } from './target-connections.ts'
import type { RequestHead, TargetStream } from './target-stream.ts'
import { TimeLimit } from './time-limit.ts'
import type { Transport } from './transport.ts'
import { faultOf, TransportError } from './transport-errors.ts'
import { keepReadingAfterFailedWrite } from './write-failures.ts'

export interface ConnectionParts {
  readonly transport: Transport
  readonly connector: Connector
  readonly limits: Pick<TargetOptions, 'connectMs' | 'responseMs' | 'idleMs'>
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

/**
 * A connection to a target over HTTP/1.1. It is opened for one exchange and may carry others one after the other, for
 * which nothing is created anew.
 */
export class Http1Connection implements TargetStream, ConnectHandler, Deferred {
  nextDeferred: Deferred | null = null
  readonly reusesBuffers = true
  /** When it was begun, by the transport's clock. */
  readonly since: number
  readonly #parts: ConnectionParts
  readonly #owner: ConnectionOwner
  readonly #pending: PendingConnection
  /** Null until it is connected, like the writer. */
  #socket: Socket | null = null
  #writer: RequestWriter | null = null
  readonly #attempt: HttpAttempt
  readonly #reader: AnswerReader
  readonly #limit: TimeLimit
  #state = CONNECTING
  /** It has carried an exchange before. */
  #used = false
  #awaitsEndOfTick = false
  /** What it means for the exchange under way when the deadline passes. */
  #fault: 'response_timeout' | 'idle_timeout' = 'response_timeout'
  /** The request tries to log the connection in. */
  #logsIn = false
  #requestSent = false
  #writeFailed = false
  /** The target takes no more of the request at present. */
  #blocked = false
  /** The client takes no more of the answer at present. */
  #paused = false

  constructor(parts: ConnectionParts, owner: ConnectionOwner) {
    const { transport, connector, limits } = parts
    const { readBuffer } = transport
    this.since = transport.now()
    this.#parts = parts
    this.#owner = owner
    this.#attempt = new HttpAttempt(this, transport.endOfTick)
    this.#reader = new AnswerReader(transport.wire, this.#attempt)
    this.#limit = new TimeLimit(transport.deadlines, () => this.#onLimit())
    const callback = (bytes: number) => {
      this.#read(readBuffer.subarray(0, bytes))
      return true
    }
    const options = { connectMs: limits.connectMs, reads: { buffer: readBuffer, callback } }
    this.#pending = connector.connect(options, this)
  }

  onConnected(socket: Socket): void {
    const { transport, keepAlive } = this.#parts
    this.#socket = socket
    this.#writer = new RequestWriter(transport.heads, socket, !keepAlive)
    keepReadingAfterFailedWrite(socket, () => this.#onWriteFailed())
    socket.on('drain', () => this.#onDrained())
    socket.on('end', () => this.#onEnded())
    socket.on('error', (error) => this.#onBroken(error))
    socket.on('close', () => this.#onBroken(undefined))
    this.#start()
  }

  onFailed(error: TransportError): void {
    this.#fail(error)
  }

  /** Begins an exchange. Called after the connection was created, and again each time it is free. */
  begin(client: AttemptClient, request: AttemptRequest, onOutcome: (outcome: HttpOutcome) => void): void {
    this.#requestSent = false
    this.#blocked = false
    this.#reader.begin(client.request.method)
    this.#attempt.begin(client, request, onOutcome)
    if (this.#state === IDLE) this.#start()
  }

  /**
   * The head waits for the end of the tick: for the first piece of its body, and because the writes of one tick cost
   * less when they follow each other (`end-of-tick.ts`). That saved 7 to 12% of the CPU of a request.
   */
  sendHead(method: string, head: RequestHead): void {
    this.#logsIn = triesConnectionLogin(head.headers)
    this.#writer!.setHead(method, head)
    if (!head.hasBody) this.#startWaiting()
    if (this.#awaitsEndOfTick) return
    this.#awaitsEndOfTick = true
    this.#parts.transport.endOfTick.add(this)
  }

  onEndOfTick(): void {
    this.#awaitsEndOfTick = false
    if (this.#state === BUSY) this.#writer!.flushHead()
  }

  write(chunk: Buffer): boolean {
    if (this.#writeFailed) return true
    try {
      if (this.#writer!.writeBody(chunk)) return true
    } catch (error) {
      this.#giveUpRequest(error)
      return true
    }
    this.#blocked = true
    if (!this.#reader.headSeen) this.#startLimit('idle_timeout')
    return false
  }

  endRequest(): void {
    if (this.#writeFailed) return
    try {
      this.#writer!.end()
      this.#startWaiting()
    } catch (error) {
      this.#giveUpRequest(error)
    }
  }

  pause(): void {
    this.#paused = true
    this.#limit.stop()
    this.#socket!.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#state === BUSY && !this.#reader.complete) this.#startLimit('idle_timeout')
    this.#socket!.resume()
  }

  release(): void {
    const { keepAliveMs } = this.#reader
    if (this.#state === BUSY && this.#requestSent && !this.#writeFailed && !this.#logsIn && keepAliveMs > 0) {
      this.resume()
      this.#state = IDLE
      this.#used = true
      this.#limit.start(keepAliveMs)
      if (this.#owner.onFree(this)) return
    }
    this.close()
  }

  /** Closes the connection. An exchange that is under way is broken off; its attempt is not called. */
  close(): void {
    if (this.#state === CLOSED) return
    this.#state = CLOSED
    this.#limit.close()
    this.#reader.close()
    this.#pending.close()
    this.#socket?.destroy()
    this.#owner.onClosed(this)
  }

  #onLimit(): void {
    if (this.#state === IDLE) this.close()
    else if (!this.#reader.complete) this.#fail(new TransportError(this.#fault))
  }

  #startLimit(fault: 'response_timeout' | 'idle_timeout'): void {
    const { responseMs, idleMs } = this.#parts.limits
    this.#fault = fault
    this.#limit.start(fault === 'idle_timeout' ? idleMs : responseMs)
  }

  #start(): void {
    this.#state = BUSY
    this.#limit.stop()
    this.#attempt.onReady()
  }

  #startWaiting(): void {
    this.#requestSent = true
    if (this.#state !== BUSY || this.#reader.headSeen) return
    this.#blocked = this.#socket!.writableNeedDrain
    this.#startLimit(this.#blocked ? 'idle_timeout' : 'response_timeout')
  }

  #onDrained(): void {
    if (!this.#blocked || this.#state !== BUSY || this.#reader.complete) return
    this.#blocked = false
    if (this.#requestSent) this.#startWaiting()
    else {
      if (!this.#reader.headSeen) this.#limit.stop()
      this.#attempt.onWritable()
    }
  }

  /** The answer may be under way or received already: it can be read although nothing can be sent any more. */
  #onWriteFailed(): void {
    if (this.#state !== BUSY || this.#writeFailed) return
    this.#writeFailed = true
    this.#blocked = false
    if (!this.#reader.headSeen) this.#startLimit('response_timeout')
    this.#attempt.onRequestRefused()
  }

  #read(bytes: Buffer): void {
    const reader = this.#reader
    if (this.#state !== BUSY) {
      // These would be taken for the answer to the next request.
      this.close()
      return
    }
    if (this.#writer!.holdsHead) {
      this.#fail(new TransportError('reset', { detail: 'an answer came before its request' }))
      return
    }
    const wasComplete = reader.complete
    const fault = reader.read(bytes)
    if (fault !== null) this.#fail(fault)
    else if (reader.complete) {
      if (!wasComplete) this.#conclude()
    } else if (reader.headSeen && !this.#paused && this.#state === BUSY) this.#startLimit('idle_timeout')
  }

  #conclude(): void {
    try {
      this.#attempt.onAnswerEnd(this.#reader.trailers)
    } catch (error) {
      this.#fail(new TransportError('invalid', { cause: error }))
    }
  }

  /** The target sends nothing more. */
  #onEnded(): void {
    if (this.#state !== BUSY) this.#onBroken(undefined)
    else if (!this.#reader.complete) {
      // An answer that ends with its connection is whole only where nothing has gone wrong with that.
      if (this.#reader.finish() && !this.#writeFailed) this.#conclude()
      else this.#fail(new TransportError('reset'))
    } else this.#reader.finish()
  }

  #onBroken(error: Error | undefined): void {
    if (this.#state === IDLE) this.close()
    else if (this.#state === BUSY) {
      if (this.#reader.complete) this.#reader.finish()
      else this.#fail(faultOf(error, 'reset'))
    }
  }

  /** What the client sent is no message that could be passed on: no fault of the target's. */
  #giveUpRequest(cause: unknown): void {
    this.close()
    this.#attempt.onUnsendable(cause)
  }

  #fail(error: TransportError): void {
    const unconnected = this.#state === CONNECTING
    const answerBegan = this.#reader.begun
    const stale = this.#used && !answerBegan && error.code === 'reset'
    this.close()
    this.#attempt.onFailure(error, { unconnected, unprocessed: false, answerBegan, stale })
  }
}
