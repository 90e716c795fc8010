import { BODY_PIECE, type Engine, HEAD_PIECE } from './engine.ts'
import { CHUNKED, UNTIL_CLOSE } from './framing.ts'
import type { RequestHead, ResponseHead } from './heads.ts'
import { OK, PAUSED, RESPONSE } from './llhttp.ts'
import type { Finish, MessageHandler, MessageKind, Outcome, ParserLimits } from './messages.ts'
import { joinSmallSlices } from './slices.ts'
import type { SavedSpans } from './token-spans.ts'
import type { WireError, WireErrorCode } from './wire-error.ts'

const HEAD = 0
const COUNTED = 1
const CHUNKS = 2
const TO_THE_END = 3
const ENDED = 4
const UPGRADED = 5
const FAILED = 6
const CLOSED = 7

/** No bound, as a number that V8 keeps small. */
const UNBOUNDED = 0x3fffffff

/** What Node allows of extensions to one chunk; RFC 9112, section 7.1.1, asks for a bound. */
const MAX_CHUNK_EXTENSIONS = 16 * 1024

const NO_TRAILERS: readonly string[] = []

/**
 * Reads the messages of one connection, one after the other.
 *
 * llhttp reads heads and chunked bodies. A body of known length is counted here, and one that ends with the
 * connection is passed through, so that their bytes are not copied into llhttp's memory.
 */
export class MessageParser<H extends RequestHead | ResponseHead> {
  /** Where in the chunk the last `execute` ended; after an error, where it was noticed. */
  position = 0
  /** Whether another message may follow the one that ended. */
  keepAlive = true
  error: WireError | null = null
  readonly #engine: Engine
  readonly #kind: MessageKind<H>
  readonly #handler: MessageHandler<H>
  readonly #limits: ParserLimits
  readonly #parser: number
  #state = HEAD
  /** Bytes to come of a body whose length is known. */
  #remaining = 0
  /** Bytes of the head so far, or in a chunked body those since the last byte of body. */
  #seen = 0
  /** What the pieces so far brought of a head or of trailers. */
  #text = ''
  #saved: SavedSpans | null = null

  constructor(engine: Engine, kind: MessageKind<H>, handler: MessageHandler<H>, limits: ParserLimits) {
    this.#engine = engine
    this.#kind = kind
    this.#handler = handler
    this.#limits = limits
    this.#parser = engine.allocate(kind.type)
  }

  /** Reads `chunk` from `from` on. A message that ended is followed by the next. */
  execute(chunk: Buffer, from = 0): Outcome {
    this.position = from
    if (this.#state === ENDED && from < chunk.length) {
      if (!this.keepAlive) return this.#fail('closed', 'bytes behind a message that ends the connection')
      this.#state = HEAD
    }
    for (;;) {
      const outcome = this.#step(chunk)
      if (outcome !== null) return outcome
    }
  }

