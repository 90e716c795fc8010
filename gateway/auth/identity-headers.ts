import type { IdentityHeaderNames } from '../http/field-classes.ts'
import type { Identity } from './authenticator.ts'

/** Printable ASCII that no recipient trims or cuts (RFC 9110, section 5.5). */
const PLAIN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/

/** As above, for text beyond ASCII. */
const UNSAFE = /^$|^\s|\s$|\p{Cc}|\p{Cs}/u

/**
 * The identity as header fields, flat name, value pairs. A session without a mandate has no mandate field.
 * Text beyond ASCII goes as UTF-8.
 *
 * @returns null where a value of the row cannot be sent unchanged: empty, with a control character (it could
 *   end the field and begin another) or with white space at an end (the backend would see another value)
 */
export function identityHeaders(identity: Identity, names: IdentityHeaderNames): string[] | null {
  const fields: string[] = []
  const complete =
    push(fields, names.userId, identity.userId) &&
    (identity.mandateId === null || push(fields, names.mandateId, identity.mandateId)) &&
    push(fields, names.sessionId, identity.sessionId) &&
    push(fields, names.tokenId, identity.tokenId)
  return complete ? fields : null
}

function push(fields: string[], name: string, value: string): boolean {
  if (PLAIN.test(value)) {
    fields.push(name, value)
    return true
  }
  if (UNSAFE.test(value)) return false
  // Node and undici write each character of a field as one byte.
  fields.push(name, Buffer.from(value, 'utf8').toString('latin1'))
  return true
}
