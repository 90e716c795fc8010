import type { IdentityHeaderNames } from '../http/field-classes.ts'
import type { Identity } from './authenticator.ts'

/** Printable ASCII without white space at an end, which a recipient would trim (RFC 9110, section 5.5). */
const PLAIN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/

/** Other text that cannot be sent unchanged. */
const UNSAFE = /^$|^\s|\s$|\p{Cc}|\p{Cs}/u

/**
 * The identity as header fields, a flat list of names and values. A session without a mandate has no mandate field. Text
 * beyond ASCII is sent as UTF-8.
 *
 * @returns null where a value of the row cannot be sent unchanged: empty, with a control character (it could
 *   end the field and begin another) or with white space at an end (the backend would see another value)
 */
export function identityHeaders(identity: Identity, names: IdentityHeaderNames): string[] | null {
  const fields: string[] = []
  const complete =
    addField(fields, names.userId, identity.userId) &&
    (identity.mandateId === null || addField(fields, names.mandateId, identity.mandateId)) &&
    addField(fields, names.sessionId, identity.sessionId) &&
    addField(fields, names.tokenId, identity.tokenId)
  return complete ? fields : null
}

function addField(fields: string[], name: string, value: string): boolean {
  if (PLAIN.test(value)) {
    fields.push(name, value)
    return true
  }
  if (UNSAFE.test(value)) return false
  // Node and undici write each character of a field as one byte, so that each byte has to be a character.
  fields.push(name, Buffer.from(value, 'utf8').toString('latin1'))
  return true
}
