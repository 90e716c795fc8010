import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { Socket } from 'node:net'
import type { Http2Exchange, StreamOwner } from './http2-exchange.ts'
import { Http2Opening, type Http2Options, type OpeningHandler } from './http2-opening.ts'
import { Http2Pulse } from './http2-pulse.ts'
import { TakenStreams } from './http2-taken-streams.ts'
import { TimeLimit } from './time-limit.ts'
import { TransportError } from './transport-errors.ts'

export interface Http2ConnectionOwner {
  /** The target has ended a connection without processing all streams that were begun on it. */
  readonly leavesStreams: boolean
  /** It was opened, can carry another number of exchanges than before, or has become doubtful or is so no more. */
  onChanged(connection: Http2Connection): void
  /** The exchange has waited for it, and it is open. */
  onWaited(exchange: Http2Exchange, connection: Http2Connection): void
  /** The target has ended it after this many streams, and has not processed those behind them. */
  onCutShort(streams: number): void
  /** The target did not end it, though that was expected. */
  onOutlived(): void
  /** An exchange that was on it is over. */
  onLeft(connection: Http2Connection): void
  /** It takes no further exchanges. Those under way on it go on. */
  onRetired(connection: Http2Connection): void
  onClosed(connection: Http2Connection): void
}

/** A connection that carries nothing for so long is closed. */
const IDLE_MS = 60_000

/** How long the target is given to end a connection where that is expected, and where it has no exchanges. */
const EXPECTED_END_MS = 1000
const END_MS = 10_000

const OPENING = 0
const OPEN = 1
const RETIRED = 2
const CLOSED = 3

/** A connection to a target over HTTP/2. Exchanges that come before it is open wait for it. */
export class Http2Connection implements StreamOwner, OpeningHandler {
  /** When it was begun, by the transport's clock. */
  readonly since: number
  /** Streams that the target allows at once; 0 before it has said so. */
  maxStreams = 0
  /** Streams that were begun on it so far. */
  begun = 0
  /** Streams that were reset, since their clients had left or the target was too late. */
  resets = 0
  /** The target does not answer, and may be dead. */
  isDoubtful = false
  isLost = false
  readonly #owner: Http2ConnectionOwner
  readonly #opening: Http2Opening
  readonly #limit: TimeLimit
  readonly #pulse: Http2Pulse
  readonly #waiting = new Set<Http2Exchange>()
  readonly #taken = new TakenStreams((onAnswer) => this.#ping(onAnswer))
  #session: ClientHttp2Session | null = null
  #socket: Socket | null = null
  #state = OPENING
  #streams = 0
  #retiresOnceOpen = false
  #expectsEnd = false

