import { UnusableError } from '../../core/unusable-error.ts'

/** Keys that are not usable; each reason names its place and what was expected. */
export class KeyError extends UnusableError {
  override readonly name = 'KeyError'
}

/** Bounds what a token with a bad signature costs: it is tried with each of them at most. */
export const MAX_KEYS = 100
