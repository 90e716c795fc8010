import type { FieldGroup } from '../http/field-group.ts'

/** Lines that a head gets behind its own fields; they can be combined. */
export const CONNECTION_CLOSE = 1
export const CONNECTION_KEEP_ALIVE = 2
export const TRANSFER_CHUNKED = 4
/** Of responses: `Date`, by the writer's clock. */
export const DATE = 8

/** A head that must not be written: some text in it would end its line, or be read as another one. */
export class HeadError extends Error {
  override readonly name = 'HeadError'
  readonly code = 'head_invalid'
}

export interface HeadWriter {
  /**
   * The head of a request as latin1 text, with its empty line.
   *
   * @param fields names and values in turn
   * @param lines `CONNECTION_CLOSE` and its like
   * @throws HeadError
   */
  formatRequest(method: string, target: string, fields: readonly string[], lines?: number): string
  /**
   * The same for a response of HTTP/1.1, informational ones included.
   *
   * @param first what stands before `fields`; null where nothing does
   * @throws HeadError
   */
  formatResponse(
    status: number,
    reason: string,
    fields: readonly string[],
    lines?: number,
    first?: FieldGroup | null,
  ): string
}

/**
 * @param dateNow the value of `Date`, of the current second
 * @param keepAlive the value of `Keep-Alive`, sent with `CONNECTION_KEEP_ALIVE`; empty for none
 */
export function createHeadWriter(dateNow: () => string, keepAlive = ''): HeadWriter {
  const keepAliveLines = `Connection: keep-alive\r\n${keepAlive === '' ? '' : `Keep-Alive: ${keepAlive}\r\n`}`
  const addedLines = (lines: number, date: string) => {
    let text = date === '' ? '' : `Date: ${date}\r\n`
    if (lines & TRANSFER_CHUNKED) text += 'Transfer-Encoding: chunked\r\n'
    if (lines & CONNECTION_CLOSE) text += 'Connection: close\r\n'
    else if (lines & CONNECTION_KEEP_ALIVE) text += keepAliveLines
    return `${text}\r\n`
  }
  const addedCount = (lines: number) => {
    const count = OUTER_LINES + (lines & DATE ? 1 : 0) + (lines & TRANSFER_CHUNKED ? 1 : 0)
    if (lines & CONNECTION_CLOSE) return count + 1
    if (lines & CONNECTION_KEEP_ALIVE) return count + (keepAlive === '' ? 1 : 2)
    return count
  }
  const tokens = new Set<string>()
  const expectToken = (text: string) => {
    if (tokens.has(text)) return
    if (!TOKEN.test(text)) throw new HeadError('a method or a field name that is no token')
    if (tokens.size < MAX_KNOWN_TOKENS && text.length <= LONGEST_KNOWN_TOKEN) tokens.add(text)
  }
  const formatHead = (startLine: string, fields: readonly string[], added: string) => {
    let text = startLine
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      expectToken(name)
      text += `${name}: ${fields[i + 1]!}\r\n`
    }
    return text + added
  }
  const checkedLines = (group: FieldGroup) => {
    const { fields } = group
    group.lines ??= expectLines(formatHead('', fields, ''), fields.length / 2)
    return group.lines
  }
  return {
    formatRequest(method, target, fields, lines = 0) {
      expectToken(method)
      if (target === '' || target.includes(' ')) throw new HeadError('a request target with a space')
      const head = formatHead(`${method} ${target} HTTP/1.1\r\n`, fields, addedLines(lines, ''))
      return expectLines(head, fields.length / 2 + addedCount(lines & ~DATE))
    },
    formatResponse(status, reason, fields, lines = 0, first = null) {
      if (!Number.isInteger(status) || status < 100 || status > 599)
        throw new HeadError(`a status of ${status}`)
      const startLine = `HTTP/1.1 ${status} ${reason}\r\n`
      const added = addedLines(lines, lines & DATE ? dateNow() : '')
      const count = fields.length / 2 + addedCount(lines)
      if (first === null) return expectLines(formatHead(startLine, fields, added), count)
      if (BREAKS_LINE.test(reason)) throw new HeadError('a line break or NUL in the reason')
      return startLine + checkedLines(first) + expectLines(formatHead('', fields, added), count - 1)
    },
  }
}

/**
 * @param count lines that `head` must have
 * @returns `head`, once nothing in it breaks a line that was not meant to be broken
 *
 * One look at the whole head, since a regular expression on each value cost 4 times as much.
 */
function expectLines(head: string, count: number): string {
  // Without the characters above 0x7f, which latin1 would cut down to 8 bits: U+010A to a line feed.
  if (Buffer.byteLength(head) !== head.length && BEYOND_LATIN1.test(head)) {
    throw new HeadError('a character beyond latin1')
  }
  let lines = 0
  for (let at = head.indexOf('\n'); at !== -1; at = head.indexOf('\n', at + 1)) lines++
  let returns = 0
  for (let at = head.indexOf('\r'); at !== -1; at = head.indexOf('\r', at + 1)) returns++
  if (lines !== count || returns !== count || head.includes('\0')) {
    throw new HeadError('a line break or NUL in a field, the target or the reason')
  }
  return head
}

/** The first line of a head and its empty one. */
const OUTER_LINES = 2

const MAX_KNOWN_TOKENS = 500
const LONGEST_KNOWN_TOKEN = 64

/** A method or a field name (RFC 9110, section 5.6.2). */
export const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const BEYOND_LATIN1 = /[^\0-\xff]/
const BREAKS_LINE = /[\0\r\n]|[^\0-\xff]/
