import { BODY_PIECE, type Engine } from './engine.ts'
import { OK, PAUSED } from './llhttp.ts'
import { NO_TRAILERS, type ParserLimits, type ReadTrailers } from './messages.ts'
import { joinSmallSlices } from './slices.ts'
import type { SavedSpans } from './token-spans.ts'
import { describeRefusal, type WireError } from './wire-error.ts'

/** What Node allows of extensions to one chunk; RFC 9112, section 7.1.1, asks for a bound. */
const MAX_CHUNK_EXTENSIONS = 16 * 1024

/** A chunked body and the trailers behind it, read piece by piece. */
export class ChunkedBody {
  /** Where in the chunk the last piece ended. */
  position = 0
  complete = false
  /** What the message must be refused for. */
  refusal: WireError | null = null
  trailers: readonly string[] = NO_TRAILERS
  readonly #engine: Engine
  readonly #parser: number
  readonly #limits: ParserLimits
  readonly #readTrailers: ReadTrailers
  /** Bytes since the last byte of body. */
  #overhead = 0
  /** What came of the trailers so far. */
  #text = ''
  #saved: SavedSpans | null = null

  constructor(engine: Engine, parser: number, limits: ParserLimits, readTrailers: ReadTrailers) {
    this.#engine = engine
    this.#parser = parser
    this.#limits = limits
    this.#readTrailers = readTrailers
  }

  /** @returns the bytes of body in the next piece of `chunk`; those before a fault as well */
  read(chunk: Buffer, from: number): readonly Buffer[] {
    const engine = this.#engine
    const { spans, address } = engine
    const to = Math.min(chunk.length, from + BODY_PIECE)
    spans.maxFields = this.#limits.maxFields
    spans.maxOverhead = Math.min(MAX_CHUNK_EXTENSIONS, this.#limits.maxHeadBytes)
    spans.bodyEnd = address - this.#overhead
    spans.begin(this.#text.length - address, this.#saved)
    engine.resume(this.#parser)
    const code = engine.execute(this.#parser, chunk, from, to)
    this.position = code === OK ? to : from + engine.parsed(this.#parser)
    this.#overhead = address + (this.position - from) - spans.bodyEnd
    if (code === OK || code === PAUSED) this.#takeTrailers(chunk, from, code === PAUSED)
    else this.refusal = describeRefusal(engine, this.#parser, code)
    return joinSmallSlices(chunk, from - address, spans)
  }

  /** Keeps what came of the trailers, or reads them once they are complete. */
  #takeTrailers(chunk: Buffer, from: number, complete: boolean): void {
    const { spans } = this.#engine
    const limit = spans.count === 0 ? spans.maxOverhead : this.#limits.maxHeadBytes
    if (this.#overhead > limit) {
      this.refusal = { code: 'headers_too_large', reason: 'chunk extensions or trailers' }
      return
    }
    this.complete = complete
    if (spans.count === 0) return
    // Their text begins with the first name, wherever that stands in its piece.
    const start = this.#saved === null ? spans.fields[0]! : 0
    if (start > 0) for (let i = 0; i < spans.count; i++) spans.fields[i]! -= start
    this.#text += chunk.toString('latin1', from + start, this.position)
    if (!complete) {
      this.#saved = spans.save()
      return
    }
    const trailers = this.#readTrailers(this.#text)
    if (trailers === null)
      this.refusal = { code: 'malformed', reason: 'a trailer that does not end with CR LF' }
    else this.trailers = trailers
  }
}
