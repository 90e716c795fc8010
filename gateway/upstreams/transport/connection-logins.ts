/*
 * NTLM and Negotiate (RFC 4559) log in a connection, and not one request. A connection to a target carries requests of all
 * clients: kept after such a login, it would answer the next client as the one who logged in.
 */

const OFFERED = /(?:^|[\s,])(?:ntlm|negotiate)(?:[\s,]|$)/i
const TRIED = /^(?:ntlm|negotiate)(?:\s|$)/i

/** True for a field of an answer by which a target offers such a login. @param name as the target spelled it */
export function offersConnectionLogin(name: string, value: string): boolean {
  return name.length === 16 && OFFERED.test(value) && name.toLowerCase() === 'www-authenticate'
}

/** True where a request tries such a login. @param fields flat name, value pairs */
export function triesConnectionLogin(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (name.length === 13 && TRIED.test(fields[i + 1]!) && name.toLowerCase() === 'authorization')
      return true
  }
  return false
}
