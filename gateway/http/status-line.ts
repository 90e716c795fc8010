/** A status line that cannot be passed to the client. */
class StatusLineError extends Error {
  override readonly name = 'StatusLineError'
}

/**
 * Checks the status line of an upstream's answer.
 *
 * @returns the reason phrase for the client; empty where it holds characters that are not Latin-1
 * @throws StatusLineError for a status outside 100 to 599 (RFC 9110, section 15), or a reason phrase with a control
 *   character (RFC 9112, section 4)
 */
export function readReasonPhrase(status: number, reason: string | undefined): string {
  if (status < 100 || status > 599) throw new StatusLineError(`a status of ${status}`)
  if (reason === undefined || PLAIN.test(reason)) return reason ?? ''
  if (CONTROL.test(reason)) throw new StatusLineError('a control character in the reason')
  return ''
}

const PLAIN = /^[\t\x20-\x7e\x80-\xff]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this finds
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/