  /** The peer has ended the connection. */
  finish(): Finish {
    switch (this.#state) {
      case HEAD:
        return this.#seen === 0 ? 'idle' : 'cut'
      case ENDED:
      case UPGRADED:
        return 'idle'
      case TO_THE_END:
        this.#end(NO_TRAILERS)
        return 'ended'
      case COUNTED:
        if (this.#remaining > 0) return 'cut'
        this.#end(NO_TRAILERS)
        return 'ended'
      default:
        return 'cut'
    }
  }

  /** Forgets the message under way, and any error: the next bytes are the first of a head. */
  reset(): void {
    if (this.#closed) return
    this.#begin()
    this.keepAlive = true
    this.error = null
    this.#state = HEAD
  }

  /** Gives its memory back. Every parser must be closed; a second call does nothing. */
  close(): void {
    if (this.#closed) return
    this.#state = CLOSED
    this.#saved = null
    this.#text = ''
    this.#engine.free(this.#parser)
  }

  get #closed(): boolean {
    return this.#state === CLOSED
  }

  #step(chunk: Buffer): Outcome | null {
    switch (this.#state) {
      case HEAD:
        return this.position === chunk.length ? 'more' : this.#readHead(chunk)
      case COUNTED:
        return this.#countBody(chunk)
      case CHUNKS:
        return this.position === chunk.length ? 'more' : this.#readChunks(chunk)
      case TO_THE_END:
        this.#handBody(chunk, chunk.length)
        return this.#closed ? 'closed' : 'more'
      case ENDED:
        return 'ended'
      case UPGRADED:
        return 'upgrade'
      case FAILED:
        return 'error'
      default:
        return 'closed'
    }
  }

  #readHead(chunk: Buffer): Outcome | null {
    const engine = this.#engine
    const { spans } = engine
    const from = this.position
    const to = Math.min(chunk.length, from + HEAD_PIECE)
    spans.maxFields = this.#limits.maxFields
    spans.maxOverhead = UNBOUNDED
    spans.bodyEnd = 0
    spans.begin(this.#seen - engine.address, this.#saved)
    const code = engine.execute(this.#parser, chunk, from, to)
    const end = code === OK ? to : from + engine.parsed(this.#parser)
    this.position = end
    if (code !== OK && code !== PAUSED) return this.#refuse(code)
    this.#seen += end - from
    if (this.#seen > this.#limits.maxHeadBytes) return this.#fail('headers_too_large', 'too many bytes')
    const text = chunk.toString('latin1', from, end)
    if (code === OK) {
      this.#text += text
      this.#saved = spans.save()
      return null
    }
    return this.#takeHead(this.#saved === null ? text : this.#text + text)
  }

  #takeHead(text: string): Outcome | null {
    const head = this.#kind.readHead(this.#parser, text)
    if (typeof head === 'string') return this.#fail('malformed', head)
    this.#saved = null
    this.#text = ''
    this.#seen = 0
    this.keepAlive = head.keepAlive
    if (head.length === CHUNKED) this.#state = CHUNKS
    else {
      // All that llhttp was to read of this message: the next one finds it as new.
      this.#engine.reset(this.#parser)
      this.#state = head.length === UNTIL_CLOSE ? TO_THE_END : COUNTED
      this.#remaining = head.length
    }
    return this.#kind.type === RESPONSE ? this.#askAboutResponse(head) : this.#askAboutRequest(head)
  }

  #askAboutRequest(head: H): Outcome | null {
    const disposition = this.#handler.onHead(head)
    if (this.#closed) return 'closed'
    if (disposition === 'pause') return 'paused'
    if (disposition !== 'upgrade') return null
    return head.length === 0 ? this.#upgrade() : this.#fail('unexpected_upgrade', 'an upgrade with a body')
  }

  #askAboutResponse(head: H): Outcome | null {
    const { status } = head as ResponseHead
    // Behind an informational head stands the next one.
    if (status < 200) this.#state = HEAD
    const disposition = this.#handler.onHead(head)
    if (this.#closed) return 'closed'
    if (disposition === 'upgrade') return this.#upgrade()
    if (status === 101) return this.#fail('unexpected_upgrade', 'a 101 that nobody asked for')
    if (disposition === 'skip' && status >= 200) return this.#end(NO_TRAILERS)
    if (head.length === UNTIL_CLOSE) this.keepAlive = false
    return disposition === 'pause' ? 'paused' : null
  }

  #upgrade(): Outcome {
    this.keepAlive = false
    this.#state = UPGRADED
    return 'upgrade'
  }

  #countBody(chunk: Buffer): Outcome {
    const length = Math.min(this.#remaining, chunk.length - this.position)
    this.#remaining -= length
    if (length > 0) {
      this.#handBody(chunk, this.position + length)
      if (this.#closed) return 'closed'
    }
    return this.#remaining > 0 ? 'more' : this.#end(NO_TRAILERS)
  }

  #handBody(chunk: Buffer, to: number): void {
    const from = this.position
    this.position = to
    if (from === to) return
    this.#handler.onBody(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to))
  }

  #readChunks(chunk: Buffer): Outcome | null {
    const engine = this.#engine
    const { spans } = engine
    const from = this.position
    const to = Math.min(chunk.length, from + BODY_PIECE)
    const inTrailers = this.#saved !== null
    spans.maxFields = this.#limits.maxFields
    spans.maxOverhead = Math.min(MAX_CHUNK_EXTENSIONS, this.#limits.maxHeadBytes)
    spans.bodyEnd = engine.address - this.#seen
    spans.begin(this.#text.length - engine.address, this.#saved)
    engine.resume(this.#parser)
    const code = engine.execute(this.#parser, chunk, from, to)
    const end = code === OK ? to : from + engine.parsed(this.#parser)
    this.position = end
    this.#seen = engine.address + (end - from) - spans.bodyEnd
    const refusal = code === OK || code === PAUSED ? this.#refuseOverhead() : this.#refuse(code)
    // From here on `spans` may be another parser's, since a handler may run one.
    const trailers =
      refusal === null ? this.#takeTrailers(chunk, from, inTrailers, code === PAUSED) : NO_TRAILERS
    const slices = joinSmallSlices(chunk, from - engine.address, spans)
    for (const slice of slices) {
      this.#handler.onBody(slice)
      if (this.#closed) return 'closed'
    }
    if (refusal !== null) return refusal
    return code === OK ? null : this.#end(trailers)
  }

  #refuseOverhead(): Outcome | null {
    const { spans } = this.#engine
    const limit = spans.count === 0 ? spans.maxOverhead : this.#limits.maxHeadBytes
    return this.#seen > limit ? this.#fail('headers_too_large', 'chunk extensions or trailers') : null
  }

  /** Keeps what came of the trailers, or reads them once they are complete. */
  #takeTrailers(chunk: Buffer, from: number, begun: boolean, complete: boolean): readonly string[] {
    const { spans } = this.#engine
    const { readTrailers } = this.#kind
    if (spans.count === 0) return NO_TRAILERS
    // Their text begins with the first name, wherever that stands in the piece.
    const start = begun ? 0 : spans.fields[0]!
    if (start > 0) for (let i = 0; i < spans.count; i++) spans.fields[i]! -= start
    const text = this.#text + chunk.toString('latin1', from + start, this.position)
    if (!complete) {
      this.#text = text
      this.#saved = spans.save()
      return NO_TRAILERS
    }
    this.#text = ''
    this.#saved = null
    return readTrailers === undefined ? NO_TRAILERS : readTrailers(text)
  }

  #end(trailers: readonly string[]): Outcome {
    if (this.#state === CHUNKS) this.#engine.reset(this.#parser)
    this.#state = ENDED
    this.#seen = 0
    this.#handler.onEnd(trailers)
    return this.#closed ? 'closed' : 'ended'
  }

  #begin(): void {
    this.#engine.reset(this.#parser)
    this.#seen = 0
    this.#text = ''
    this.#saved = null
  }

  /** What llhttp, or a bound that ended it, has against the piece. */
  #refuse(code: number): Outcome {
    const { exceeded } = this.#engine.spans
    if (exceeded === 'fields') return this.#fail('headers_too_large', 'too many fields')
    if (exceeded === 'overhead') return this.#fail('headers_too_large', 'chunk extensions')
    const name = this.#engine.errorName(code)
    return this.#fail('malformed', `${name}: ${this.#engine.reason(this.#parser)}`)
  }

  #fail(code: WireErrorCode, reason: string): Outcome {
    this.#state = FAILED
    this.keepAlive = false
    this.error = { code, reason }
    return 'error'
  }
}
