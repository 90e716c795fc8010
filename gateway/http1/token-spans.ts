import { type LlhttpCallbacks, OK, PAUSED, STOPPED_BY_CALLBACK } from './llhttp.ts'

const NOTHING = 0
const START_LINE = 1
const NAME = 2
const VALUE = 3

/** Where a field's numbers stand in `fields`: start and end of its name, start and end of its value. */
export const NUMBERS_PER_FIELD = 4

/** What is kept of a head or of trailers whose rest is still to come. */
export interface SavedSpans {
  readonly fields: Int32Array
  readonly last: number
  readonly lineStart: number
  readonly lineEnd: number
}

/**
 * Where the tokens of the piece that llhttp parses begin and end, as offsets in their section (a head or trailers).
 *
 * llhttp's callbacks only write numbers down, and nothing of the gateway's runs inside of them: a handler may close
 * its parser, throw or run another parser. One for all parsers of a process, since only one of them runs at a time.
 */
export class TokenSpans {
  fields = new Int32Array(NUMBERS_PER_FIELD * 64)
  /** Numbers in `fields`. */
  count = 0
  /** The target of a request, or the reason of a response. */
  lineStart = 0
  lineEnd = 0
  /** Starts and ends of body bytes, as addresses. */
  bodies = new Int32Array(2 * 64)
  bodyCount = 0
  status = 0
  keepAlive = false
  /** Set where a bound of ours, and no rule of llhttp's, ended the parsing. */
  exceeded: '' | 'fields' | 'overhead' = ''
  /** Where the last byte of body ended, as an address: what follows is framing. */
  bodyEnd = 0
  maxOverhead = 0
  maxFields = 0
  #last = NOTHING
  #shift = 0

  /**
   * @param shift added to an address gives an offset in the section
   * @param saved what the pieces before this one brought
   */
  begin(shift: number, saved: SavedSpans | null): void {
    this.#shift = shift
    this.bodyCount = 0
    this.exceeded = ''
    if (saved === null) {
      this.count = 0
      this.lineStart = 0
      this.lineEnd = 0
      this.#last = NOTHING
      return
    }
    while (this.fields.length < saved.fields.length) this.#growFields()
    this.fields.set(saved.fields)
    this.count = saved.fields.length
    this.lineStart = saved.lineStart
    this.lineEnd = saved.lineEnd
    this.#last = saved.last
  }

  save(): SavedSpans {
    const { lineStart, lineEnd } = this
    return { fields: this.fields.slice(0, this.count), last: this.#last, lineStart, lineEnd }
  }

  /** The functions that llhttp calls; they stay bound to this object. */
  callbacks(): LlhttpCallbacks {
    return {
      wasm_on_message_begin: () => OK,
      wasm_on_url: (_parser, at, length) => this.#onStartLine(at, length),
      wasm_on_status: (_parser, at, length) => this.#onStartLine(at, length),
      wasm_on_header_field: (_parser, at, length) => this.#onName(at, length),
      wasm_on_header_value: (_parser, at, length) => this.#onValue(at, length),
      wasm_on_headers_complete: (_parser, status, _upgrade, keepAlive) => {
        this.status = status
        this.keepAlive = keepAlive === 1
        return PAUSED
      },
      wasm_on_body: (_parser, at, length) => this.#onBody(at, length),
      wasm_on_message_complete: () => PAUSED,
    }
  }

  #onStartLine(at: number, length: number): number {
    const start = at + this.#shift
    if (this.#last !== START_LINE) {
      this.#last = START_LINE
      this.lineStart = start
    }
    this.lineEnd = start + length
    return OK
  }

  #onName(at: number, length: number): number {
    const start = at + this.#shift
    // A name or a value that two pieces share is told twice.
    if (this.#last === NAME) {
      this.fields[this.count - 3] = start + length
      return OK
    }
    if (this.count === 0 && this.#exceedsOverhead(at)) return STOPPED_BY_CALLBACK
    if (this.count === this.maxFields * NUMBERS_PER_FIELD) {
      this.exceeded = 'fields'
      return STOPPED_BY_CALLBACK
    }
    if (this.count === this.fields.length) this.#growFields()
    const { fields, count } = this
    fields[count] = start
    fields[count + 1] = start + length
    fields[count + 2] = 0
    fields[count + 3] = 0
    this.count = count + NUMBERS_PER_FIELD
    this.#last = NAME
    return OK
  }

  #onValue(at: number, length: number): number {
    const start = at + this.#shift
    if (this.#last !== VALUE) {
      this.#last = VALUE
      this.fields[this.count - 2] = start
    }
    this.fields[this.count - 1] = start + length
    return OK
  }

  #onBody(at: number, length: number): number {
    if (this.#exceedsOverhead(at)) return STOPPED_BY_CALLBACK
    this.bodyEnd = at + length
    const count = this.bodyCount
    if (count === this.bodies.length) this.bodies = grown(this.bodies)
    this.bodies[count] = at
    this.bodies[count + 1] = at + length
    this.bodyCount = count + 2
    return OK
  }

  /** Chunk extensions without end, which nobody reads, are work for nothing (CVE-2024-22019). */
  #exceedsOverhead(at: number): boolean {
    if (at - this.bodyEnd <= this.maxOverhead) return false
    this.exceeded = 'overhead'
    return true
  }

  #growFields(): void {
    this.fields = grown(this.fields)
  }
}

function grown(numbers: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(numbers.length * 2)
  larger.set(numbers)
  return larger
}
