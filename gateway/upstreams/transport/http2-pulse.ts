import type { Deadlines } from '../../core/deadlines.ts'
import { TimeLimit } from './time-limit.ts'

export interface PulseParts {
  readonly deadlines: Deadlines
  /** Bytes that were read of the connection so far. */
  readonly bytesRead: () => number
  /** Sends a PING (RFC 9113, section 6.7). Calls `onAnswer` where it is answered. */
  readonly ping: (onAnswer: () => void) => void
  /** It is better not to use the connection (true), or it turned out to be well (false). */
  readonly onDoubt: (isDoubtful: boolean) => void
  /** Nothing has come of the connection for so long that it is dead. */
  readonly onLost: () => void
}

/** Silence of a connection with exchanges after which it is asked whether it still lives. */
const SILENCE_MS = 5000

/** A PING that is not answered for so long makes a connection doubtful, and then lost. */
const DOUBT_MS = 1000
const LOST_MS = 5000

/**
 * Servers of gRPC end a connection on which more than two PINGs come faster than this while they send nothing: event
 * streams are silent for longer.
 */
const PINGS_IN_SILENCE = 3
const SPARSE_MS = 301_000

const RESTING = 0
const LISTENING = 1
const ASKED = 2
const DOUBTING = 3
const OVER = 4

/**
 * Finds out whether a connection is still alive that should have something to say: a network that loses all packets, or
 * a target that is frozen, takes requests without ever answering.
 */
export class Http2Pulse {
  readonly #parts: PulseParts
  readonly #limit: TimeLimit
  #state = RESTING
  #hasExchanges = false
  /** `bytesRead` when it was last looked at. */
  #bytes = 0
  #pings = 0
  #askedAt = 0

  constructor(parts: PulseParts) {
    this.#parts = parts
    this.#limit = new TimeLimit(parts.deadlines, () => this.#onLimit())
  }

  /** The first of some exchanges begins. */
  listen(): void {
    this.#hasExchanges = true
    if (this.#state !== RESTING) return
    if (this.#parts.bytesRead() !== this.#bytes) this.#pings = 0
    this.#listen()
  }

  /** No exchange is under way. */
  rest(): void {
    this.#hasExchanges = false
    if (this.#state === LISTENING) this.#rest()
  }

  /**
   * An exchange has timed out.
   *
   * @param heard something was read of the connection meanwhile
   */
  onTimeout(heard: boolean): void {
    if (this.#state < ASKED) this.#ask()
    if (!heard && this.#state === ASKED) this.#doubt()
  }

  close(): void {
    this.#state = OVER
    this.#limit.close()
  }

  #listen(): void {
    this.#state = LISTENING
    this.#bytes = this.#parts.bytesRead()
    this.#limit.start(SILENCE_MS)
  }

  #rest(): void {
    this.#state = RESTING
    this.#limit.stop()
  }

  #ask(): void {
    const { bytesRead, deadlines, ping } = this.#parts
    this.#state = ASKED
    this.#bytes = bytesRead()
    this.#pings++
    this.#askedAt = deadlines.now()
    this.#limit.start(DOUBT_MS)
    ping(() => this.#onAnswer())
  }

  #doubt(): void {
    this.#state = DOUBTING
    this.#limit.start(this.#askedAt + LOST_MS - this.#parts.deadlines.now())
    this.#parts.onDoubt(true)
  }

  #onAnswer(): void {
    if (this.#state !== ASKED && this.#state !== DOUBTING) return
    const wasDoubted = this.#state === DOUBTING
    if (this.#hasExchanges) this.#listen()
    else this.#rest()
    if (wasDoubted) this.#parts.onDoubt(false)
  }

  #onLimit(): void {
    const { bytesRead, deadlines, onLost } = this.#parts
    const heard = bytesRead() !== this.#bytes
    if (heard) this.#pings = 0
    if (this.#state === LISTENING) {
      const mayAsk = this.#pings < PINGS_IN_SILENCE || deadlines.now() - this.#askedAt >= SPARSE_MS
      if (heard || !mayAsk) this.#listen()
      else this.#ask()
    } else if (heard) {
      // The answer is behind what the target has been sending.
      this.#bytes = bytesRead()
      this.#askedAt = deadlines.now()
      this.#limit.start(this.#state === ASKED ? DOUBT_MS : LOST_MS)
    } else if (this.#state === ASKED) this.#doubt()
    else onLost()
  }
}