  constructor(options: Http2Options, owner: Http2ConnectionOwner) {
    const { now, deadlines } = options.transport
    this.since = now()
    this.#owner = owner
    this.#limit = new TimeLimit(deadlines, () => this.#onLimit())
    this.#pulse = new Http2Pulse({
      deadlines,
      bytesRead: () => this.bytesRead,
      ping: (onAnswer) => void this.#ping(onAnswer),
      onDoubt: (isDoubtful) => {
        this.isDoubtful = isDoubtful
        owner.onChanged(this)
      },
      onLost: () => this.#onLost(),
    })
    this.#opening = new Http2Opening(options, this)
  }

  get isOpening(): boolean {
    return this.#state === OPENING
  }

  /** Exchanges on it, and those that wait for it. */
  get load(): number {
    return this.#streams + this.#waiting.size
  }

  get bytesRead(): number {
    return this.#socket?.bytesRead ?? 0
  }

  /** Begins the exchange, or has it wait until the connection is open. */
  take(exchange: Http2Exchange): void {
    if (this.#state === OPENING) {
      this.#waiting.add(exchange)
      exchange.waitFor(this)
    } else this.#begin(exchange)
  }

  /** Lets exchanges finish, and those that wait begin, then closes the connection. */
  retire(): void {
    if (this.#state === OPEN) this.#onRetired()
    else if (this.#state === OPENING) {
      this.#retiresOnceOpen = true
      if (this.#waiting.size === 0) this.#giveUpOpening()
    }
  }

  /** It has carried as many streams as the target allows on one connection, so far as is known. */
  expectEnd(): void {
    if (this.#state !== OPEN) return
    this.#expectsEnd = true
    this.#limit.start(EXPECTED_END_MS)
  }

  request(fields: OutgoingHttpHeaders, endStream: boolean): ClientHttp2Stream {
    const stream = this.#session!.request(fields, { endStream })
    // It has come to its end, or there is no number left for a stream.
    if (stream.pending) this.retire()
    return stream
  }

  confirm(onTaken: () => void): boolean {
    return this.#owner.leavesStreams && this.#state === OPEN && this.#taken.wait(onTaken)
  }

  reset(stream: ClientHttp2Stream): void {
    if (stream.closed) return
    this.resets++
    stream.close(constants.NGHTTP2_CANCEL)
  }

  mayProcess(stream: ClientHttp2Stream): boolean {
    return this.#taken.mayInclude(stream)
  }

  onTimeout(bytesBefore: number): void {
    this.#pulse.onTimeout(this.bytesRead !== bytesBefore)
  }

  leave(exchange: Http2Exchange): void {
    if (!this.#waiting.delete(exchange)) this.#streams--
    if (this.load === 0) this.#onEmpty()
    this.#owner.onLeft(this)
  }

  onOpened(session: ClientHttp2Session, socket: Socket): void {
    this.#session = session
    this.#socket = socket
    this.#state = OPEN
    socket.once('error', () => this.#onRetired())
    socket.once('end', () => this.#onRetired())
    session.on('remoteSettings', () => this.#onSettings(session))
    session.on('goaway', (_code, lastStream) => this.#onGoaway(lastStream))
    session.once('close', () => this.#onClosed())
    this.#limit.start(IDLE_MS)
    this.#onSettings(session)
    this.#beginWaiting()
    if (this.#retiresOnceOpen) this.retire()
  }

  /** The target cannot have seen anything of those who wait. */
  onFailed(error: TransportError): void {
    this.#onClosed()
    for (const exchange of this.#takeWaiting()) exchange.refuse(error)
  }

  #onEmpty(): void {
    this.#pulse.rest()
    if (this.#expectsEnd) this.retire()
    else if (this.#state === OPEN) this.#limit.start(IDLE_MS)
    else if (this.#state === RETIRED) this.#end()
    else if (this.#state === OPENING && this.#retiresOnceOpen) this.#giveUpOpening()
  }

  #giveUpOpening(): void {
    this.#opening.cancel()
    this.#onClosed()
  }

  #onSettings({ remoteSettings }: ClientHttp2Session): void {
    this.maxStreams = remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY
    this.#owner.onChanged(this)
  }

  #takeWaiting(): readonly Http2Exchange[] {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    return waiting
  }

  #beginWaiting(): void {
    for (const exchange of this.#takeWaiting()) {
      exchange.waitFor(null)
      this.#owner.onWaited(exchange, this)
    }
  }

  #begin(exchange: Http2Exchange): void {
    this.begun++
    this.#streams++
    this.#limit.stop()
    this.#pulse.listen()
    exchange.start(this)
  }

  /** @returns false where it was not sent */
  #ping(onAnswer: () => void): boolean {
    const session = this.#session!
    if (session.destroyed || session.closed) return false
    return session.ping((error) => {
      if (error === null) onAnswer()
    })
  }

  /** The streams below `lastStream`, and it itself, may still be answered (RFC 9113, section 6.8). */
  #onGoaway(lastStream: number): void {
    this.#taken.onGoaway(lastStream)
    // Node sends no PING after it.
    this.#pulse.close()
    if (nth(lastStream) < this.begun) this.#owner.onCutShort(nth(lastStream))
    this.#onRetired()
  }

  #onRetired(): void {
    if (this.#state !== OPEN) return
    this.#state = RETIRED
    this.#expectsEnd = false
    this.#limit.stop()
    this.#owner.onRetired(this)
    if (this.#streams === 0) this.#end()
  }

  /** Not before its last exchange is over, because Node would refuse a stream that was not sent yet. */
  #end(): void {
    this.#limit.start(END_MS)
    this.#session!.close()
  }

  #onLimit(): void {
    if (this.#state !== OPEN) this.#destroy(undefined)
    else if (this.#expectsEnd) {
      this.#expectsEnd = false
      this.#owner.onOutlived()
    } else this.retire()
  }

  #onLost(): void {
    this.isLost = true
    this.#onRetired()
    this.#destroy(new TransportError('idle_timeout', { detail: 'a PING was not answered' }))
  }

  #destroy(error: TransportError | undefined): void {
    this.#session!.destroy(error)
    // Node would wait until all was written.
    this.#socket!.destroy()
    this.#onClosed()
  }

  #onClosed(): void {
    if (this.#state === CLOSED) return
    this.#onRetired()
    this.#state = CLOSED
    this.#limit.close()
    this.#pulse.close()
    this.#owner.onClosed(this)
  }
}

/** Streams of a client have odd numbers (RFC 9113, section 5.1.1). */
function nth(streamId: number): number {
  return Math.ceil(streamId / 2)
}
