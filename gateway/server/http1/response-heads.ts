import type { FieldGroup } from '../../http/field-group.ts'
import { withoutLength } from '../../http/headers.ts'
import {
  CONNECTION_CLOSE,
  CONNECTION_KEEP_ALIVE,
  DATE,
  type HeadWriter,
  TRANSFER_CHUNKED,
} from '../../http1/head-writer.ts'

/** How the end of a response's body is told, where it is not by a number of bytes. */
export const NO_BODY = -1
export const IN_CHUNKS = -2
export const TO_THE_END = -3

/** What of a request decides how its response is framed. */
export interface ResponseTo {
  readonly isHead: boolean
  /** HTTP/1.0 knows no chunks. */
  readonly chunkable: boolean
  /** The connection may go on behind the response, as far as the rest of it allows. */
  readonly keepAlive: boolean
}

/** Writes the heads of responses, one after the other. What the latest says of itself is in its fields. */
export class ResponseHeads {
  readonly writer: HeadWriter
  /** Bytes of body that follow, or how else their end is told (RFC 9112, section 6.3). */
  bodyLength = NO_BODY
  keepAlive = false
  /** Bytes by `Content-Length`; -1 where there is none. */
  #announced = -1
  #hasDate = false

  constructor(writer: HeadWriter) {
    this.writer = writer
  }

  /**
   * @param fields flat name, value pairs, without `Connection` and `Transfer-Encoding`
   * @param first what stands before `fields`; null where nothing does
   * @returns latin1 text
   * @throws HeadError, RangeError where a field cannot be sent
   */
  format(
    status: number,
    reason: string,
    fields: readonly string[],
    to: ResponseTo,
    first: FieldGroup | null,
  ): string {
    this.#read(fields, first)
    const empty = status === 204 || status === 304
    if (empty || to.isHead) this.bodyLength = NO_BODY
    else if (this.#announced !== -1) this.bodyLength = this.#announced
    else this.bodyLength = to.chunkable ? IN_CHUNKS : TO_THE_END
    this.keepAlive = to.keepAlive && this.bodyLength !== TO_THE_END
    const lines =
      (this.#hasDate ? 0 : DATE) |
      (this.bodyLength === IN_CHUNKS ? TRANSFER_CHUNKED : 0) |
      (this.keepAlive ? CONNECTION_KEEP_ALIVE : CONNECTION_CLOSE)
    // RFC 9110, section 8.6.
    if (status !== 204 || this.#announced === -1)
      return this.writer.formatResponse(status, reason, fields, lines, first)
    const all = first === null ? fields : [...first.fields, ...fields]
    return this.writer.formatResponse(status, reason, withoutLength(all), lines)
  }

  #read(fields: readonly string[], first: FieldGroup | null): void {
    this.#announced = -1
    this.#hasDate = first?.facts.hasDate ?? false
    if (first !== null && first.facts.contentLength !== null) {
      if (first.facts.repeatsContentLength) throw notOneLength()
      this.#readLength(first.facts.contentLength)
    }
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      if (name.length === 14 && name.toLowerCase() === 'content-length') this.#readLength(fields[i + 1]!)
      else if (name.length === 4 && name.toLowerCase() === 'date') this.#hasDate = true
    }
  }

  #readLength(value: string): void {
    if (this.#announced !== -1 || !/^\d{1,15}$/.test(value)) throw notOneLength()
    this.#announced = Number(value)
  }
}

function notOneLength(): RangeError {
  return new RangeError('not one Content-Length')
}
