import type { ReadHead } from './heads.ts'

/**
 * What a handler wants of the message whose head it got:
 *
 * - `read` its body
 * - `pause` behind the head; the next `execute` reads the body
 * - `skip`: a response without a body, since its request was HEAD; of a request's body it means `read`
 * - `upgrade`: what follows is no HTTP any more
 */
export type Disposition = 'read' | 'pause' | 'skip' | 'upgrade'

/** Gets the parts of messages. None is called from inside llhttp: it may close its parser, or throw. */
export interface MessageHandler<H> {
  /** A response's head may be informational (1xx); `read` and `skip` then mean that the next head follows. */
  onHead(head: H): Disposition
  /** Bytes of the body. They may be a part of the chunk. */
  onBody(bytes: Buffer): void
  /** @param trailers names and values in turn; always empty for a request */
  onEnd(trailers: readonly string[]): void
}

export interface ParserLimits {
  /** Bytes of a head, from the first byte of its line to its empty line; of trailers likewise. */
  readonly maxHeadBytes: number
  /** Fields of a head, and of trailers. */
  readonly maxFields: number
}

/**
 * - `more`: all bytes were read, and the message goes on
 * - `paused`: the handler paused behind a head
 * - `ended`: the message is complete. Bytes from `position` on belong to the next one, and were not looked at
 * - `upgrade`: bytes from `position` on are the new protocol's
 * - `error`: see `error`
 * - `closed`: the handler closed the parser
 */
export type Outcome = 'more' | 'paused' | 'ended' | 'upgrade' | 'error' | 'closed'

/**
 * What the connection's end means for the message: nothing had come of one (`idle`), it was complete only now
 * (`ended`; the handler's `onEnd` was called), or it was `cut`.
 */
export type Finish = 'idle' | 'ended' | 'cut'

/** Reads the fields of trailers, or finds that their lines are broken. */
export type ReadTrailers = (text: string) => readonly string[] | null

export interface MessageKind<H> {
  /** llhttp's number for it. */
  readonly type: number
  readonly readHead: ReadHead<H>
  readonly readTrailers: ReadTrailers
  /** Whether the handler gets them. */
  readonly keepsTrailers: boolean
}

export const NO_TRAILERS: readonly string[] = []
