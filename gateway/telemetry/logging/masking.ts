/** Query names whose values are somebody's key to something. */
export const SECRET_NAME =
  /token|secret|passw|pwd|auth(?!or(?!i[sz]))|session|credential|signature|assertion|bearer|api[-_]?key|^saml|^(key|sig|code|jwt|sid|otp|ticket)$/i

export const MASK = '***'

/** The shortest first part of a JWT that is taken for one. */
const JWT_HEAD_CHARS = 11

/** URLs within the values of URLs that are looked into: where a login sends back to has a query, too. */
const MAX_DEPTH = 3

const ESCAPED_IN_PATHS = /[^\w.!~*'();/:@&=+$,-]/g
const ESCAPED_IN_VALUES = /[^\w.!~*'()-]/g

/**
 * Masks what looks like a JWT, wherever it stands. Each character is looked at once or twice: one expression for it all
 * would begin again at every `eyJ`, of which a client's URL may have thousands.
 */
export function maskJwts(text: string): string {
  return text.includes('eyJ') ? text.replace(/[\w.-]+/g, maskRun) : text
}

function maskRun(run: string): string {
  const parts = run.split('.')
  const kept: string[] = []
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!
    const at = part.indexOf('eyJ')
    const follow = parts.length - i - 1
    // The second part of an encrypted one (RFC 7516) may be empty.
    const isJwt =
      at !== -1 && part.length - at >= JWT_HEAD_CHARS && (follow > 1 || (parts[i + 1] ?? '') !== '')
    kept.push(isJwt ? `${part.slice(0, at)}${MASK}` : part)
    // An encrypted one has five parts, unless some of them begin the next.
    if (isJwt) i += follow >= 4 && !parts.slice(i + 3, i + 5).some((next) => next.includes('eyJ')) ? 4 : 2
  }
  return kept.join('.')
}

/** The path as it came, but for values in it that look like secrets. */
export function maskPath(url: string, depth = 0): string {
  const query = url.indexOf('?')
  if (query === -1) return url.includes('eyJ') ? maskEscaped(url, ESCAPED_IN_PATHS, maskJwts) : url
  const path = maskPath(url.slice(0, query))
  return `${path}?${maskQuery(url.slice(query + 1), depth)}`
}

function maskQuery(query: string, depth: number): string {
  if (!query.includes('=')) return maskJwts(query)
  return query
    .split(/([&;])/)
    .map((pair) => maskPair(pair, depth))
    .join('')
}

function maskPair(pair: string, depth: number): string {
  const equals = pair.indexOf('=')
  if (equals === -1) return maskJwts(pair)
  const name = pair.slice(0, equals)
  if (SECRET_NAME.test(decoded(name))) return `${name}=${MASK}`
  return `${name}=${maskEscaped(pair.slice(equals + 1), ESCAPED_IN_VALUES, (value) => maskValue(value, depth))}`
}

/** A value may be a URL or a query itself, such as `next` of a login. */
function maskValue(value: string, depth: number): string {
  if (depth >= MAX_DEPTH) return maskJwts(value)
  if (value.includes('?')) return maskPath(value, depth + 1)
  return value.includes('=') ? maskQuery(value, depth + 1) : maskJwts(value)
}

/** Masks what the text says once it is unescaped; one in which nothing is masked stays as it came. */
function maskEscaped(text: string, kept: RegExp, mask: (text: string) => string): string {
  if (!text.includes('%')) return mask(text)
  const plain = decoded(text)
  const masked = mask(plain)
  return masked === plain ? text : masked.replace(kept, escaped)
}

/** Byte by byte, whatever the bytes say in UTF-8: a malformed one must neither hide what is beside it nor cost a fault. */
function decoded(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function escaped(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}
