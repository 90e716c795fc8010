import { constants, type ServerHttp2Stream } from 'node:http2'
import type { InboundResponse, ResponseOwner } from '../../exchange/inbound.ts'
import type { FieldGroup } from '../../http/field-group.ts'
import { groupFields } from '../../http/field-groups.ts'
import type { Http2Request } from './http2-request.ts'
import { PacedWriter } from './paced-writer.ts'

/** For how long a client may go on with its request once the response is whole. */
const LINGER_MS = 500

/** Fields that belong to a connection of HTTP/1.1 (RFC 9113, section 8.2.2). */
const CONNECTION_FIELDS = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

type RequestEnd = Pick<Http2Request, 'complete' | 'discardLate' | 'discardRest'>

export interface ResponseParts {
  readonly awaitsContinue: boolean
  /** How many streams the connection has open. */
  readonly openStreams: () => number
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** A response of HTTP/2. The head goes out with the first piece of the body, or when it is flushed. */
export class Http2Response implements InboundResponse {
  statusCode = 200
  headersSent = false
  writableEnded = false
  readonly carriesTrailers = true
  owner: ResponseOwner | null = null
  /** True while the client waits for `100 Continue` before it sends its body. */
  #awaitsContinue: boolean
  readonly #stream: ServerHttp2Stream
  readonly #openStreams: () => number
  readonly #now: () => number
  #handedOverAt = 0
  /** Where the body comes in more than one piece. */
  #body: PacedWriter | null = null
  readonly #request: RequestEnd
  #fields: readonly string[] = []
  #trailers: readonly (readonly [string, string])[] = []
  #responded = false
  /** The stream ends with a block of trailers, which may be empty. */
  #awaitsTrailers = false

  constructor(
    stream: ServerHttp2Stream,
    request: RequestEnd,
    { awaitsContinue, openStreams, now }: ResponseParts,
  ) {
    this.#stream = stream
    this.#openStreams = openStreams
    this.#now = now
    this.#request = request
    this.#awaitsContinue = awaitsContinue
    stream.on('wantTrailers', () => this.#sendTrailers())
  }

  setOwner(owner: ResponseOwner): void {
    this.owner = owner
    this.#stream.once('close', () => owner.onClose())
  }

  onDrain(onDrained: () => void): void {
    this.#body?.onDrain(onDrained)
  }

  /** Only connections of HTTP/1.1 end with a response. */
  endConnection(): void {}

  get destroyed(): boolean {
    return this.#stream.destroyed || this.#stream.aborted
  }

  get writableFinished(): boolean {
    return this.#stream.writableFinished && this.#stream.rstCode === constants.NGHTTP2_NO_ERROR
  }

  /** Since when the client has taken nothing of what waits for it; null where nothing does. */
  get unreadSince(): number | null {
    if (this.#stream.writableLength === 0) return null
    return this.#body === null ? this.#handedOverAt : this.#body.handedOverAt
  }

  /** @param _reason HTTP/2 has none */
  writeHead(
    status: number,
    _reason: string | undefined,
    fields: readonly string[],
    first: FieldGroup | null = null,
  ): void {
    this.statusCode = status
    this.headersSent = true
    this.#fields = first === null ? fields : [...first.fields, ...fields]
  }

  /** HTTP/2 can say that it wants no more of a body (RFC 9113, section 8.1). */
  sendWhole(status: number, fields: readonly string[], body: Buffer | null): void {
    this.writeHead(status, undefined, fields)
    this.end(body)
  }

  flushHeaders(): void {
    // Whether trailers will follow is not known yet.
    this.#respond({ waitForTrailers: true })
  }

  write(chunk: Buffer): boolean {
    this.flushHeaders()
    if (this.#stream.destroyed) return true
    this.#body ??= new PacedWriter(this.#stream, { openStreams: this.#openStreams, now: this.#now })
    return this.#body.write(chunk)
  }

  end(data?: string | Buffer | null, encoding?: BufferEncoding): void {
    if (this.writableEnded) return
    this.writableEnded = true
    const hasTrailers = this.#trailers.length > 0
    const isEmpty = data === undefined || data === null || data.length === 0
    const endStream = isEmpty && !hasTrailers && !this.#responded
    this.#respond({ endStream, waitForTrailers: hasTrailers })
    if (!this.#stream.writableEnded && !this.#stream.destroyed) {
      this.#handedOverAt = this.#now()
      if (!isEmpty) this.#stream.end(data, encoding ?? 'utf8')
      else if (this.#body === null) this.#stream.end()
      else this.#body.end()
    }
    if (!this.#awaitsTrailers) this.#endRequest()
  }

  addTrailers(trailers: readonly (readonly [string, string])[]): void {
    this.#trailers = trailers
  }

  inform(status: number, fields: readonly string[]): void {
    if (this.#responded || this.destroyed) return
    this.#stream.additionalHeaders({ ':status': status, ...groupFields(endToEnd(fields)) })
  }

  sendContinue(): void {
    if (!this.#awaitsContinue) return
    this.#awaitsContinue = false
    this.inform(constants.HTTP_STATUS_CONTINUE, [])
  }

  /** Resets the stream: what was sent of the response is marked as not being all of it. */
  abort(): void {
    if (!this.#stream.destroyed) this.#stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  }

  #respond(options: { readonly endStream?: boolean; readonly waitForTrailers: boolean }): void {
    if (this.#responded || this.destroyed || this.#stream.closed) return
    this.#responded = true
    this.#awaitsTrailers = options.waitForTrailers
    this.#stream.respond([':status', String(this.statusCode), ...endToEnd(this.#fields)], options)
  }

  #sendTrailers(): void {
    if (this.#stream.destroyed || this.#stream.closed) return
    try {
      this.#stream.sendTrailers(groupFields(this.#trailers.flat()))
    } catch {
      // What an event's handler throws would end the process. Without its trailers the answer is not whole.
      this.abort()
      return
    }
    this.#endRequest()
  }

  /**
   * The whole answer is there: what may still come of the request is not wanted (RFC 9113, section 8.1). A reset at
   * once would overtake the answer, and each frame under way meanwhile would count as the client breaking the protocol.
   */
  #endRequest(): void {
    const stream = this.#stream
    if (this.#request.complete || stream.closed || stream.destroyed) return
    this.#request.discardLate()
    const timer = setTimeout(() => {
      stream.close(constants.NGHTTP2_NO_ERROR)
      // The reset is sent behind the answer.
      if (stream.writableFinished) this.#request.discardRest()
      else stream.once('finish', () => this.#request.discardRest())
    }, LINGER_MS)
    timer.unref()
    stream.once('close', () => clearTimeout(timer))
  }
}

/** @returns flat name, value pairs; names in lower case, as HTTP/2 wants them */
function endToEnd(fields: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    if (!CONNECTION_FIELDS.has(name)) out.push(name, fields[i + 1]!)
  }
  return out
}
