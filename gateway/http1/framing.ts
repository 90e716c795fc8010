/** Lengths of a body that are no number of bytes. */
export const CHUNKED = -1
export const UNTIL_CLOSE = -2

/** What the fields of a head say about the length of its body. */
export class LengthFields {
  contentLengths = 0
  contentLength = ''
  transferEncodings = 0
  transferEncoding = ''

  clear(): void {
    this.contentLengths = 0
    this.transferEncodings = 0
  }

  addContentLength(value: string): void {
    this.contentLengths++
    this.contentLength = value
  }

  addTransferEncoding(value: string): void {
    this.transferEncodings++
    this.transferEncoding = value
  }
}

/**
 * The length of a request's body: bytes or `CHUNKED` (RFC 9112, section 6.3), or a text that says why the request
 * must be refused. llhttp takes codings before `chunked`, which the next server may read in another way, and chunks
 * in HTTP/1.0, where section 6.1 calls the framing faulty.
 */
export function requestLength(minor: number, fields: LengthFields): number | string {
  if (fields.transferEncodings === 0) return fields.contentLengths === 0 ? 0 : contentLengthOf(fields)
  if (minor === 0) return 'Transfer-Encoding in HTTP/1.0'
  return chunkedAlone(fields)
}

/**
 * The same for a response: `UNTIL_CLOSE` where neither field gives a length. Whether the request was HEAD is the
 * caller's to know. A 1xx, 204 or 304 has no body whatever it says.
 */
export function responseLength(status: number, fields: LengthFields): number | string {
  let length: number | string = UNTIL_CLOSE
  if (fields.transferEncodings > 0) length = chunkedAlone(fields)
  else if (fields.contentLengths > 0) length = contentLengthOf(fields)
  if (typeof length === 'string') return length
  return status < 200 || status === 204 || status === 304 ? 0 : length
}

/** Whether a `Content-Length` or `Transfer-Encoding` of the response must not be passed on (RFC 9110, section 8.6). */
export function passesNoLength(status: number): boolean {
  return status < 200 || status === 204 || status === 304
}

/** A 204 that announces a body may be followed by it, and then by bytes that look like another response. */
export function announcesForbiddenBody(status: number, fields: LengthFields): boolean {
  if (status !== 204 && status >= 200) return false
  return fields.transferEncodings > 0 || (fields.contentLengths > 0 && !/^0+$/.test(fields.contentLength))
}

function chunkedAlone(fields: LengthFields): number | string {
  if (fields.contentLengths > 0) return 'Transfer-Encoding with Content-Length'
  if (fields.transferEncodings > 1) return 'several Transfer-Encoding fields'
  if (fields.transferEncoding.toLowerCase() !== 'chunked') return 'a Transfer-Encoding other than chunked'
  return CHUNKED
}

function contentLengthOf(fields: LengthFields): number | string {
  if (fields.contentLengths > 1) return 'several Content-Length fields'
  const length = Number(fields.contentLength)
  // Number() also reads "0x10", "1e3" and the empty text.
  if (!Number.isSafeInteger(length) || !/^\d+$/.test(fields.contentLength))
    return 'a malformed Content-Length'
  return length
}

/**
 * Whether version and `Connection` let the connection go on (RFC 9112, section 9.3).
 *
 * llhttp says so too, but counts an answer to HEAD without a length as one that lasts until the connection ends.
 */
export function connectionPersists(minor: number, fields: readonly string[]): boolean {
  let keepAlive = minor === 1
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i]!.length !== 10 || fields[i]!.toLowerCase() !== 'connection') continue
    for (const option of fields[i + 1]!.toLowerCase().split(',')) {
      const word = option.trim()
      if (word === 'close') return false
      if (word === 'keep-alive') keepAlive = true
    }
  }
  return keepAlive
}
