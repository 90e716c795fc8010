import { BODY_PIECE, type Engine } from './engine.ts'
import { INVALID_URL, OK, REQUEST } from './llhttp.ts'

const CR = 0x0d
const LF = 0x0a
const SPACE = 0x20
const QUESTION_MARK = 0x3f
const ABOVE_ASCII = 0x80
const SHOWN = 0x78

/**
 * Has llhttp read the pieces of heads.
 *
 * llhttp takes no byte above ASCII in a target. In a query it may be one, as for nginx and servers in Go: it means nothing
 * to the gateway, and some clients leave umlauts unescaped. So llhttp is shown another byte in its place. The target
 * is cut from the bytes that came.
 */
export class HeadPieces {
  /** Where in the chunk the last `execute` ended. */
  position = 0
  readonly #engine: Engine
  readonly #parser: number
  readonly #type: number
  /** The query is shown in other bytes, and has not ended yet. */
  #hidesQuery = false

  constructor(engine: Engine, parser: number, type: number) {
    this.#engine = engine
    this.#parser = parser
    this.#type = type
  }

  /** Forgets the head under way. */
  reset(): void {
    this.#hidesQuery = false
  }

  /** @param before the head's pieces before this one, as latin1. @returns an error code of llhttp */
  execute(chunk: Buffer, from: number, to: number, before: string): number {
    const engine = this.#engine
    const hidden = this.#hidesQuery
    const code = hidden
      ? this.#executeHidden(Buffer.from(chunk.subarray(from, to)), 0)
      : engine.execute(this.#parser, chunk, from, to)
    this.position = code === OK ? to : from + engine.parsed(this.#parser)
    return code === INVALID_URL && !hidden && this.#type === REQUEST
      ? this.#executeAnew(chunk, from, to, before)
      : code
  }

  /** llhttp has refused a target: it reads the head once more from its beginning, with another query where it has one. */
  #executeAnew(chunk: Buffer, from: number, to: number, before: string): number {
    const engine = this.#engine
    const head = Buffer.concat([Buffer.from(before, 'latin1'), chunk.subarray(from, to)])
    const query = findQuery(head)
    if (query === -1 || head.length > BODY_PIECE) return INVALID_URL
    engine.reset(this.#parser)
    engine.spans.begin(-engine.address, null)
    const code = this.#executeHidden(head, query)
    this.position = code === OK ? to : from - before.length + engine.parsed(this.#parser)
    return code
  }

  /** @param bytes may be overwritten. @param query where in them the query begins or goes on */
  #executeHidden(bytes: Buffer, query: number): number {
    this.#hidesQuery = hideRawQuery(bytes, query)
    return this.#engine.execute(this.#parser, bytes, 0, bytes.length)
  }
}

/** @returns where the query of a request begins, or -1 */
function findQuery(head: Buffer): number {
  let at = 0
  while (isLineBreak(head[at])) at++
  at = head.indexOf(SPACE, at) + 1
  if (at === 0) return -1
  while (at < head.length && head[at] !== QUESTION_MARK) {
    if (head[at] === SPACE || isLineBreak(head[at])) return -1
    at++
  }
  return at === head.length ? -1 : at + 1
}

/** Overwrites bytes above ASCII up to the end of the query. @returns true where it may go on behind these bytes */
function hideRawQuery(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at++) {
    if (bytes[at] === SPACE || isLineBreak(bytes[at])) return false
    if (bytes[at]! >= ABOVE_ASCII) bytes[at] = SHOWN
  }
  return true
}

function isLineBreak(code: number | undefined): boolean {
  return code === CR || code === LF
}
