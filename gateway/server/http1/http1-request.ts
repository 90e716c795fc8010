import type { Socket } from 'node:net'
import type { BodyReader, InboundRequest } from '../../exchange/inbound.ts'
import { type NamedFields, namedFields } from '../../http/request-head.ts'
import type { RequestHead } from '../../http1/heads.ts'

/** Where the body of a request comes from. */
export interface BodySource {
  /** The body of `request` flows: what waits of it is to be read. */
  readBodyOf(request: Http1Request): void
}

/** A request of HTTP/1.1 or HTTP/1.0. */
export class Http1Request implements InboundRequest {
  readonly method: string
  readonly target: string
  readonly httpVersion: '1.0' | '1.1'
  readonly rawHeaders: readonly string[]
  readonly socket: Socket
  readonly hasBody: boolean
  /** What could be read in two ways was refused with the head. */
  readonly framingProblem = null
  readonly holdings = null
  complete = false
  bodyRead = false
  brokenOff = false
  /** Whether its fields let the connection go on; those of its trailers count as well. */
  keepAlive: boolean
  readonly #source: BodySource
  #headers: NamedFields | null = null
  #reader: BodyReader | null = null
  #flowing = false
  /** Pieces of the body that nobody has taken yet. */
  #held: Buffer[] | null = null

  constructor(head: RequestHead, socket: Socket, source: BodySource) {
    this.method = head.method
    this.target = head.target
    this.httpVersion = head.minor === 0 ? '1.0' : '1.1'
    this.rawHeaders = head.fields
    this.keepAlive = head.keepAlive
    this.socket = socket
    this.hasBody = head.length !== 0
    this.#source = source
  }

  get headers(): NamedFields {
    this.#headers ??= namedFields(this.rawHeaders)
    return this.#headers
  }

  /** True where what comes of the body next is taken at once. */
  get flows(): boolean {
    return this.#flowing && this.#held === null
  }

  readBody(reader: BodyReader): () => void {
    this.#reader = reader
    return () => {
      if (this.#reader === reader) this.#reader = null
    }
  }

  pause(): void {
    this.#flowing = false
  }

  resume(): void {
    if (this.#flowing || this.bodyRead || this.brokenOff) return
    this.#flowing = true
    this.#giveHeld()
    if (!this.#flowing) return
    if (!this.complete) this.#source.readBodyOf(this)
    else if (!this.bodyRead) this.#endBody()
  }

  discardBody(): void {
    this.resume()
  }

  /** What is still to come is thrown away, whoever reads. */
  dropReader(): void {
    this.#reader = null
    this.#held = null
    this.resume()
  }

  /** A piece of the body has come. */
  receive(bytes: Buffer): void {
    if (this.flows) this.#reader?.onChunk(bytes)
    else if (this.#held === null) this.#held = [bytes]
    else this.#held.push(bytes)
  }

  /** All of the body has come. */
  receiveEnd(): void {
    this.complete = true
    if (this.flows || !this.hasBody) this.#endBody()
  }

  /** The rest will not come. */
  breakOff(reason: string): void {
    if (this.complete || this.brokenOff) return
    this.brokenOff = true
    this.#flowing = false
    this.#held = null
    this.#reader?.onBrokenOff(new Error(reason))
  }

  /** A reader may pause, or go on, in the middle of it. */
  #giveHeld(): void {
    while (this.#flowing && this.#held !== null) {
      const bytes = this.#held.shift()!
      if (this.#held.length === 0) this.#held = null
      this.#reader?.onChunk(bytes)
    }
  }

  #endBody(): void {
    this.bodyRead = true
    this.#reader?.onEnd()
  }
}
