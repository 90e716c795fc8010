import type { ErrorCode } from '../../core/errors.ts'

/** The faults of an exchange with a target: the gateway's code for each, and the message for the log. */
const FAULTS = {
  connect_failed: ['upstream_unreachable', 'no connection to the target could be made'],
  connect_timeout: ['upstream_timeout', 'making a connection to the target took too long'],
  response_timeout: ['upstream_timeout', 'the target took too long to answer'],
  idle_timeout: ['upstream_timeout', 'the target sent nothing, or accepted nothing, for too long'],
  reset: ['upstream_reset', 'the target broke the exchange off'],
  invalid: ['upstream_invalid', 'the answer of the target is not valid'],
} as const satisfies Record<string, readonly [ErrorCode, string]>

export type Fault = keyof typeof FAULTS

/** A fault of an exchange with a target. The system's own error is the cause. */
export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly code: Fault

  /** @param detail more words for the log; must hold nothing of what a client sent */
  constructor(code: Fault, options: { readonly cause?: unknown; readonly detail?: string } = {}) {
    const { cause, detail } = options
    const words = FAULTS[code][1]
    super(detail === undefined ? words : `${words}: ${detail}`, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** The one mapping from what a transport reports to the gateway's codes. */
export function upstreamErrorCode({ code }: TransportError): ErrorCode {
  return FAULTS[code][0]
}

/**
 * The fault of a connection that broke, or did not come about.
 *
 * @param error what the socket said; undefined where it said nothing
 */
export function faultOf(error: Error | undefined, otherwise: 'connect_failed' | 'reset'): TransportError {
  const timedOut = error !== undefined && 'code' in error && error.code === 'ETIMEDOUT'
  if (!timedOut) return new TransportError(otherwise, { cause: error })
  return new TransportError(otherwise === 'reset' ? 'idle_timeout' : 'connect_timeout', { cause: error })
}
