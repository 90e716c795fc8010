/** Keys that are not usable; each reason names its place and what was expected. */
export class KeyError extends Error {
  override readonly name = 'KeyError'
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[], options?: { cause?: unknown }) {
    super(reasons.join('\n'), options)
    this.reasons = reasons
  }
}

/** Bounds what a token with a bad signature costs: it is tried with each of them at most. */
export const MAX_KEYS = 100
