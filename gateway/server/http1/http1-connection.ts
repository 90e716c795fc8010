import type { Socket } from 'node:net'
import { Deadline, type Timed } from '../../core/deadlines.ts'
import type { ErrorCode } from '../../core/errors.ts'
import { isWebSocketHandshake } from '../../http/websocket.ts'
import type { RequestHead } from '../../http1/heads.ts'
import type { Disposition, MessageHandler, Outcome } from '../../http1/messages.ts'
import type { WireError } from '../../http1/wire-error.ts'
import type { Arrival } from '../../pipeline/gateway.ts'
import type { OpenConnection } from '../connection-registry.ts'
import { arrivalOf, codeOf } from './arrivals.ts'
import type { ConnectionParts } from './connection-parts.ts'
import { type BodySource, Http1Request } from './http1-request.ts'
import { Http1Response, type ResponseConnection } from './http1-response.ts'
import type { LentParser } from './parser-pool.ts'
import { problemResponse } from './problem-response.ts'
import { ReadAhead } from './read-ahead.ts'
import type { ResponseHeads } from './response-heads.ts'
import { releaseSocket, type SocketUser, useSocket } from './socket-user.ts'

/** Between two requests, or in the head of the next. */
const READING_HEAD = 0
const EXCHANGE = 1
/** The response was sent; the rest of its request is read and thrown away. */
const READING_REST = 2
/** Nothing is answered any more; what the client still sends is read for a while, so that it sees the response. */
const CLOSING = 3
const HANDED_OVER = 4
const CLOSED = 5

/** A client that still sends when its connection ends is read on for this long and this far (RFC 9112, section 9.6). */
const LINGER_MS = 2000
const LINGER_BYTES = 1024 * 1024

/** A drain lets a new connection have so much time to send its first byte. */
const FIRST_BYTE_MS = 1000

const NOTHING = Buffer.alloc(0)

/**
 * A client's connection of HTTP/1.1 or HTTP/1.0: head, exchange, rest of the body, next head. One exchange at a time:
 * bytes behind it are kept up to a bound, and from there on not read.
 *
 * It reads on during an exchange, since the client's leaving shows only to who reads.
 */
