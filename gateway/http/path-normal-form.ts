/**
 * The form in which paths are compared (RFC 3986, section 6.2.2). Unreserved characters are not percent-encoded,
 * characters that a URI must not contain are; escapes are in upper case; repeated slashes are merged. Reserved
 * characters stay as they were sent.
 */
export type NormalizedPath =
  | {
      readonly kind: 'ok'
      readonly path: string
      /** True where some backends may read another path: `otherReadings` has these. */
      readonly ambiguous: boolean
    }
  | { readonly kind: 'bad'; readonly reason: string }

interface PathCharacter {
  /** The character as the normal form spells it. */
  readonly text: string
  /** Where the raw path continues after it. */
  readonly next: number
}

const PLAIN = 0
const SLASH = 1
const DOT = 2
const DELIMITER = 3
/** Not allowed in a path (RFC 3986, section 3.3). Servers that accept it treat it like its escape. */
const TO_ESCAPE = 4
const SEMICOLON = 5
const PERCENT = 6
const REFUSED = 7

const CLASSES = characterClasses()
const HEX_PAIR = /^[\da-f]{2}$/i

/** Also with a `;parameter` behind the dots, which some backends drop before they resolve dots (`/..;/`). */
const DOT_SEGMENT = /\/\.\.?(?:;|%3B|\/|$)/

const PARAMETERS = /(?:;|%3B)[^/]*/g
const ESCAPED_DELIMITER = /%(?:2[146-9A-C]|3[AD]|40)/g
/** What each of these stands for. */
const DELIMITERS: Readonly<Record<string, string>> = Object.fromEntries(
  [..."!$&'()*+,:=@"].map((char) => [percentEncode(char.charCodeAt(0)), char]),
)
const ESCAPED_SLASH = /%2F/g
const AMBIGUOUS = /;|%3B|%(?:2[146-9A-CF]|3[AD]|40)/

/**
 * @param raw a path that begins with `/`, without query and fragment; each character stands for one byte
 * @returns `bad` where a backend could resolve it to another path than the one that routes are matched against
 */
export function normalizePath(raw: string): NormalizedPath {
  if (isNormal(raw)) return { kind: 'ok', path: raw, ambiguous: false }
  let path = ''
  for (let at = 0; at < raw.length; ) {
    const character = readPathCharacter(raw, at)
    if (character === null) return { kind: 'bad', reason: describeProblem(raw, at) }
    path += character.text
    at = character.next
  }
  if (DOT_SEGMENT.test(path)) return { kind: 'bad', reason: 'the path holds a dot segment' }
  return { kind: 'ok', path, ambiguous: AMBIGUOUS.test(path) }
}

/** A quick check by a single scan. True for nearly all requests; false where the path has to be looked at closely. */
function isNormal(raw: string): boolean {
  let afterSlash = false
  for (let i = 0; i < raw.length; i++) {
    const kind = CLASSES[raw.charCodeAt(i)]
    if (kind === PLAIN || kind === DELIMITER) afterSlash = false
    else if (afterSlash) return false
    else if (kind === SLASH) afterSlash = true
    else if (kind !== DOT) return false
  }
  return true
}

/** Reads the character at `at`; null where the path has to be refused because of it. */
export function readPathCharacter(raw: string, at: number): PathCharacter | null {
  const code = raw.charCodeAt(at)
  switch (CLASSES[code]) {
    case PLAIN:
    case DOT:
    case DELIMITER:
    case SEMICOLON:
      return { text: raw.charAt(at), next: at + 1 }
    case SLASH: {
      let next = at + 1
      while (raw.charCodeAt(next) === code) next++
      return { text: '/', next }
    }
    case TO_ESCAPE:
      return { text: percentEncode(code), next: at + 1 }
    case PERCENT: {
      const hex = raw.slice(at + 1, at + 3)
      const text = HEX_PAIR.test(hex) ? normalizeEscape(Number.parseInt(hex, 16)) : null
      return text === null ? null : { text, next: at + 3 }
    }
    default:
      return null
  }
}

/**
 * The normal form of an escaped byte; null for a backslash and NUL, which some backends decode and then read as a
 * separator or as the end of the path. An escaped slash stays one: what backends make of it, `otherReadings` tells.
 */
function normalizeEscape(code: number): string | null {
  const kind = CLASSES[code]
  if (kind === PLAIN || kind === DOT) return String.fromCharCode(code)
  return code === 0 || code === 0x5c ? null : percentEncode(code)
}

function percentEncode(code: number): string {
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`
}

function describeProblem(raw: string, at: number): string {
  if (raw.charAt(at) === '\\') return 'the path holds a backslash'
  if (raw.charAt(at) !== '%') return 'the path holds an unprintable character'
  return HEX_PAIR.test(raw.slice(at + 1, at + 3))
    ? 'the path holds an escaped backslash or NUL'
    : 'the path holds a malformed escape'
}

/** A path as some backends read it. */
export interface PathReading {
  readonly path: string
  /** True where an escaped slash was read as a slash. */
  readonly decodesSlashes: boolean
}

/**
 * The paths that backends may read in place of `path`: without `;parameters` (also behind `%3B`), as in servlet
 * containers; with escaped reserved characters decoded, as in most routers; with escaped slashes decoded, as in many
 * servers and in proxies behind this one; and with several of these, in any order. Where one of them has another
 * route, the gateway cannot know which route's rule applies to the resource that the backend will serve.
 *
 * @param path in normal form
 * @returns each reading once, without `path` itself
 */
export function otherReadings(path: string): PathReading[] {
  const readings: PathReading[] = [{ path, decodesSlashes: false }]
  const seen = new Set([path])
  // The list grows while it is read. It ends, since no reading brings back what another one has taken away.
  for (const reading of readings) {
    for (const read of WAYS) {
      const other = read(reading.path)
      if (seen.has(other)) continue
      seen.add(other)
      readings.push({ path: other, decodesSlashes: reading.decodesSlashes || read === decodeSlashes })
    }
  }
  return readings.slice(1)
}

/** Those with slashes come last, so that what they alone bring about is told from the rest. */
const WAYS = [dropParameters, decodeDelimiters, decodeSlashes]

function dropParameters(path: string): string {
  return mergeSlashes(path.replace(PARAMETERS, ''))
}

function decodeDelimiters(path: string): string {
  return path.replace(ESCAPED_DELIMITER, (triplet) => DELIMITERS[triplet]!)
}

function decodeSlashes(path: string): string {
  return mergeSlashes(path.replace(ESCAPED_SLASH, '/'))
}

/** True where a backend that resolves dots reads another path. @param path in normal form, or a reading of it */
export function hasDotSegment(path: string): boolean {
  return DOT_SEGMENT.test(path)
}

function mergeSlashes(path: string): string {
  return path.replace(/\/{2,}/g, '/')
}

function characterClasses(): Uint8Array {
  const table = new Uint8Array(256).fill(TO_ESCAPE)
  const fill = (chars: string, kind: number): void => {
    for (const char of chars) table[char.charCodeAt(0)] = kind
  }
  fill('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~', PLAIN)
  fill("!$&'()*+,=:@", DELIMITER)
  fill('/', SLASH)
  fill('.', DOT)
  fill(';', SEMICOLON)
  fill('%', PERCENT)
  fill('\\?#\x7f', REFUSED)
  table.fill(REFUSED, 0, 0x21)
  return table
}
