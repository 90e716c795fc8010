import type { ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Holdings } from '../../core/holdings.ts'
import type { BodyReader, InboundRequest } from '../../exchange/inbound.ts'
import type { NamedFields } from '../../http/request-head.ts'
import type { Http2Head } from './http2-head.ts'
import { discardBodyOf, readBodyOf } from './readable-body.ts'
import type { UploadWindows } from './upload-windows.ts'

/** Bytes that are read of a request whose response is whole. */
const DISCARDED_BYTES = 65_536

/** The connection of a stream, as its requests show it. */
export interface StreamConnection {
  readonly socket: TLSSocket
  readonly holdings: Holdings
  readonly windows: UploadWindows
  /** How many streams it has open. */
  readonly openStreams: () => number
}

/** A request of HTTP/2: one stream of a connection. */
export class Http2Request extends Readable implements InboundRequest {
  readonly httpVersion = '2.0'
  readonly method: string
  readonly target: string
  readonly rawHeaders: readonly string[]
  readonly headers: NamedFields
  readonly socket: TLSSocket
  readonly holdings: Holdings
  /** No field announces a body here; it follows where the stream did not end with the head. */
  readonly hasBody: boolean
  /** Frames delimit a body in one way only (RFC 9113, section 8.1). */
  readonly framingProblem = null
  complete: boolean
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream, head: Http2Head, { socket, holdings, windows }: StreamConnection) {
    super({ highWaterMark: 16_384 })
    this.method = head.method
    this.target = head.target
    this.rawHeaders = head.rawHeaders
    this.headers = head.headers
    this.socket = socket
    this.holdings = holdings
    this.hasBody = !stream.endAfterHeaders
    this.complete = !this.hasBody
    this.#stream = stream
    this.on('error', () => {})
    if (this.hasBody) this.#listen(stream, windows)
    else this.push(null)
  }

  get bodyRead(): boolean {
    return this.readableEnded
  }

  get brokenOff(): boolean {
    return this.errored !== null
  }

  readBody(reader: BodyReader): () => void {
    return readBodyOf(this, reader)
  }

  discardBody(): void {
    discardBodyOf(this)
  }

  #listen(stream: ServerHttp2Stream, windows: UploadWindows): void {
    windows.onOpened()
    stream.pause()
    stream.on('data', (chunk: Buffer) => {
      windows.onTaken(chunk.length)
      if (!this.push(chunk)) stream.pause()
    })
    stream.once('close', () => windows.onClosed())
    stream.on('end', () => {
      if (stream.aborted) return
      this.complete = true
      this.push(null)
    })
    stream.on('aborted', () => {
      this.discardRest()
      this.#breakOff()
    })
    stream.on('close', () => this.#breakOff())
  }

  #breakOff(): void {
    if (this.complete || this.destroyed) return
    this.destroy(Object.assign(new Error('the client reset its stream'), { code: 'ECONNRESET' }))
  }

  /**
   * To be called once the response is whole: throws away what still arrives of the request, until the client's window is
   * used up and it has to wait.
   */
  discardLate(): void {
    const stream = this.#stream
    let left = DISCARDED_BYTES
    stream.removeAllListeners('data')
    stream.on('data', (chunk: Buffer) => {
      left -= chunk.length
      if (left < 0) stream.pause()
    })
    stream.resume()
  }

  /** To be called once the stream was reset. Node counts one as open until all that came of it was read. */
  discardRest(): void {
    this.#stream.removeAllListeners('data')
    this.#stream.resume()
  }

  override _read(): void {
    if (!this.complete && !this.#stream.destroyed) this.#stream.resume()
  }
}
