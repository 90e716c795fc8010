import type { ClientHttp2Stream } from 'node:http2'

/**
 * So much of a body is sent before it is known whether the target has taken its stream, where that may be in doubt. With
 * the piece of 64 KiB behind it all of that is kept (`KeptBody`).
 */
const UNCONFIRMED_BYTES = 65_536

/** The last stream in a GOAWAY that announces another one (RFC 9113, section 6.8). */
const LAST_STREAM = 2 ** 31 - 1

/** Which streams of a connection its target takes, and the exchanges that wait to know it of theirs. */
export class TakenStreams {
  /** The last one that it may have processed, once it has said that it ends the connection. */
  #last = Number.POSITIVE_INFINITY
  readonly #ping: (onAnswer: () => void) => boolean
  /** Those whose streams were begun before the PING that is under way; null where none is. */
  #asked: (() => void)[] | null = null
  /** Those for the next one. */
  #next: (() => void)[] = []

  /** @param ping sends a PING. Calls `onAnswer` where it is answered. @returns false where it was not sent */
  constructor(ping: (onAnswer: () => void) => boolean) {
    this.#ping = ping
  }

  /**
   * A PING is answered behind what was sent before it, so also behind a GOAWAY that leaves out such a stream.
   *
   * @param onTaken called once the streams that were begun so far are taken or left out
   * @returns false where that cannot be awaited
   */
  wait(onTaken: () => void): boolean {
    this.#next.push(onTaken)
    return this.#asked !== null || this.#ask()
  }

  /** False where the target has said that it does nothing for this stream (RFC 9113, sections 6.8 and 8.7). */
  mayInclude({ id }: ClientHttp2Stream): boolean {
    return id !== undefined && id <= this.#last
  }

  onGoaway(lastStream: number): void {
    this.#last = Math.min(this.#last, lastStream)
    if (lastStream < LAST_STREAM) this.#conclude()
  }

  #conclude(): void {
    const all = [...(this.#asked ?? []), ...this.#next]
    this.#next = []
    if (this.#asked !== null) this.#asked = []
    for (const onTaken of all) onTaken()
  }

  #ask(): boolean {
    this.#asked = this.#next
    this.#next = []
    const isSent = this.#ping(() => this.#onAnswer())
    if (!isSent) this.#asked = null
    return isSent
  }

  #onAnswer(): void {
    const asked = this.#asked ?? []
    this.#asked = null
    for (const onTaken of asked) onTaken()
    const next = this.#next
    if (next.length > 0 && this.#asked === null && !this.#ask()) for (const onTaken of next) onTaken()
  }
}

/** Of an exchange: how much of its body may be sent before the target has taken its stream. */
export class UploadHold {
  /** No more is to be sent at present. */
  isHolding = false
  readonly #onReleased: () => void
  /** Bytes that were sent; -1 once any number may be. */
  #bytes = 0

  constructor(onReleased: () => void) {
    this.#onReleased = onReleased
  }

  /** @param confirm begins to wait for the target; returns false where it does not have to be waited for */
  onSent(bytes: number, confirm: () => boolean): void {
    if (this.#bytes === -1 || this.isHolding) return
    this.#bytes += bytes
    if (this.#bytes < UNCONFIRMED_BYTES) return
    this.isHolding = confirm()
    if (!this.isHolding) this.#bytes = -1
  }

  release(): void {
    this.#bytes = -1
    if (!this.isHolding) return
    this.isHolding = false
    this.#onReleased()
  }
}
