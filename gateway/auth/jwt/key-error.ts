import { UnusableError } from '../../core/unusable-error.ts'

/** The configured keys are not usable. Each reason names its place and what was expected. */
export class KeyError extends UnusableError {
  override readonly name = 'KeyError'
}

/** The most keys of a source. It bounds the cost of a token with a bad signature, which is tried with each of them. */
export const MAX_KEYS = 100
