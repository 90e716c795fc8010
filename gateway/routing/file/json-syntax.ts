/** The first place where a text is not JSON. */
export interface SyntaxProblem {
  /** Index of the first character that no JSON text could have there; the text's length where it ends too early. */
  readonly offset: number
  readonly found: string
  readonly expected: string
}

/** No real routing file is nested deeper. Without a bound a hostile one would exhaust the stack. */
const MAX_DEPTH = 64

const SPACE = /[ \t\n\r]*/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: RFC 8259, section 7, forbids them in strings
const STRING = /"(?:[^"\\\0-\x1f]+|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*/y
const ESCAPE = /\\(?:u[\da-fA-F]{0,3})?/y
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?/iy
const NUMBER_BEGUN = /-?(?:(?:0|[1-9]\d*)(?:\.(?:\d+(?:e[+-]?\d*)?)?|e[+-]?\d*)?)?/iy
const LITERALS = ['true', 'false', 'null']

type Expecting = 'value' | 'value or ]' | 'key' | 'key or }' | 'colon' | 'comma or end'

const EXPECTED: Record<Exclude<Expecting, 'comma or end'>, string> = {
  value: 'a value',
  'value or ]': 'a value or "]"',
  key: 'a key in double quotes',
  'key or }': 'a key in double quotes or "}"',
  colon: 'a colon',
}

/** Where a scan ended, or the problem that stopped it. */
type Scan = number | SyntaxProblem

/**
 * Finds the first place where a text is not JSON (RFC 8259). The positions that JSON parsers report are not used: they
 * point at different things, and some parsers report none at the end of the text.
 *
 * @returns null for valid JSON
 */
export function findSyntaxProblem(text: string): SyntaxProblem | null {
  const found = scan(text)
  if (found === null || !/[}\]]/.test(text.charAt(found.offset))) return found
  const isTrailing = /,[ \t\n\r]*$/.test(text.slice(Math.max(0, found.offset - 1000), found.offset))
  return isTrailing ? { ...found, expected: `${found.expected}; JSON has no trailing commas` } : found
}

function scan(text: string): SyntaxProblem | null {
  const closers: string[] = []
  let expecting: Expecting = 'value'
  for (let at = skipSpace(text, 0); ; at = skipSpace(text, at)) {
    const char = text.charAt(at)
    if (expecting === 'comma or end') {
      const closer = closers.at(-1)
      if (closer === undefined) return at === text.length ? null : problem(text, at, 'the end of the file')
      if (char === closer) closers.pop()
      else if (char !== ',') return problem(text, at, `a comma or "${closer}"`)
      else expecting = closer === '}' ? 'key' : 'value'
      at++
    } else if (expecting === 'colon') {
      if (char !== ':') return problem(text, at, EXPECTED.colon)
      expecting = 'value'
      at++
    } else if ((char === '}' && expecting === 'key or }') || (char === ']' && expecting === 'value or ]')) {
      closers.pop()
      expecting = 'comma or end'
      at++
    } else if ((char === '{' || char === '[') && expecting.startsWith('value')) {
      if (closers.length === MAX_DEPTH) return problem(text, at, `at most ${MAX_DEPTH} levels of nesting`)
      closers.push(char === '{' ? '}' : ']')
      expecting = char === '{' ? 'key or }' : 'value or ]'
      at++
    } else {
      const end = scanScalar(text, at, expecting)
      if (typeof end !== 'number') return end
      expecting = expecting.startsWith('key') ? 'colon' : 'comma or end'
      at = end
    }
  }
}

function scanScalar(text: string, at: number, expecting: keyof typeof EXPECTED): Scan {
  const char = text.charAt(at)
  if (char === '"') return scanString(text, at)
  if (expecting.startsWith('value')) {
    if (/[-\d]/.test(char)) return scanNumber(text, at)
    const literal = LITERALS.find((word) => word.startsWith(char))
    if (char !== '' && literal !== undefined) return scanLiteral(text, at, literal)
  }
  return problem(text, at, EXPECTED[expecting])
}

function scanString(text: string, at: number): Scan {
  const end = endOf(STRING, text, at)
  const char = text.charAt(end)
  if (char === '"') return end + 1
  if (char === '\\') return problem(text, endOf(ESCAPE, text, end), 'a JSON escape')
  return problem(text, end, 'a closing double quote')
}

function scanNumber(text: string, at: number): Scan {
  const begun = endOf(NUMBER_BEGUN, text, at)
  return endOf(NUMBER, text, at) === begun ? begun : problem(text, begun, 'a digit')
}

function scanLiteral(text: string, at: number, literal: string): Scan {
  let length = 0
  while (length < literal.length && text[at + length] === literal[length]) length++
  return length === literal.length ? at + length : problem(text, at + length, literal)
}

function skipSpace(text: string, at: number): number {
  return endOf(SPACE, text, at)
}

/** The end of a sticky expression's match at `at`; `at` itself where it does not match. */
function endOf(expression: RegExp, text: string, at: number): number {
  expression.lastIndex = at
  return at + (expression.exec(text)?.[0].length ?? 0)
}

function problem(text: string, offset: number, expected: string): SyntaxProblem {
  return { offset, found: describeCharacter(text, offset), expected }
}

function describeCharacter(text: string, offset: number): string {
  const code = text.codePointAt(offset)
  if (code === undefined) return offset === 0 ? 'an empty file' : 'the end of the file'
  if (code === 0xfeff) return 'a byte order mark (save the file as UTF-8 without one)'
  if (text.startsWith('//', offset) || text.startsWith('/*', offset)) return 'a comment (JSON has none)'
  const char = String.fromCodePoint(code)
  return /[\p{C}\p{Z}]/u.test(char) ? `U+${code.toString(16).toUpperCase().padStart(4, '0')}` : `"${char}"`
}
