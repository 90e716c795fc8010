/**
 * Something that an operator gave the gateway cannot be used: settings, a key file, certificates. Each reason stands
 * alone: it names its place and what was expected there.
 */
export class UnusableError extends Error {
  override readonly name: string = 'UnusableError'
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[], options?: { cause?: unknown }) {
    super(reasons.join('\n'), options)
    this.reasons = reasons
  }
}
