import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ErrorCode } from '../../core/errors.ts'
import type { InboundResponse, ResponseOwner } from '../../exchange/inbound.ts'
import type { FieldGroup } from '../../http/field-group.ts'
import { CHUNK_END, formatChunkStart, formatLastChunk, LAST_CHUNK } from '../../http1/body-writer.ts'
import type { Http1Request } from './http1-request.ts'
import { IN_CHUNKS, NO_BODY, type ResponseHeads, type ResponseTo } from './response-heads.ts'

/** Up to this size a body that came whole leaves with its head as one text: Node joins no text with bytes. */
const WHOLE_MAX_BYTES = 16_384

/** Pieces of a body up to this size wait for the end of the tick, so that head, pieces and end leave together. */
const SMALL_PIECE_BYTES = 4096

/** The connection that a response is written to. */
export interface ResponseConnection {
  readonly socket: Socket
  readonly secure: boolean
  readonly heads: ResponseHeads
  /** All of the response was handed to the operating system. */
  onResponseEnd(response: Http1Response): void
}

/**
 * The response to one request. Until it is known whether a body follows at once, its head waits: for the first piece,
 * for `flushHeaders`, or for the end.
 */
export class Http1Response implements InboundResponse, ResponseTo {
  statusCode = 200
  headersSent = false
  writableFinished = false
  /** False where the connection ends with this response. */
  keepAlive: boolean
  /** True while the client waits for `100 Continue` before it sends its body (RFC 9110, section 10.1.1). */
  awaitsContinue = false
  #owner: ResponseOwner | null = null
  readonly #request: Http1Request
  readonly #connection: ResponseConnection
  /** Text that goes out with what comes next. */
  #pending = ''
  #awaitsTick = false
  /** Bytes of body to come, or how else its end is told. */
  #left = NO_BODY
  #lastChunk = LAST_CHUNK
  #ended = false
  #closed = false

  constructor(request: Http1Request, connection: ResponseConnection) {
    this.#request = request
    this.#connection = connection
    this.keepAlive = request.keepAlive
  }

  get isHead(): boolean {
    return this.#request.method === 'HEAD'
  }

  /** HTTP/1.0 knows no chunks, and so no trailers, and no interim responses (RFC 9110, section 15.2). */
  get chunkable(): boolean {
    return this.#request.httpVersion !== '1.0'
  }

  get carriesTrailers(): boolean {
    return this.chunkable
  }

  get destroyed(): boolean {
    return this.#closed || this.#connection.socket.destroyed
  }

  /** True once nothing more will be written. */
  get ended(): boolean {
    return this.#ended
  }

  setOwner(owner: ResponseOwner): void {
    this.#owner = owner
  }

  /** The rest of the request cannot be read. @returns false where a response has begun */
  refuse(code: ErrorCode): boolean {
    return this.#owner?.onUnreadable(code) ?? false
  }

  endConnection(): void {
    this.keepAlive = false
  }

  sendContinue(): void {
    if (!this.awaitsContinue) return
    this.awaitsContinue = false
    this.inform(100, [])
  }

  inform(status: number, fields: string[]): void {
    if (this.headersSent || this.destroyed || !this.chunkable) return
    const { socket, heads } = this.#connection
    // Nobody reads them: a target that sends them without end would fill the memory.
    if (socket.writableNeedDrain) this.abort()
    else socket.write(heads.writer.formatResponse(status, STATUS_CODES[status] ?? '', fields), 'latin1')
  }

  writeHead(
    status: number,
    reason: string | undefined,
    fields: readonly string[],
    first: FieldGroup | null = null,
  ): void {
    if (this.headersSent) throw new Error('a second head')
    const { heads } = this.#connection
    this.#pending = heads.format(status, reason ?? STATUS_CODES[status] ?? '', fields, this, first)
    this.keepAlive = heads.keepAlive
    this.#left = heads.bodyLength
    this.statusCode = status
    this.headersSent = true
  }

  flushHeaders(): void {
    const text = this.#pending
    this.#pending = ''
    if (text !== '' && !this.destroyed) this.#connection.socket.write(text, 'latin1')
  }

