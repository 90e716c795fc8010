import type { HttpOutcome } from './attempt-outcome.ts'
import type { AttemptClient } from './client-side.ts'
import type { AttemptRequest } from './http-attempt.ts'
import { Http2Connection, type Http2ConnectionOwner } from './http2-connection.ts'
import { Http2Exchange } from './http2-exchange.ts'
import type { Http2Options } from './http2-opening.ts'
import type { BeginOptions, TargetConnections } from './target-connections.ts'

export interface Http2PoolOptions extends Http2Options {
  /** Age from which on a connection gets no further exchange; `Infinity` for never. */
  readonly maxAgeMs: number
  /** False where each connection carries one exchange. */
  readonly keepAlive: boolean
  /** Called when there are more places than before, though no exchange has ended. */
  readonly onMorePlaces: () => void
}

/** What a target is taken to allow before it has said so: the least that RFC 9113, section 6.5.2, recommends. */
const USUAL_STREAMS = 100

/**
 * Streams of a connection that may be reset. Servers end a connection with many resets, as a defence against clients that
 * reset without end (CVE-2023-44487), and with it the exchanges of others. This many at once are what every server has to
 * expect: a browser that leaves a page resets all of its streams, of which it may have as many as are usual.
 */
const MOST_RESETS = USUAL_STREAMS

/** From so many on a connection is replaced. Those under way, each of which may be reset, are no more than the rest. */
const RETIRE_RESETS = MOST_RESETS / 2

/**
 * The connections to one target over HTTP/2. An exchange goes to the oldest one that has a stream for it. Another one is
 * opened where all streams are taken.
 */
export class Http2Connections implements TargetConnections, Http2ConnectionOwner {
  maxConnections = Number.POSITIVE_INFINITY
  leavesStreams = false
  readonly #options: Http2PoolOptions
  /** Those that are opening or open, the oldest first. */
  readonly #current: Http2Connection[] = []
  /** Those that end once their exchanges are over. `maxConnections` does not count them. */
  readonly #retired = new Set<Http2Connection>()
  /** Streams that the target has allowed at once on its latest connection; null before it has said so. */
  #maxStreams: number | null = null
  /**
   * Streams after which the target ends each connection, such as nginx with `keepalive_requests`. Those behind them it
   * does not process, so they are better begun on the next connection. `Infinity` where it is not known to do so.
   */
  #lifetime = Number.POSITIVE_INFINITY
  /** Streams after which it has ended one. Only the same number again is taken for its rule. */
  #cutShortAfter = 0
  #closing: (() => void) | null = null

  constructor(options: Http2PoolOptions) {
    this.#options = options
  }

