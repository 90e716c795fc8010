import { STATUS_CODES } from 'node:http'
import type { Engine } from './engine.ts'
import { CONTENT_LENGTH, type FieldNames, OTHER } from './field-names.ts'
import {
  announcesForbiddenBody,
  connectionPersists,
  LengthFields,
  requestLength,
  responseLength,
  UNTIL_CLOSE,
} from './framing.ts'
import { NUMBERS_PER_FIELD, type TokenSpans } from './token-spans.ts'

interface MessageHead {
  /** 0 or 1: of HTTP/1.0 and HTTP/1.1. */
  readonly minor: number
  /** Names and values in turn, as they were spelled (latin1), without white space around the values. */
  readonly fields: readonly string[]
  /** Bytes of body, `CHUNKED` or `UNTIL_CLOSE`. */
  readonly length: number
  /** Whether version and fields let the connection go on once the whole message was read. */
  readonly keepAlive: boolean
}

/** The head of a request. Its texts are parts of one string: who keeps one of them for long keeps all. */
export interface RequestHead extends MessageHead {
  readonly method: string
  readonly target: string
}

/** The head of a response. A HEAD request's has the `length` that GET would have had. */
export interface ResponseHead extends MessageHead {
  readonly status: number
  readonly reason: string
}

/**
 * Makes a head of what llhttp found, or says why it must be refused.
 *
 * @param bytes begin with the head, and may go on behind it
 * @param text the head as latin1: values are cut from it, and bytes are looked at, since that costs less than to look
 *   at characters of a string
 */
export type ReadHead<H> = (parser: number, bytes: Buffer, text: string) => H | string

/**
 * Reads the fields whose places `spans` holds, and what they say about the body's length into `lengths`.
 *
 * Every line must end with CR LF and be followed by the next at once. undici's llhttp takes CR CR for the end of a
 * status line, which Node's does not: the bytes between two tokens are looked at here once more.
 *
 * @param start where the first field must begin
 * @returns null where a line ends in another way
 */
export function readFields(
  bytes: Buffer,
  text: string,
  start: number,
  reading: FieldReading,
): string[] | null {
  const { names, lengths } = reading
  const { fields: numbers, count } = reading.spans
  const fields: string[] = new Array(count / 2)
  lengths.clear()
  let line = start
  for (let i = 0, j = 0; i < count; i += NUMBERS_PER_FIELD, j += 2) {
    const nameEnd = numbers[i + 1]!
    let valueStart = numbers[i + 2]!
    let valueEnd = numbers[i + 3]!
    if (valueStart === valueEnd) valueStart = valueEnd = skipBlanks(bytes, nameEnd + 1)
    if (numbers[i] !== line || !isLineEnd(bytes, valueEnd)) return null
    line = valueEnd + 2
    // llhttp takes the white space before a value away, and leaves that behind it (RFC 9112, section 5.1).
    while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1])) valueEnd--
    const name = names.read(bytes, numbers[i]!, nameEnd)
    const value = text.substring(valueStart, valueEnd)
    fields[j] = name.text
    fields[j + 1] = value
    if (name.role === OTHER) continue
    if (name.role === CONTENT_LENGTH) lengths.addContentLength(value)
    else lengths.addTransferEncoding(value)
  }
  return isLineEnd(bytes, line) && line + 2 === text.length ? fields : null
}

/** What `readFields` reads with. */
export interface FieldReading {
  readonly spans: TokenSpans
  readonly names: FieldNames
  readonly lengths: LengthFields
}

export function createRequestReader(engine: Engine, names: FieldNames): ReadHead<RequestHead> {
  const { spans } = engine
  const lengths = new LengthFields()
  const reading = { spans, names, lengths }
  return (parser, bytes, text) => {
    const { lineStart, lineEnd } = spans
    // llhttp takes several spaces between the words of the line, and servers differ in what they make of them.
    if (bytes[lineStart - 2] === SPACE) return 'several spaces in the request line'
    const minor = minorVersion(bytes, lineEnd + 1)
    if (minor === -1 || bytes[lineEnd] !== SPACE) return 'a version other than HTTP/1.0 and HTTP/1.1'
    const lineBreak = lineEnd + VERSION.length + 1
    const fields = isLineEnd(bytes, lineBreak) ? readFields(bytes, text, lineBreak + 2, reading) : null
    if (fields === null) return BROKEN_LINES
    const length = requestLength(minor, lengths)
    if (typeof length === 'string') return length
    const target = text.substring(lineStart, lineEnd)
    return { method: engine.method(parser), target, minor, fields, length, keepAlive: spans.keepAlive }
  }
}

export function createResponseReader(engine: Engine, names: FieldNames): ReadHead<ResponseHead> {
  const { spans } = engine
  const lengths = new LengthFields()
  const reading = { spans, names, lengths }
  return (_parser, bytes, text) => {
    const { status } = spans
    const minor = minorVersion(bytes, 0)
    if (minor === -1) return 'a version other than HTTP/1.0 and HTTP/1.1'
    if (status < 100 || status > 599) return `a status of ${status}`
    const reason = text.substring(spans.lineStart, spans.lineEnd)
    if (reason !== STATUS_CODES[status] && CONTROL.test(reason)) return 'a control character in the reason'
    // Where not even the space before a reason is there, llhttp calls for none.
    const lineBreak = spans.lineEnd === 0 ? STATUS_END : spans.lineEnd
    const fields = isLineEnd(bytes, lineBreak) ? readFields(bytes, text, lineBreak + 2, reading) : null
    if (fields === null) return BROKEN_LINES
    const length = responseLength(status, lengths)
    if (typeof length === 'string') return length
    let { keepAlive } = spans
    if (length === UNTIL_CLOSE) keepAlive = connectionPersists(minor, fields)
    else if (announcesForbiddenBody(status, lengths)) keepAlive = false
    // RFC 9112, section 6.1: the framing of such a message is to be taken for faulty.
    else if (minor === 0 && lengths.transferEncodings > 0) keepAlive = false
    // Node's client reads no response behind such a head.
    if (status < 200 && status !== 101 && !keepAlive)
      return 'an informational response that ends the connection or announces a body'
    return { status, reason, minor, fields, length, keepAlive }
  }
}

const SPACE = 0x20
const VERSION = 'HTTP/1.1'
const STATUS_END = 'HTTP/1.1 200'.length
const BROKEN_LINES = 'a line that does not end with CR LF'

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/

function isLineEnd(bytes: Buffer, at: number): boolean {
  return bytes[at] === 0x0d && bytes[at + 1] === 0x0a
}

function skipBlanks(bytes: Buffer, from: number): number {
  let at = from
  while (isBlank(bytes[at])) at++
  return at
}

function isBlank(code: number | undefined): boolean {
  return code === SPACE || code === 0x09
}

/** llhttp has checked the version's form; what it leaves open is RTSP, ICE and versions of HTTP that are not 1. */
function minorVersion(bytes: Buffer, at: number): number {
  if (bytes[at] !== 0x48 || bytes[at + 5] !== 0x31) return -1
  const minor = bytes[at + 7]! - 0x30
  return minor === 0 || minor === 1 ? minor : -1
}
