import type { ServerHttp2Session } from 'node:http2'

/** What HTTP/2 begins with, but for one byte: so much of each upload may wait here before anything of it is taken. */
export const LEAST_WINDOW = 65_536
/** The most of one upload that may wait here. At a round trip of 60 ms it lets 35 MB/s through. */
const MOST_WINDOW = 2_097_152
/** The most that grown windows let wait here together, and what a client may have under way on its connection. */
const CONNECTION_WINDOW = 4_194_304
/** A window that was too small is next so many times as large, where it may be. */
const GROWTH = 16
/** Room on the connection by which a client that has none left goes on. */
const NUDGE = 16_384
const MAX_NUDGES = 64

/**
 * The windows of one connection's uploads (RFC 9113, section 5.2): what a client may send before it has to wait for an
 * answer to that, which is a round trip away. They grow as targets take what comes, so that a long way costs little, and
 * all together to 4 MiB: the more uploads there are, the smaller is the window of each, down to 64 KiB.
 *
 * Node gives the connection's window back as bytes come, not as they are taken, and has windows of streams set for all
 * of them together, by SETTINGS.
 */
export class UploadWindows {
  readonly #session: ServerHttp2Session
  #open = 0
  #window = LEAST_WINDOW
  /** Bytes that were taken since the windows changed. */
  #taken = 0
  /** SETTINGS that the client has not confirmed. */
  #unconfirmed = 0
  #withholds = false
  #nudges = 0

  constructor(session: ServerHttp2Session) {
    this.#session = session
    session.setLocalWindowSize(CONNECTION_WINDOW)
  }

  onOpened(): void {
    this.#open++
    const allowed = this.#allowed()
    if (this.#window <= allowed || this.#session.destroyed) return
    // Until the client has confirmed that its windows are smaller, it gets no more room on the connection than it has.
    this.#withholds = true
    this.#session.setLocalWindowSize(0)
    this.#change(allowed)
  }

  onClosed(): void {
    this.#open--
  }

  onTaken(bytes: number): void {
    this.#taken += bytes
    if (this.#taken < this.#window || this.#unconfirmed > 0 || this.#nudges === MAX_NUDGES) return
    this.#taken = 0
    const grown = Math.min(this.#window * GROWTH, this.#allowed())
    if (grown > this.#window && !this.#session.destroyed) this.#change(grown)
  }

  /** How large the windows may be; a power of two, so that they seldom change. */
  #allowed(): number {
    let window = MOST_WINDOW
    while (window > LEAST_WINDOW && window * this.#open > CONNECTION_WINDOW) window /= 2
    return window
  }

  #change(window: number): void {
    this.#window = window
    this.#taken = 0
    this.#unconfirmed++
    this.#session.settings({ initialWindowSize: window }, () => {
      this.#unconfirmed--
      if (this.#withholds && this.#unconfirmed === 0 && !this.#session.destroyed) this.#release()
    })
  }

  /** What came meanwhile is given back once more comes, so a client that has used up its window needs room for some. */
  #release(): void {
    this.#withholds = false
    this.#session.setLocalWindowSize(this.#connectionWindow())
    if (this.#session.state.localWindowSize! >= NUDGE) return
    this.#nudges++
    this.#session.setLocalWindowSize(this.#connectionWindow())
  }

  #connectionWindow(): number {
    return CONNECTION_WINDOW + this.#nudges * NUDGE
  }
}
