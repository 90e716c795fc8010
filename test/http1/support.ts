import type { RequestHead, ResponseHead } from '../../gateway/http1/heads.ts'
import type { MessageParser } from '../../gateway/http1/message-parser.ts'
import type { Disposition, Finish, MessageHandler, ParserLimits } from '../../gateway/http1/messages.ts'
import { createWire } from '../../gateway/http1/wire.ts'

export const wire = createWire()

export const LIMITS: ParserLimits = { maxHeadBytes: 16 * 1024, maxFields: 2000 }

export interface ReadMessage<H> {
  readonly head: H
  readonly body: string
  /** Null where the message did not end. */
  readonly trailers: readonly string[] | null
}

export interface ReadStream<H> {
  readonly messages: readonly ReadMessage<H>[]
  /** `ended`, `idle` or `cut` by the end of the bytes; `upgrade`; or the error. */
  readonly end: Finish | 'upgrade' | { readonly code: string; readonly reason: string }
  /** Bytes that were not read. */
  readonly rest: string
  readonly keepAlive: boolean
}

export interface ReadOptions<H> {
  readonly limits?: ParserLimits
  readonly decide?: (head: H) => Disposition
}

/** The bytes cut into pieces at these places. */
export function cutAt(bytes: Buffer, places: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  let from = 0
  for (const place of [...places, bytes.length]) {
    // A copy, as a socket's chunks are: reading beyond its end would be seen.
    pieces.push(Buffer.from(bytes.subarray(from, place)))
    from = place
  }
  return pieces
}

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

type CreateParser<H extends RequestHead | ResponseHead> = (
  handler: MessageHandler<H>,
  limits: ParserLimits,
) => MessageParser<H>

/** Reads until an error, an upgrade, a message that ends the connection, or the end of the pieces. */
function readStream<H extends RequestHead | ResponseHead>(
  create: CreateParser<H>,
  pieces: readonly Buffer[],
  { limits = LIMITS, decide = () => 'read' }: ReadOptions<H>,
): ReadStream<H> {
  const messages: { head: H; body: string; trailers: readonly string[] | null }[] = []
  const handler: MessageHandler<H> = {
    onHead(head) {
      messages.push({ head, body: '', trailers: null })
      return decide(head)
    },
    onBody(bytes) {
      messages.at(-1)!.body += bytes.toString('latin1')
    },
    onEnd(trailers) {
      messages.at(-1)!.trailers = trailers
    },
  }
  const parser = create(handler, limits)
  try {
    const stopped = feed(parser, pieces)
    if (stopped !== null) {
      const end = stopped.outcome === 'error' ? parser.error! : stopped.outcome
      return { messages, end, rest: stopped.rest, keepAlive: parser.keepAlive }
    }
    const end = parser.finish()
    return { messages, end, rest: '', keepAlive: parser.keepAlive }
  } finally {
    parser.close()
  }
}

interface Stopped {
  readonly outcome: 'error' | 'upgrade' | 'ended'
  readonly rest: string
}

function feed<H extends RequestHead | ResponseHead>(
  parser: MessageParser<H>,
  pieces: readonly Buffer[],
): Stopped | null {
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i]!
    let at = 0
    do {
      const outcome = parser.execute(piece, at)
      at = parser.position
      if (outcome === 'error' || outcome === 'upgrade' || (outcome === 'ended' && !parser.keepAlive)) {
        const rest = Buffer.concat([piece.subarray(at), ...pieces.slice(i + 1)]).toString('latin1')
        return { outcome, rest }
      }
    } while (at < piece.length)
  }
  return null
}

export function readRequests(
  pieces: readonly Buffer[] | string,
  options: ReadOptions<RequestHead> = {},
): ReadStream<RequestHead> {
  const given = typeof pieces === 'string' ? [bytesOf(pieces)] : pieces
  return readStream((handler, limits) => wire.createRequestParser(handler, limits), given, options)
}

export function readResponses(
  pieces: readonly Buffer[] | string,
  options: ReadOptions<ResponseHead> = {},
): ReadStream<ResponseHead> {
  const given = typeof pieces === 'string' ? [bytesOf(pieces)] : pieces
  return readStream((handler, limits) => wire.createResponseParser(handler, limits), given, options)
}
