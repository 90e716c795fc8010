/** A uuid as PostgreSQL accepts it: any case, optional hyphens after each four digits, optional braces (manual, section 8.12). */
const UUID = /^(?:\{([0-9a-f]{4}(?:-?[0-9a-f]{4}){7})\}|([0-9a-f]{4}(?:-?[0-9a-f]{4}){7}))$/i
/** A uuid as PostgreSQL writes it. */
const CANONICAL_UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** White space that PostgreSQL ignores around a number; JavaScript's class of white space has more characters. */
const SPACE = '[ \\t\\n\\r\\f\\v]*'
const WHOLE = new RegExp(`^${SPACE}([+-]?)(\\d+)${SPACE}$`)
const DECIMAL = new RegExp(`^${SPACE}([+-]?)(\\d*)(?:\\.(\\d*))?${SPACE}$`)

/** The digits of the largest int8; a longer number is not parsed. */
const MAX_DIGITS = 19

/** Bits of the integer types, without the sign. */
const INTEGER_BITS: Readonly<Record<string, bigint>> = { int2: 15n, int4: 31n, int8: 63n }

/**
 * The canonical spelling of a value of `type`. PostgreSQL compares values and not spellings, and a uuid or a number can be
 * spelt in many ways. A text has one spelling only.
 *
 * @param type the base type's name in the catalogue
 * @returns null where the text is no value of the type
 */
export function canonicalValue(type: string, text: string): string | null {
  if (type === 'uuid') return canonicalUuid(text)
  if (type === 'numeric') return canonicalDecimal(text)
  const bits = INTEGER_BITS[type]
  return bits === undefined ? text : canonicalInteger(text, bits)
}

/** Whether two texts are the same value in a column of this type. */
export function isSameValue(type: string, a: string, b: string): boolean {
  if (a === b) return true
  const canonical = canonicalValue(type, a)
  return canonical !== null && canonical === canonicalValue(type, b)
}

function canonicalUuid(text: string): string | null {
  if (CANONICAL_UUID.test(text)) return text
  const parts = UUID.exec(text)
  if (parts === null) return null
  const digits = (parts[1] ?? parts[2]!).replaceAll('-', '').toLowerCase()
  return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-${digits.slice(12, 16)}-${digits.slice(16, 20)}-${digits.slice(20)}`
}

function canonicalInteger(text: string, bits: bigint): string | null {
  const parts = WHOLE.exec(text)
  const digits = parts === null ? '' : withoutLeadingZeros(parts[2]!)
  if (parts === null || digits.length > MAX_DIGITS) return null
  const size = BigInt(digits)
  const value = parts[1] === '-' ? -size : size
  return value >= -(1n << bits) && value < 1n << bits ? String(value) : null
}

function canonicalDecimal(text: string): string | null {
  const parts = DECIMAL.exec(text)
  const [, sign = '', whole = '', decimals = ''] = parts ?? []
  if (parts === null || whole + decimals === '') return null
  let end = decimals.length
  while (end > 0 && decimals[end - 1] === '0') end--
  const size = `${whole === '' ? '0' : withoutLeadingZeros(whole)}${end === 0 ? '' : `.${decimals.slice(0, end)}`}`
  return sign === '-' && size !== '0' ? `-${size}` : size
}

function withoutLeadingZeros(digits: string): string {
  return digits.replace(/^0+(?=\d)/, '')
}
