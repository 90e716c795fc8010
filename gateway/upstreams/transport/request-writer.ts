import type { Socket } from 'node:net'
import { CHUNK_END, formatChunkStart, LAST_CHUNK } from '../../http1/body-writer.ts'
import { CONNECTION_CLOSE, type HeadWriter, TRANSFER_CHUNKED } from '../../http1/head-writer.ts'
import type { RequestHead } from './target-stream.ts'

/** A whole body up to this size is written with its head as one string, which is one write of one piece. */
const WHOLE_MAX_BYTES = 16_384

/** Chunks up to this size are joined with their framing. */
const SMALL_CHUNK_BYTES = 4096

/** The length of a body without `Content-Length`. */
const IN_CHUNKS = -1

/** Methods whose requests usually have a body: without one they carry `Content-Length: 0` (RFC 9110, section 8.6). */
const WITH_CONTENT = new Set(['POST', 'PUT', 'PATCH'])

/** The body is longer or shorter than announced, so that the target would misread where the next request begins. */
export class BodyLengthError extends Error {
  override readonly name = 'BodyLengthError'
}

/** Writes requests to one connection, one after the other. */
export class RequestWriter {
  readonly #heads: HeadWriter
  readonly #socket: Socket
  /** Sent with every head. */
  readonly #lines: number
  /** A head that is not written yet; empty where there is none. */
  #head = ''
  /** Bytes of body to come, or `IN_CHUNKS`. */
  #left = 0

  /** @param close true where each request asks its target to close the connection behind it */
  constructor(heads: HeadWriter, socket: Socket, close: boolean) {
    this.#heads = heads
    this.#socket = socket
    this.#lines = close ? CONNECTION_CLOSE : 0
  }

  /** True while a head waits for the first piece of its body, for the end of it or for `flushHead`. */
  get holdsHead(): boolean {
    return this.#head !== ''
  }

  /**
   * Sets the head of the next request. It is written with the first piece of its body, or by `flushHead`.
   *
   * @throws HeadError
   */
  setHead(method: string, { path, headers, hasBody }: RequestHead): void {
    const length = announcedLength(headers)
    this.#left = length
    let lines = this.#lines
    let fields = headers
    if (hasBody && length === IN_CHUNKS) lines |= TRANSFER_CHUNKED
    else if (!hasBody && length === IN_CHUNKS && WITH_CONTENT.has(method))
      fields = [...headers, 'Content-Length', '0']
    this.#head = this.#heads.formatRequest(method, path, fields, lines)
  }

  flushHead(): void {
    if (this.#head === '') return
    this.#socket.write(this.#head, 'latin1')
    this.#head = ''
  }

  /** @returns false where the socket is to be given a rest. @throws BodyLengthError */
  writeBody(chunk: Buffer): boolean {
    if (chunk.length === 0) return true
    const head = this.#head
    this.#head = ''
    if (this.#left === IN_CHUNKS) return this.#writeChunk(head, chunk)
    // Written so that it is also thrown where the length is not a number.
    if (!(chunk.length <= this.#left)) throw new BodyLengthError('the body is longer than its Content-Length')
    this.#left -= chunk.length
    if (head === '') return this.#socket.write(chunk)
    if (this.#left === 0 && chunk.length <= WHOLE_MAX_BYTES)
      return this.#socket.write(head + chunk.toString('latin1'), 'latin1')
    this.#socket.cork()
    this.#socket.write(head, 'latin1')
    const more = this.#socket.write(chunk)
    this.#socket.uncork()
    return more
  }

  /** @throws BodyLengthError */
  end(): void {
    if (this.#left > 0) throw new BodyLengthError('the body is shorter than its Content-Length')
    const last = this.#left === IN_CHUNKS ? LAST_CHUNK : ''
    const text = this.#head + last
    this.#head = ''
    if (text !== '') this.#socket.write(text, 'latin1')
  }

  #writeChunk(head: string, chunk: Buffer): boolean {
    const before = head + formatChunkStart(chunk.length)
    if (chunk.length <= SMALL_CHUNK_BYTES)
      return this.#socket.write(before + chunk.toString('latin1') + CHUNK_END, 'latin1')
    this.#socket.cork()
    this.#socket.write(before, 'latin1')
    this.#socket.write(chunk)
    const more = this.#socket.write(CHUNK_END, 'latin1')
    this.#socket.uncork()
    return more
  }
}

function announcedLength(fields: readonly string[]): number {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (name.length === 14 && name.toLowerCase() === 'content-length') return Number(fields[i + 1])
  }
  return IN_CHUNKS
}
