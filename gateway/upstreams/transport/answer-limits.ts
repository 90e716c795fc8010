import type { ParserLimits } from '../../http1/messages.ts'
import { TransportError } from './transport-errors.ts'

/** Of the head of an answer, and of its trailers. */
export const ANSWER_LIMITS: ParserLimits = { maxHeadBytes: 65_536, maxFields: 2000 }

/** Informational answers to one request, and characters in all of their fields. */
const MAX_INFORMATIONAL = 32
const MAX_INFORMATIONAL_CHARACTERS = 65_536

/**
 * Counts the informational answers to one request. A target could send them without end, and for a client that does not
 * read they would accumulate in memory.
 */
export class InformationalCount {
  #answers = 0
  #characters = 0

  reset(): void {
    this.#answers = 0
    this.#characters = 0
  }

  /** @throws TransportError past the limits */
  add(fields: readonly string[]): void {
    this.#answers++
    for (const each of fields) this.#characters += each.length
    if (this.#answers <= MAX_INFORMATIONAL && this.#characters <= MAX_INFORMATIONAL_CHARACTERS) return
    throw new TransportError('invalid', { detail: 'too many informational answers' })
  }
}
