import { HeadError, TOKEN } from './head-writer.ts'

/** Bytes of body up to which copying them behind a head costs less than a second write. */
const SMALL = 16 * 1024

/** Behind the bytes of a chunk. */
export const CHUNK_END = '\r\n'

/** Whether `joinHeadAndBody` and `formatChunk` are for a body or chunk of this size. */
export function isSmall(bytes: number): boolean {
  return bytes <= SMALL
}

/** A head and its whole body as one piece, so that they leave in one write. */
export function joinHeadAndBody(head: string, body: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(head.length + body.length)
  bytes.write(head, 0, 'latin1')
  body.copy(bytes, head.length)
  return bytes
}

/** What stands before the bytes of a chunk. A chunk of no bytes would end the body, so it is a fault. */
export function formatChunkStart(size: number): string {
  if (size <= 0) throw new RangeError('a chunk without bytes')
  return `${size.toString(16)}\r\n`
}

/** A whole chunk as one piece. */
export function formatChunk(body: Buffer): Buffer {
  const start = formatChunkStart(body.length)
  const bytes = Buffer.allocUnsafe(start.length + body.length + CHUNK_END.length)
  bytes.write(start, 0, 'latin1')
  body.copy(bytes, start.length)
  bytes.write(CHUNK_END, start.length + body.length, 'latin1')
  return bytes
}

/** The end of a chunked body without trailers. */
export const LAST_CHUNK = '0\r\n\r\n'

/**
 * The end of a chunked body, as latin1 text.
 *
 * @param trailers names and values in turn
 * @throws HeadError where one of them would break its line
 */
export function formatLastChunk(trailers: readonly string[]): string {
  if (trailers.length === 0) return LAST_CHUNK
  let text = '0\r\n'
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i]!
    const value = trailers[i + 1]!
    if (!TOKEN.test(name) || UNWRITABLE.test(value))
      throw new HeadError('a trailer that would break its line')
    text += `${name}: ${value}\r\n`
  }
  return `${text}\r\n`
}

const UNWRITABLE = /[\0\r\n]|[^\0-\xff]/