  get places(): number {
    const expected = this.#expectedStreams()
    let unopened = this.maxConnections
    let places = 0
    for (const connection of this.#current) {
      const { load, isOpening, isDoubtful } = connection
      places += isOpening ? Math.max(load, expected) : load + this.#streamsLeft(connection)
      if (!isDoubtful) unopened--
    }
    for (const { load } of this.#retired) places += load
    return places + Math.max(0, unopened) * expected
  }

  begin(
    client: AttemptClient,
    request: AttemptRequest,
    onOutcome: (outcome: HttpOutcome) => void,
    options?: BeginOptions,
  ): void {
    const exchange = new Http2Exchange(this.#options)
    exchange.attempt.begin(client, request, onOutcome)
    this.#place(exchange, options?.fresh ?? false)
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#closing = resolve
      for (const connection of [...this.#current]) connection.retire()
      this.#concludeClosing()
    })
  }

  onChanged({ maxStreams, isOpening }: Http2Connection): void {
    if (!isOpening) this.#maxStreams = maxStreams
    this.#options.onMorePlaces()
  }

  onWaited(exchange: Http2Exchange, connection: Http2Connection): void {
    if (this.#current.includes(connection) && this.#hasRoom(connection)) this.#begin(exchange, connection)
    else if (this.#options.keepAlive) this.#place(exchange, false)
    else exchange.leaveUnplaced()
  }

  onCutShort(streams: number): void {
    this.leavesStreams = true
    if (streams === this.#cutShortAfter) this.#lifetime = Math.max(1, streams)
    this.#cutShortAfter = streams
  }

  onOutlived(): void {
    this.#lifetime = Number.POSITIVE_INFINITY
    this.#options.onMorePlaces()
  }

  /** One client that leaves again and again must not be able to end what others have on the same connection. */
  onLeft(connection: Http2Connection): void {
    if (connection.resets < RETIRE_RESETS || !this.#mayReplace) return
    connection.retire()
  }

  onRetired(connection: Http2Connection): void {
    this.#remove(connection)
    this.#retired.add(connection)
    this.#options.onMorePlaces()
  }

  onClosed(connection: Http2Connection): void {
    this.#remove(connection)
    this.#retired.delete(connection)
    this.#concludeClosing()
  }

  #place(exchange: Http2Exchange, fresh: boolean): void {
    const connection = this.#options.keepAlive ? this.#choose(fresh) : this.#open()
    if (connection === null) exchange.leaveUnplaced()
    else this.#begin(exchange, connection)
  }

  #begin(exchange: Http2Exchange, connection: Http2Connection): void {
    connection.take(exchange)
    if (!this.#options.keepAlive || this.#closing !== null) connection.retire()
    else if (connection.begun >= this.#lifetime) connection.expectEnd()
  }

  /** @returns null where all streams are taken */
  #choose(fresh: boolean): Http2Connection | null {
    this.#retireOld()
    const hasRoom = (each: Http2Connection) => this.#hasRoom(each)
    const found = fresh ? this.#current.findLast(hasRoom) : this.#current.find(hasRoom)
    if (found !== undefined) return found
    // All wait for the first connection, which shows how many streams each of them has.
    const expected =
      this.#maxStreams === null ? Number.POSITIVE_INFINITY : Math.min(this.#expectedStreams(), MOST_RESETS)
    const opening = this.#current.find(({ isOpening, load }) => isOpening && load < expected)
    if (opening !== undefined) return opening
    // One that is not trusted any more is replaced.
    const count = this.#current.filter(({ isDoubtful }) => !isDoubtful).length
    if (expected > 0 && count < this.maxConnections) return this.#open()
    return this.#current.find((each) => this.#streamsLeft(each) > 0) ?? null
  }

  /** Where it has none left, a stream is begun on it only if there may be no further connection. */
  #hasRoom(connection: Http2Connection): boolean {
    const { load, resets } = connection
    return load + resets < MOST_RESETS && this.#streamsLeft(connection) > 0
  }

  /** Of a connection that is not open yet. */
  #expectedStreams(): number {
    const streams = Math.min(this.#maxStreams ?? USUAL_STREAMS, this.#lifetime)
    // A target that allows none at present may allow some on a new connection, but not on one more.
    return this.#current.length === 0 ? Math.max(1, streams) : streams
  }

  #streamsLeft({ isOpening, isDoubtful, maxStreams, load, begun }: Http2Connection): number {
    if (isOpening || isDoubtful) return 0
    return Math.max(0, Math.min(maxStreams - load, this.#lifetime - begun))
  }

  #open(): Http2Connection {
    const connection = new Http2Connection(this.#options, this)
    this.#current.push(connection)
    return connection
  }

  /** Those that are replaced stay until their exchanges end, so they are counted too. */
  get #mayReplace(): boolean {
    return this.#current.length + this.#retired.size < this.maxConnections
  }

  #retireOld(): void {
    const { maxAgeMs, transport } = this.#options
    if (maxAgeMs === Number.POSITIVE_INFINITY) return
    const oldest = transport.now() - maxAgeMs
    for (let i = this.#current.length - 1; i >= 0; i--) {
      const connection = this.#current[i]!
      if (!connection.isOpening && connection.since < oldest) connection.retire()
    }
  }

  #remove(connection: Http2Connection): void {
    const at = this.#current.indexOf(connection)
    if (at !== -1) this.#current.splice(at, 1)
  }

  #concludeClosing(): void {
    if (this.#current.length === 0 && this.#retired.size === 0) this.#closing?.()
  }
}
