import { asciiTarget } from '../../http/request-target.ts'

/** Names of query parameters whose values are probably secrets. */
export const SECRET_NAME =
  /token|secret|passw|pwd|auth(?!or(?!i[sz]))|session|credential|signature|assertion|bearer|api[-_]?key|^saml|^(key|sig|code|jwt|sid|otp|ticket)$/i

export const MASK = '***'

/** The shortest first part of a text that is taken for a JWT. */
const JWT_HEAD_CHARS = 11

/** How deep URLs within the values of URLs are masked, such as the `next` of a login, which has a query itself. */
const MAX_DEPTH = 3

const ESCAPED_IN_PATHS = /[^\w.!~*'();/:@&=+$,-]/g
const ESCAPED_IN_VALUES = /[^\w.!~*'()-]/g

/**
 * Masks what looks like a JWT anywhere in a text. Each character is read once or twice. A single regular expression would
 * start again at every `eyJ`, of which a client's URL may have thousands.
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
    // The second part of an encrypted JWT (RFC 7516) may be empty.
    const isJwt =
      at !== -1 && part.length - at >= JWT_HEAD_CHARS && (follow > 1 || (parts[i + 1] ?? '') !== '')
    kept.push(isJwt ? `${part.slice(0, at)}${MASK}` : part)
    // An encrypted JWT has five parts, unless one of them begins another JWT.
    if (isJwt) i += follow >= 4 && !parts.slice(i + 3, i + 5).some((next) => next.includes('eyJ')) ? 4 : 2
  }
  return kept.join('.')
}

/** A request's target as logs and traces show it. Bytes above ASCII are escaped, since some control terminals. */
export function loggedTarget(target: string): string {
  return asciiTarget(maskPath(target))
}

/** The path with all values masked that look like secrets. */
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

/** Masks the unescaped text. A text in which nothing is masked is returned unchanged. */
function maskEscaped(text: string, toEscape: RegExp, mask: (text: string) => string): string {
  if (!text.includes('%')) return mask(text)
  const plain = decoded(text)
  const masked = mask(plain)
  return masked === plain ? text : masked.replace(toEscape, escaped)
}

/** Unescapes byte by byte, not as UTF-8: malformed UTF-8 must neither hide what is beside it nor throw. */
function decoded(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function escaped(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}
