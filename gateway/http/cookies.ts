/** The cookies that carry tokens. */
export interface CookieNames {
  readonly access: string
  readonly refresh: string
}

export type CookieValue =
  | { readonly kind: 'none' }
  | { readonly kind: 'one'; readonly value: string }
  /** The cookie was sent several times with different values, so it is unclear which one is meant. */
  | { readonly kind: 'ambiguous' }

export interface TokenCookies {
  readonly access: CookieValue
  readonly refresh: CookieValue
}

const NONE: CookieValue = { kind: 'none' }
const AMBIGUOUS: CookieValue = { kind: 'ambiguous' }

/**
 * Reads the token cookies from all `Cookie` fields of a request (RFC 6265, section 5.4). HTTP/2 clients may split
 * the field (RFC 9113, section 8.2.3). An empty value counts as no cookie; beside a cookie with a value it makes
 * the result `ambiguous`.
 *
 * @param rawHeaders flat name, value pairs
 */
export function readCookies(rawHeaders: readonly string[], names: CookieNames): TokenCookies {
  return { access: readCookie(rawHeaders, names.access), refresh: readCookie(rawHeaders, names.refresh) }
}

/** Reads one cookie by the rules of `readCookies`. */
export function readCookie(rawHeaders: readonly string[], name: string): CookieValue {
  let cookie: CookieValue | null = null
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const field = rawHeaders[i]!
    if (field.length !== 6 || field.toLowerCase() !== 'cookie') continue
    cookie = readLine(rawHeaders[i + 1]!, name, cookie)
  }
  return cookie === null || (cookie.kind === 'one' && cookie.value === '') ? NONE : cookie
}

function readLine(line: string, name: string, before: CookieValue | null): CookieValue | null {
  let found = before
  // Searching for the name is cheaper than splitting the line into pairs, since most lines hold it at most once.
  for (let at = line.indexOf(name); at !== -1; at = line.indexOf(name, at + 1)) {
    const value = valueAt(line, name, at)
    if (value === null) continue
    if (found === null) found = { kind: 'one', value }
    else if (found.kind === 'ambiguous' || (found.kind === 'one' && found.value !== value)) return AMBIGUOUS
  }
  return found
}

/** The value of the pair whose name begins at `at`; null where the text at `at` is not the whole name of a pair. */
function valueAt(line: string, name: string, at: number): string | null {
  for (let i = at - 1; i >= 0 && line[i] !== ';'; i--) if (!isSpace(line.charCodeAt(i))) return null
  let i = at + name.length
  while (i < line.length && isSpace(line.charCodeAt(i))) i++
  if (line[i] !== '=') return null
  const semicolon = line.indexOf(';', i)
  const value = line.slice(i + 1, semicolon === -1 ? line.length : semicolon).trim()
  return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9
}

/**
 * Removes the token cookies from a `Cookie` line. The other pairs keep their bytes and order.
 *
 * @returns null where no pair is left, so that the field has to be removed
 */
export function withoutCookies(line: string, names: CookieNames): string | null {
  if (!line.includes(names.access) && !line.includes(names.refresh)) return line
  let left = ''
  let isFirst = true
  let keptAll = true
  for (let start = 0; start <= line.length; ) {
    const semicolon = line.indexOf(';', start)
    const end = semicolon === -1 ? line.length : semicolon
    if (isNamed(line, start, end, names)) keptAll = false
    else {
      left += isFirst ? line.slice(start, end) : line.slice(start - 1, end)
      isFirst = false
    }
    start = end + 1
  }
  if (keptAll) return line
  left = left.trim()
  return left === '' ? null : left
}

function isNamed(line: string, start: number, end: number, names: CookieNames): boolean {
  const equals = line.indexOf('=', start)
  if (equals === -1 || equals >= end) return false
  const name = line.slice(start, equals).trim()
  return name === names.access || name === names.refresh
}