export class Http1Connection
  implements BodySource, MessageHandler<RequestHead>, OpenConnection, ResponseConnection, SocketUser, Timed
{
  readonly deadline = new Deadline()
  readonly socket: Socket
  readonly secure: boolean
  readonly heads: ResponseHeads
  readonly #parts: ConnectionParts
  readonly #ahead: ReadAhead
  #state = READING_HEAD
  /** Of the exchange under way, or of the head that was read just now. */
  #request: Http1Request | null = null
  #response: Http1Response | null = null
  /** While a message is being read. */
  #lent: LentParser | null = null
  #executing = false
  /** What was read ahead will be looked at in the next turn. */
  #awaitsTurn = false
  /** When this connection, or the request being read, began. */
  #since: number
  /** A part of a head has come. */
  #headBegan = false
  /** Some request has come. */
  #used = false
  /** Bytes behind the latest request came before its response had ended. */
  #pipelined = false
  #lingerBytes = LINGER_BYTES

  constructor(socket: Socket, parts: ConnectionParts) {
    const { deadlines, limits } = parts
    this.socket = socket
    this.secure = 'encrypted' in socket
    this.heads = parts.heads
    this.#parts = parts
    this.#ahead = new ReadAhead(socket, limits.maxAheadBytes)
    this.#since = deadlines.now()
    deadlines.set(this, this.#since + limits.headersTimeoutMs)
    parts.open.add(this)
    useSocket(socket, this)
  }

  closeIdle(): void {
    if (this.#state !== READING_HEAD || this.#headBegan || !this.#ahead.isEmpty) return
    if (this.#used || this.#parts.deadlines.now() - this.#since >= FIRST_BYTE_MS) this.#leave(true)
  }

  close(): void {
    this.socket.destroy()
  }

  onRead(chunk: Buffer): void {
    if (this.#state === CLOSING) this.#linger(chunk.length)
    else if (this.#ahead.isEmpty && this.#mayParse()) this.#parse(chunk)
    else this.#ahead.keep(chunk)
  }

  onReadEnd(): void {
    if (this.#state === EXCHANGE && this.#request!.complete) {
      // TCP does not tell a client that has gone from one that has said all: it is taken for gone, as nginx does.
      if (this.#response!.ended) this.#response!.endConnection()
      else this.socket.destroy()
    } else if (this.#state === CLOSING || this.secure || (this.#state === READING_HEAD && !this.#headBegan)) {
      this.socket.destroySoon()
    } else this.#refuseUnreadable('bad_request')
  }

  onClosed(): void {
    const { deadlines, open } = this.#parts
    const request = this.#request
    const response = this.#response
    this.#state = CLOSED
    this.#request = null
    this.#response = null
    deadlines.remove(this)
    open.delete(this)
    this.#dropParser()
    this.#ahead.take()
    request?.breakOff('the client broke its request off')
    response?.close()
  }

  onDeadline(): void {
    const { socket } = this
    if (this.#state === CLOSING) socket.destroy()
    else if (this.#state === READING_REST) this.#leave(false)
    else if (this.#state === READING_HEAD && this.#used && !this.#headBegan) this.#leave(true)
    else this.#refuseUnreadable('request_timeout')
  }

  onHead(head: RequestHead): Disposition {
    const request = new Http1Request(head, this.socket, this)
    this.#request = request
    const handsOver = !request.hasBody && !this.#pipelined && isWebSocketHandshake(request)
    return handsOver ? 'upgrade' : 'read'
  }

  onBody(bytes: Buffer): void {
    this.#request!.receive(bytes)
  }

  onEnd(): void {
    this.#parts.deadlines.clear(this)
    // The head said so already, or the trailers do only now.
    if (!this.#lent!.parser.keepAlive) this.#endBehindRequest()
    this.#request!.receiveEnd()
  }

  readBodyOf(request: Http1Request): void {
    if (request === this.#request) this.#goOn()
  }

  onTurn(): void {
    this.#awaitsTurn = false
    if (this.#state === READING_HEAD) this.#goOn()
  }

  onResponseEnd(response: Http1Response): void {
    if (this.#state === HANDED_OVER) {
      this.socket.destroySoon()
      return
    }
    if (this.#state !== EXCHANGE) return
    const request = this.#request!
    if (!response.keepAlive) this.#leave(request.complete || response.awaitsContinue)
    else if (request.complete) this.#awaitHead()
    else {
      this.#response = null
      this.#state = READING_REST
      request.dropReader()
    }
  }

  #mayParse(): boolean {
    if (this.#executing || this.#awaitsTurn) return false
    if (this.#state === READING_HEAD) return true
    if (this.#state !== EXCHANGE && this.#state !== READING_REST) return false
    const { complete, flows } = this.#request!
    return flows && !complete
  }

  /** Reads one message, or what there is of it. */
  #parse(chunk: Buffer): void {
    this.#lent ??= this.#parts.parsers.lend(this)
    const { parser } = this.#lent
    const readsHead = this.#state === READING_HEAD
    this.#executing = true
    const outcome = parser.execute(chunk)
    this.#executing = false
    if (outcome === 'closed') return
    if (outcome === 'ended' || outcome === 'upgrade') {
      const { position } = parser
      this.#dropParser()
      if (position < chunk.length) this.#ahead.keep(chunk.subarray(position))
    }
    if (readsHead) this.#goOnFromHead(outcome, parser.error)
    // The exchange was answered as the last bytes of its body were read: what came behind them is there only now.
    else if (this.#state === READING_HEAD) this.#awaitTurn()
    else if (outcome === 'error') this.#refuseUnreadable(codeOf(parser.error))
    else if (outcome === 'ended' && this.#state === READING_REST) {
      if (this.#request!.keepAlive) this.#awaitHead()
      else this.#leave(true)
    }
  }

  #endBehindRequest(): void {
    this.#request!.keepAlive = false
    this.#response?.endConnection()
  }

  #goOnFromHead(outcome: Outcome, error: WireError | null): void {
    const request = this.#request
    if (request !== null) {
      const arrival = this.#beginExchange(request, outcome, error)
      void this.#parts.gateway.handle(request, this.#response!, arrival)
    } else if (outcome === 'error') this.#refuseUnreadable(codeOf(error))
    else if (!this.#headBegan) {
      const { deadlines, limits } = this.#parts
      this.#headBegan = true
      this.#since = deadlines.now()
      deadlines.set(this, this.#since + limits.headersTimeoutMs)
    }
  }

  #beginExchange(request: Http1Request, outcome: Outcome, error: WireError | null): Arrival {
    const response = new Http1Response(request, this)
    const { deadlines, limits } = this.#parts
    const since = this.#headBegan ? this.#since : null
    this.#response = response
    this.#used = true
    this.#headBegan = false
    if (outcome === 'upgrade') return this.#handOver(request, response)
    this.#state = EXCHANGE
    if (outcome === 'error') {
      deadlines.clear(this)
      this.#dropParser()
      response.endConnection()
      request.breakOff('the request could not be read')
      return { refusal: codeOf(error) }
    }
    if (!request.complete) deadlines.set(this, (since ?? deadlines.now()) + limits.requestTimeoutMs)
    return arrivalOf(request, response)
  }

  #handOver(request: Http1Request, response: Http1Response): Arrival {
    const { socket } = this
    const { deadlines, open } = this.#parts
    this.#state = HANDED_OVER
    deadlines.remove(this)
    open.delete(this)
    releaseSocket(socket)
    request.receiveEnd()
    response.endConnection()
    return { upgrade: { socket, head: this.#ahead.take() ?? NOTHING } }
  }

  #awaitHead(): void {
    const { deadlines, limits } = this.#parts
    this.#state = READING_HEAD
    this.#request = null
    this.#response = null
    if (limits.keepAliveTimeoutMs > 0) deadlines.set(this, deadlines.now() + limits.keepAliveTimeoutMs)
    this.#awaitTurn()
  }

  #awaitTurn(): void {
    this.#pipelined = !this.#ahead.isEmpty
    if (!this.#pipelined) return
    // Not at once: a client that pipelines without end must leave others their turn, and the stack its depth.
    this.#awaitsTurn = true
    setImmediate(goOnInNextTurn, this)
  }

  #goOn(): void {
    while (!this.#ahead.isEmpty && this.#mayParse()) this.#parse(this.#ahead.take()!)
    if (this.#state < CLOSING) this.#ahead.goOn()
  }

  /** What follows cannot be read, or is late. */
  #refuseUnreadable(code: ErrorCode): void {
    const request = this.#request
    const response = this.#response
    this.#dropParser()
    if (this.#state === READING_HEAD) this.#refuseUnparsed(code)
    else if (this.#state === READING_REST) this.#leave(false)
    else if (request !== null && response !== null) {
      response.endConnection()
      request.breakOff('the request could not be read')
      // A response that is whole goes out; one that has begun must not get another one written into it.
      if (!response.ended && !response.refuse(code)) response.abort()
    }
  }

  #refuseUnparsed(code: ErrorCode): void {
    const { socket } = this
    const { gateway, hsts, requestId } = this.#parts
    if (!socket.writable) {
      socket.destroy()
      return
    }
    const id = requestId()
    gateway.recordUnparsed({ socket, requestId: id, code })
    const more = this.secure && hsts !== null ? ['Strict-Transport-Security', hsts] : []
    socket.write(problemResponse(code, id, more))
    this.#leave(false)
  }

  /** @param clientIsDone false where the client may still be sending: closing at once could overtake the response */
  #leave(clientIsDone: boolean): void {
    const { socket } = this
    const { deadlines } = this.#parts
    this.#state = CLOSING
    this.#dropParser()
    // Taken whoever is done: what is kept here would hold up the reading to the end.
    const kept = this.#ahead.take()
    const sends = !clientIsDone || kept !== null
    if (!sends || socket.readableEnded) {
      deadlines.remove(this)
      socket.destroySoon()
      return
    }
    deadlines.set(this, deadlines.now() + LINGER_MS)
    socket.end()
    this.#ahead.goOn()
  }

  #linger(bytes: number): void {
    this.#lingerBytes -= bytes
    if (this.#lingerBytes < 0) this.socket.destroy()
  }

  #dropParser(): void {
    const lent = this.#lent
    if (lent === null) return
    this.#lent = null
    if (this.#executing) lent.parser.close()
    else this.#parts.parsers.giveBack(lent)
  }
}

function goOnInNextTurn(connection: Http1Connection): void {
  connection.onTurn()
}
