import type { TransportError } from './transport-errors.ts'

/** The head of a request as a target gets it, but for its method. */
export interface RequestHead {
  /** Path and query as they go upstream. */
  readonly path: string
  /** Flat name, value pairs, all that goes upstream. */
  readonly headers: readonly string[]
  /** True where the request has a body, empty or not. */
  readonly hasBody: boolean
}

/** The place of one exchange on a connection to a target, over either protocol. */
export interface TargetStream {
  /** True where bytes of an answer are good only until their receiver returns. */
  readonly reusesBuffers: boolean
  /** Sends the head. With a body it may wait for the first piece, for a moment. @throws HeadError */
  sendHead(method: string, head: RequestHead): void
  /**
   * Sends a piece of the body.
   *
   * @returns false where the target takes no more at present; the attempt's `onWritable` is called when it does
   */
  write(chunk: Buffer): boolean
  /** The body is complete. */
  endRequest(): void
  /** No more of the answer, until `resume`. */
  pause(): void
  resume(): void
  /** The exchange is over for the attempt. Breaks it off where it is not complete. Nothing is called after this. */
  release(): void
}

/** What the connection knows of an exchange that failed. */
export interface FailureFacts {
  /** The target cannot have seen anything of the request: no connection to it came about. */
  readonly unconnected: boolean
  /** The target has said that it has done nothing for the request (RFC 9113, section 8.7). */
  readonly unprocessed: boolean
  /** A byte of the answer was seen. */
  readonly answerBegan: boolean
  /** The connection had carried others and was closed before a byte of this answer came. */
  readonly stale: boolean
}

/** Is called as an exchange goes on, but not after `onFailure` and not once its stream was released. */
export interface StreamHandler {
  /** The connection is there: the request can be sent. */
  onReady(): void
  onInformation(status: number, fields: readonly string[]): void
  /** The head of the answer. @throws where the client's side cannot be given it */
  onAnswer(status: number, reason: string | undefined, fields: readonly string[]): void
  onAnswerBody(bytes: Buffer): void
  /** The answer is complete, whether or not the request is. */
  onAnswerEnd(trailers: readonly string[]): void
  /** The target takes more of the body. */
  onWritable(): void
  /** The target takes nothing more of the request, but its answer may still come. */
  onRequestRefused(): void
  /** The request cannot be written, for instance since its body is not as long as announced. Nothing else is called. */
  onUnsendable(cause: unknown): void
  /** No connection has a stream for the request. Nothing else is called. */
  onUnplaced(): void
  onFailure(error: TransportError, facts: FailureFacts): void
}
