/** A status line that cannot be passed on. */
export class StatusLineError extends Error {
  override readonly name = 'StatusLineError'
}

/**
 * The reason phrase of an upstream's answer as the client gets it; empty where its bytes were no latin1.
 *
 * @throws StatusLineError for a status below 100 or a reason with a control character (RFC 9112, section 4):
 *   Node's client parser lets both through, and Node's server would throw on them
 */
export function reasonOf(status: number, reason: string | undefined): string {
  if (status < 100 || status > 999) throw new StatusLineError(`a status of ${status}`)
  if (reason === undefined || PLAIN.test(reason)) return reason ?? ''
  if (CONTROL.test(reason)) throw new StatusLineError('a control character in the reason')
  return ''
}

const PLAIN = /^[\t\x20-\x7e\x80-\xff]*$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/
