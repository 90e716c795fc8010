import { offersConnectionLogin } from './connection-logins.ts'

/** How long a connection is kept for the next exchange where the target sends no `Keep-Alive: timeout=`. */
export const KEEP_ALIVE_MS = 4000

const LONGEST_KEEP_ALIVE_MS = 600_000

/** The time that a request may need to reach its target. */
const MARGIN_MS = 1000

/** Reads from answers how long a target keeps an idle connection. */
export class KeepAliveReader {
  #fields: readonly string[] | null = null
  #value = ''
  #ms = KEEP_ALIVE_MS
  /** What the latest fields mean. */
  #read = KEEP_ALIVE_MS

  /**
   * @param fields flat name, value pairs of an answer
   * @returns milliseconds for which the connection may be idle and still be used: less than the target's own limit,
   *   because a request that arrives after that is lost. 0 where the connection must not be used again.
   */
  read(fields: readonly string[]): number {
    // The parser hands out the same fields where a head has come again.
    if (fields !== this.#fields) {
      this.#fields = fields
      this.#read = this.#readAnew(fields)
    }
    return this.#read
  }

  #readAnew(fields: readonly string[]): number {
    let ms = KEEP_ALIVE_MS
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      if (offersConnectionLogin(name, fields[i + 1]!)) return 0
      if (name.length !== 10 || (name.charCodeAt(0) | 0x20) !== 0x6b || name.toLowerCase() !== 'keep-alive')
        continue
      const value = fields[i + 1]!
      if (value !== this.#value) {
        this.#value = value
        this.#ms = keepAliveMs(value)
      }
      ms = this.#ms
    }
    return ms
  }
}

function keepAliveMs(value: string): number {
  const timeout = /(?:^|[,;\s])timeout\s*=\s*"?(\d{1,9})/i.exec(value)
  if (timeout === null) return KEEP_ALIVE_MS
  const ms = Number(timeout[1]) * 1000
  return Math.min(ms - Math.min(MARGIN_MS, ms / 2), LONGEST_KEEP_ALIVE_MS)
}
