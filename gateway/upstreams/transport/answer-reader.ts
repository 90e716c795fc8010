import type { ResponseHead } from '../../http1/heads.ts'
import type { MessageParser } from '../../http1/message-parser.ts'
import type { Disposition, MessageHandler } from '../../http1/messages.ts'
import type { Wire } from '../../http1/wire.ts'
import { ANSWER_LIMITS, InformationalCount } from './answer-limits.ts'
import { KEEP_ALIVE_MS, KeepAliveReader } from './keep-alive.ts'
import type { StreamHandler } from './target-stream.ts'
import { TransportError } from './transport-errors.ts'

const NO_TRAILERS: readonly string[] = []

export interface AnswerHandler extends Pick<StreamHandler, 'onInformation' | 'onAnswer' | 'onAnswerBody'> {
  /** The target switches the connection over. Absent where no request asks for that. @throws where it must not be */
  onSwitch?(head: ResponseHead): void
}

/** Reads the answers on one connection, one after the other, and passes their parts on. */
export class AnswerReader implements MessageHandler<ResponseHead> {
  /** A byte of the answer was seen. */
  begun = false
  /** Its final head was seen. */
  headSeen = false
  /** All of it was seen. */
  complete = false
  /** The bytes of the new protocol that came with a 101; null where there was none. */
  early: Buffer | null = null
  trailers: readonly string[] = NO_TRAILERS
  readonly #handler: AnswerHandler
  readonly #parser: MessageParser<ResponseHead>
  readonly #informational = new InformationalCount()
  readonly #keepAlive = new KeepAliveReader()
  #isHead = false
  /** Bytes came that belong to no answer, or the target has ended the connection. */
  #spoilt = false
  #keepAliveMs = KEEP_ALIVE_MS

  constructor(wire: Wire, handler: AnswerHandler) {
    this.#handler = handler
    this.#parser = wire.createResponseParser(this, ANSWER_LIMITS)
  }

  /** For how long the connection may be kept for another exchange; 0 where it must not be used again. */
  get keepAliveMs(): number {
    return this.complete && !this.#spoilt && this.#parser.keepAlive ? this.#keepAliveMs : 0
  }

  /** @param method of the request that is answered */
  begin(method: string): void {
    this.begun = false
    this.headSeen = false
    this.complete = false
    this.trailers = NO_TRAILERS
    this.#isHead = method === 'HEAD'
    this.#informational.reset()
  }

  /** @returns what is wrong with the answer, or null */
  read(bytes: Buffer): TransportError | null {
    this.begun = true
    if (this.complete) {
      this.#spoilt = true
      return null
    }
    try {
      const outcome = this.#parser.execute(bytes)
      if (outcome === 'error')
        return new TransportError('invalid', { detail: this.#parser.error?.reason ?? '' })
      if (outcome === 'upgrade') this.early = bytes.subarray(this.#parser.position)
      if (outcome !== 'ended') return null
      this.complete = true
      this.#spoilt = this.#parser.position < bytes.length
      return null
    } catch (error) {
      return error instanceof TransportError ? error : new TransportError('invalid', { cause: error })
    }
  }

  /**
   * The target has ended the connection.
   *
   * @returns false where the answer was not complete
   */
  finish(): boolean {
    this.#spoilt = true
    this.complete ||= this.#parser.finish() === 'ended'
    return this.complete
  }

  close(): void {
    this.#parser.close()
  }

  onHead(head: ResponseHead): Disposition {
    const { status, reason, fields } = head
    if (status === 101 && this.#handler.onSwitch !== undefined) {
      this.#handler.onSwitch(head)
      return 'upgrade'
    }
    if (status < 200) this.#inform(status, fields)
    else {
      this.headSeen = true
      this.#keepAliveMs = this.#keepAlive.read(fields)
      this.#handler.onAnswer(status, reason, fields)
    }
    return this.#isHead ? 'skip' : 'read'
  }

  onBody(bytes: Buffer): void {
    this.#handler.onAnswerBody(bytes)
  }

  onEnd(trailers: readonly string[]): void {
    this.trailers = trailers
  }

  #inform(status: number, fields: readonly string[]): void {
    this.#informational.add(fields)
    // The gateway answers `Expect` itself, so nobody has asked for a 100. The parser refuses a 101.
    if (status !== 100 && status !== 101) this.#handler.onInformation(status, fields)
  }
}
