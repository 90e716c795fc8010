import type { ErrorCode } from '../../core/errors.ts'

/** What came of one attempt to have a target answer a request. */
export type HttpOutcome =
  | { readonly kind: 'answered'; readonly status: number }
  | { readonly kind: 'client-gone' }
  | { readonly kind: 'body-too-large' }
  /** Nothing was sent: all streams of the target's connections are taken, though a place was expected. */
  | { readonly kind: 'unplaced' }
  | Unsendable
  | AttemptFailure

/** The request cannot be written as HTTP, whatever the target: the client's fault, or the gateway's own. */
export interface Unsendable {
  readonly kind: 'unsendable'
  readonly cause: unknown
}

/** The target failed. What this says of the progress decides whether another target may be tried. */
export interface AttemptFailure {
  readonly kind: 'failed'
  readonly code: ErrorCode
  readonly cause: unknown
  /** No connection came about: the target cannot have seen the request. */
  readonly unconnected: boolean
  /** The target has said that it has done nothing for the request (RFC 9113, section 8.7). */
  readonly unprocessed: boolean
  /** A byte of the answer was seen. */
  readonly answerBegan: boolean
  /** A byte of the request's body was taken from the client. */
  readonly bodyTouched: boolean
  /** What was taken of the body is there for another attempt. */
  readonly bodyKept: boolean
  /** The connection had served others and was closed as this request came: no sign of an unwell target. */
  readonly stale: boolean
}