  write(chunk: Buffer): boolean {
    if (this.#ended || this.destroyed || chunk.length === 0 || this.#left === NO_BODY) return true
    if (!this.#count(chunk.length)) return true
    const before = this.#left === IN_CHUNKS ? formatChunkStart(chunk.length) : ''
    const behind = this.#left === IN_CHUNKS ? CHUNK_END : ''
    const { socket } = this.#connection
    if (this.#pending.length + chunk.length <= SMALL_PIECE_BYTES) {
      this.#pending += before + chunk.toString('latin1') + behind
      this.#awaitTick()
      return !socket.writableNeedDrain
    }
    socket.cork()
    this.#pending += before
    this.flushHeaders()
    socket.write(chunk)
    this.#pending = behind
    this.flushHeaders()
    socket.uncork()
    return !socket.writableNeedDrain
  }

  addTrailers(trailers: [string, string][]): void {
    if (this.#left === IN_CHUNKS) this.#lastChunk = formatLastChunk(trailers.flat())
  }

  end(body: Buffer | string | null = null, encoding: BufferEncoding = 'utf8'): void {
    if (this.#ended || this.destroyed) return
    const text = asText(body, encoding)
    const size = text?.length ?? body!.length
    if (size > 0 && this.#left !== NO_BODY && !this.#count(size)) return
    // Not all of what was announced: it must not look whole.
    if (this.#left > 0) {
      this.abort()
      return
    }
    this.#ended = true
    if (text === null && this.#left !== NO_BODY) this.#writeLarge(body as Buffer)
    else if (size > 0 && this.#left !== NO_BODY)
      this.#pending += this.#left === IN_CHUNKS ? `${formatChunkStart(size)}${text}${CHUNK_END}` : text
    this.#sendLast()
  }

  onDrain(onDrained: () => void): void {
    this.#connection.socket.once('drain', onDrained)
  }

  sendWhole(status: number, fields: string[], body: Buffer | null): void {
    const request = this.#request
    // It may be here already, unread.
    if (!request.complete && !this.awaitsContinue) request.dropReader()
    // What was here of it may have been malformed, and that was answered.
    if (this.headersSent) return
    // After an unread body the next request could not be told from the rest of it.
    if (!request.complete) this.keepAlive = false
    this.writeHead(status, undefined, fields)
    this.end(body)
  }

  /**
   * Without a length or chunks only a reset tells a cut response from a whole one (RFC 9112, section 8). TLS tells by
   * its own end, which is not sent here.
   */
  abort(): void {
    if (this.#closed) return
    const { socket, secure } = this.#connection
    this.#ended = true
    this.#pending = ''
    if (this.headersSent && !this.chunkable && !secure) socket.resetAndDestroy()
    else socket.destroy()
  }

  /** The connection has gone. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pending = ''
    this.#owner?.onClose()
  }

  /** @returns false where the body would be longer than announced */
  #count(size: number): boolean {
    if (this.#left < 0) return true
    if (size > this.#left) {
      this.abort()
      return false
    }
    this.#left -= size
    return true
  }

  #awaitTick(): void {
    if (this.#awaitsTick) return
    this.#awaitsTick = true
    process.nextTick(flushAtEndOfTick, this)
  }

  onEndOfTick(): void {
    this.#awaitsTick = false
    this.flushHeaders()
  }

  #writeLarge(body: Buffer): void {
    const { socket } = this.#connection
    socket.cork()
    if (this.#left === IN_CHUNKS) this.#pending += formatChunkStart(body.length)
    this.flushHeaders()
    socket.write(body)
    if (this.#left === IN_CHUNKS) this.#pending = CHUNK_END
    socket.uncork()
  }

  #sendLast(): void {
    const { socket, secure } = this.#connection
    if (this.#left === IN_CHUNKS) this.#pending += this.#lastChunk
    const text = this.#pending
    this.#pending = ''
    // TLS has not written what it was given when the call returns.
    if (secure) socket.write(text, 'latin1', (error) => this.#onSent(error))
    else {
      if (text !== '') socket.write(text, 'latin1')
      if (socket.writableLength === 0 && socket.errored === null) this.#finish()
      else socket.write('', (error) => this.#onSent(error))
    }
  }

  #onSent(error: Error | null | undefined): void {
    if (error === null || error === undefined) this.#finish()
  }

  #finish(): void {
    if (this.#closed) return
    this.#closed = true
    this.writableFinished = true
    this.#owner?.onClose()
    this.#connection.onResponseEnd(this)
  }
}

function flushAtEndOfTick(response: Http1Response): void {
  response.onEndOfTick()
}

/** @returns one character for each byte; null where the body is too large for that to pay */
function asText(body: Buffer | string | null, encoding: BufferEncoding): string | null {
  if (body === null) return ''
  if (typeof body !== 'string') return body.length > WHOLE_MAX_BYTES ? null : body.toString('latin1')
  return encoding === 'latin1' ? body : Buffer.from(body, encoding).toString('latin1')
}
