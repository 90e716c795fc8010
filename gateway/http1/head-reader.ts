import { type Engine, HEAD_PIECE } from './engine.ts'
import { CHUNKED } from './framing.ts'
import { HeadPieces } from './head-pieces.ts'
import type { RequestHead, ResponseHead } from './heads.ts'
import { OK, PAUSED, RESPONSE } from './llhttp.ts'
import type { MessageKind, ParserLimits } from './messages.ts'
import type { SavedSpans } from './token-spans.ts'
import { describeRefusal, type WireError } from './wire-error.ts'

/** No bound, as a number that V8 keeps small. */
const UNBOUNDED = 0x3fffffff

/** Reads the heads of one connection, in as many pieces as they come. */
export class HeadReader<H extends RequestHead | ResponseHead> {
  /** Where in the chunk the last `read` ended; after an error, where it was noticed. */
  position = 0
  error: WireError | null = null
  readonly #engine: Engine
  readonly #parser: number
  readonly #kind: MessageKind<H>
  readonly #limits: ParserLimits
  readonly #pieces: HeadPieces
  /** Bytes of the head so far, and what the pieces before this one brought of it. */
  #seen = 0
  #text = ''
  #saved: SavedSpans | null = null
  /** The latest response whose body llhttp does not read, and the text of its head. */
  #latest: { readonly text: string; readonly head: H } | null = null

  constructor(engine: Engine, parser: number, kind: MessageKind<H>, limits: ParserLimits) {
    this.#engine = engine
    this.#parser = parser
    this.#kind = kind
    this.#limits = limits
    this.#pieces = new HeadPieces(engine, parser, kind.type)
  }

  /** True while a part of a head was read, and not all of it. */
  get began(): boolean {
    return this.#seen > 0
  }

  /** Forgets the head under way, the latest one, and any error. llhttp has to be reset beside. */
  forget(): void {
    this.error = null
    this.#pieces.reset()
    this.#seen = 0
    this.#text = ''
    this.#saved = null
    this.#latest = null
  }

  /**
   * Reads the next piece of a head. Behind it llhttp is as new, or where it is chunked ready to read the chunks.
   *
   * @returns null where more is to be read, or there is an `error`
   */
  read(chunk: Buffer, from: number): H | null {
    if (this.#latest !== null && this.#repeats(chunk, from, this.#latest.text)) return this.#latest.head
    const engine = this.#engine
    const { spans } = engine
    const to = Math.min(chunk.length, from + HEAD_PIECE)
    spans.maxFields = this.#limits.maxFields
    spans.maxOverhead = UNBOUNDED
    spans.bodyEnd = 0
    spans.begin(this.#seen - engine.address, this.#saved)
    const code = this.#pieces.execute(chunk, from, to, this.#text)
    const end = this.#pieces.position
    this.position = end
    if (code !== OK && code !== PAUSED) return this.#fail(describeRefusal(engine, this.#parser, code))
    this.#seen += end - from
    if (this.#seen > this.#limits.maxHeadBytes)
      return this.#fail({ code: 'headers_too_large', reason: 'too many bytes' })
    const text = chunk.toString('latin1', from, end)
    if (code === OK) {
      this.#text += text
      this.#saved = spans.save()
      return null
    }
    if (this.#saved === null) return this.#take(from === 0 ? chunk : chunk.subarray(from, end), text)
    const whole = this.#text + text
    return this.#take(Buffer.from(whole, 'latin1'), whole)
  }

  /**
   * Most targets answer with the same head again and again, but for one second in which `Date` changes. To compare it
   * with the latest costs a tenth of reading it.
   */
  #repeats(chunk: Buffer, from: number, text: string): boolean {
    const end = from + text.length
    if (this.began || end > chunk.length || chunk.toString('latin1', from, end) !== text) return false
    this.position = end
    return true
  }

  #take(bytes: Buffer, text: string): H | null {
    const head = this.#kind.readHead(this.#parser, bytes, text)
    if (typeof head === 'string') return this.#fail({ code: 'malformed', reason: head })
    this.#saved = null
    this.#text = ''
    this.#seen = 0
    const isChunked = head.length === CHUNKED
    // All that llhttp was to read of this message: the next one finds it as new.
    if (!isChunked) this.#engine.reset(this.#parser)
    // llhttp reads on in chunks, so that it must have read their head.
    if (this.#kind.type === RESPONSE) this.#latest = isChunked ? null : { text, head }
    return head
  }

  #fail(error: WireError): null {
    this.error = error
    return null
  }
}
