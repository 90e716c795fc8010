import type { RequestHead } from '../../http1/heads.ts'
import type { MessageParser } from '../../http1/message-parser.ts'
import type { Disposition, MessageHandler, ParserLimits } from '../../http1/messages.ts'
import type { Wire } from '../../http1/wire.ts'

/** Parsers that wait for the next message; nearly every one comes whole, and then one serves all connections. */
const KEPT = 16

/** A parser, and the connection that uses it at present. */
export class LentParser implements MessageHandler<RequestHead> {
  readonly parser: MessageParser<RequestHead>
  user: MessageHandler<RequestHead> | null = null

  constructor(wire: Wire, limits: ParserLimits) {
    this.parser = wire.createRequestParser(this, limits)
  }

  onHead(head: RequestHead): Disposition {
    return this.user!.onHead(head)
  }

  onBody(bytes: Buffer): void {
    this.user!.onBody(bytes)
  }

  onEnd(trailers: readonly string[]): void {
    this.user!.onEnd(trailers)
  }
}

/** Lends a parser for the time of one message, so that idle connections have none. */
export class ParserPool {
  readonly #wire: Wire
  readonly #limits: ParserLimits
  readonly #free: LentParser[] = []

  constructor(wire: Wire, limits: ParserLimits) {
    this.#wire = wire
    this.#limits = limits
  }

  lend(user: MessageHandler<RequestHead>): LentParser {
    const lent = this.#free.pop() ?? new LentParser(this.#wire, this.#limits)
    lent.user = user
    return lent
  }

  /** To be called between two calls of `execute`; one that is in the middle of a message may come back too. */
  giveBack(lent: LentParser): void {
    lent.user = null
    if (this.#free.length === KEPT) {
      lent.parser.close()
      return
    }
    lent.parser.reset()
    this.#free.push(lent)
  }
}
