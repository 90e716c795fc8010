/**
 * The form in which paths are compared (RFC 3986, section 6.2.2): unreserved characters stand as themselves,
 * what no URI may hold stands escaped, escapes are in upper case, slashes are single. Reserved characters keep
 * the spelling they came in.
 */
export type NormalPath =
  | {
      readonly kind: 'ok'
      readonly path: string
      /** True where `withoutParameters` gives another path. */
      readonly hasParameters: boolean
    }
  | { readonly kind: 'bad'; readonly reason: string }

/** One character of the normal form and where the raw path goes on behind it. */
interface Step {
  readonly text: string
  readonly next: number
}

const PLAIN = 0
const SLASH = 1
const DOT = 2
const DELIMITER = 3
/** Legal in no path (RFC 3986, section 3.3): who takes it all the same reads it as its escape. */
const FOREIGN = 4
const SEMICOLON = 5
const PERCENT = 6
const BAD = 7

const CLASSES = classes()
const HEX_PAIR = /^[\da-f]{2}$/i

/** Dots with a `;parameter` behind them too: some backends drop it before they resolve dots (`/..;/`). */
const DOT_SEGMENT = /\/\.\.?(?:;|%3B|\/|$)/

const PARAMETERS = /(?:;|%3B)[^/]*/g
const ESCAPED_DELIMITER = /%(?:2[146-9A-C]|3[AD]|40)/g
const HAS_PARAMETERS = /;|%3B|%(?:2[146-9A-C]|3[AD]|40)/

/**
 * @param raw a path that begins with `/`, without query and fragment, one character a byte
 * @returns `bad` where backends could resolve it to another path than the one that is matched
 */
export function normalPath(raw: string): NormalPath {
  if (isNormal(raw)) return { kind: 'ok', path: raw, hasParameters: false }
  let path = ''
  for (let at = 0; at < raw.length; ) {
    const step = pathStep(raw, at)
    if (step === null) return { kind: 'bad', reason: reasonAt(raw, at) }
    path += step.text
    at = step.next
  }
  if (DOT_SEGMENT.test(path)) return { kind: 'bad', reason: 'the path holds a dot segment' }
  return { kind: 'ok', path, hasParameters: HAS_PARAMETERS.test(path) }
}

/** True for the paths that nearly all requests have, at the cost of one scan. */
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

/** Reads one character of the normal form at `at`; null where none can be read. */
export function pathStep(raw: string, at: number): Step | null {
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
    case FOREIGN:
      return { text: escaped(code), next: at + 1 }
    case PERCENT: {
      const hex = raw.slice(at + 1, at + 3)
      const text = HEX_PAIR.test(hex) ? unescaped(Number.parseInt(hex, 16)) : null
      return text === null ? null : { text, next: at + 3 }
    }
    default:
      return null
  }
}

/** What an escaped byte stands as; null for those that some backends decode into a separator or an end. */
function unescaped(code: number): string | null {
  const kind = CLASSES[code]
  if (kind === PLAIN || kind === DOT) return String.fromCharCode(code)
  return kind === SLASH || code === 0 || code === 0x5c ? null : escaped(code)
}

function escaped(code: number): string {
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`
}

function reasonAt(raw: string, at: number): string {
  if (raw.charAt(at) === '\\') return 'the path holds a backslash'
  if (raw.charAt(at) !== '%') return 'the path holds an unprintable character'
  return HEX_PAIR.test(raw.slice(at + 1, at + 3))
    ? 'the path holds an escaped slash, backslash or NUL'
    : 'the path holds a malformed escape'
}

/**
 * The other reading of a path: `;parameters` (also behind `%3B`) dropped from its segments, as servlet
 * containers do, and escaped reserved characters decoded, as most routers do. Where it has another route, there
 * is no telling which rule the backend's resource is under.
 *
 * @param path in normal form
 */
export function withoutParameters(path: string): string {
  return path
    .replace(PARAMETERS, '')
    .replace(ESCAPED_DELIMITER, (triplet) => String.fromCharCode(Number.parseInt(triplet.slice(1), 16)))
    .replace(/\/{2,}/g, '/')
}

function classes(): Uint8Array {
  const table = new Uint8Array(256).fill(FOREIGN)
  const fill = (chars: string, kind: number): void => {
    for (const char of chars) table[char.charCodeAt(0)] = kind
  }
  fill('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~', PLAIN)
  fill("!$&'()*+,=:@", DELIMITER)
  fill('/', SLASH)
  fill('.', DOT)
  fill(';', SEMICOLON)
  fill('%', PERCENT)
  fill('\\?#\x7f', BAD)
  table.fill(BAD, 0, 0x21)
  return table
}
