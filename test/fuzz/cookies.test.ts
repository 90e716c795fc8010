import fc from 'fast-check'
import t from 'tap'
import { readCookies, withoutCookies } from '../../gateway/http/cookies.ts'
import { check, FUZZ_RUNS } from './support.ts'

const NAMES = { access: 'auth_token', refresh: 'refresh_token' }

const PIECES = [
  ...[
    'auth_token',
    'refresh_token',
    'Auth_Token',
    'auth_token ',
    ' auth_token',
    'theme',
    '$Version',
    'xauth_token',
  ],
  ...[
    '=',
    '=',
    '=',
    ';',
    ';',
    '; ',
    ' ;',
    ',',
    '"',
    '\\',
    '\t',
    ' ',
    '%3D',
    '%61uth_token',
    '',
    '\xff',
    '==',
  ],
  ...['a', 'good', 'evil', '"good"'],
]

const fields = fc.array(
  fc.record({
    name: fc.constantFrom('Cookie', 'cookie', 'COOKIE', 'Cookie2', 'X-Cookie', 'Set-Cookie'),
    value: fc.array(fc.constantFrom(...PIECES), { maxLength: 14 }).map((pieces) => pieces.join('')),
  }),
  { maxLength: 3 },
)

/** The simplest reading of RFC 6265, sections 5.2 and 5.4: pairs separated by `;`, the name before the first `=`. */
function valuesByHand(fields: readonly { name: string; value: string }[], wanted: string): string[] {
  return fields
    .filter(({ name }) => name.toLowerCase() === 'cookie')
    .flatMap(({ value }) => value.split(';'))
    .map((pair) => pair.split('='))
    .filter((parts) => parts.length > 1 && trim(parts[0]!) === wanted)
    .map((parts) => trim(parts.slice(1).join('=')))
}

const trim = (text: string) => text.replace(/^[ \t]+|[ \t]+$/g, '')
const unquoted = (text: string) => (/^".*"$/.test(text) ? text.slice(1, -1) : text)

t.test('a cookie is read as one value only where every cookie parser would read that value', async (t) => {
  const property = fc.property(fields, (fields) => {
    const raw = fields.flatMap(({ name, value }) => [name, value])
    const { access } = readCookies(raw, NAMES)
    const values = valuesByHand(fields, NAMES.access).map(unquoted)
    const different = new Set(values).size
    if (different > 1 && access.kind === 'one')
      throw new Error(`${JSON.stringify(raw)}: ${JSON.stringify(access)}`)
    if (different === 0 && access.kind === 'one') throw new Error(`none: ${JSON.stringify(raw)}`)
    if (access.kind === 'one' && unquoted(access.value) !== values[0])
      throw new Error(`another: ${JSON.stringify(raw)}`)
  })
  await check(t, property, FUZZ_RUNS * 4)
})

t.test('the cookies that are removed are removed for every cookie parser, and no others are', async (t) => {
  const property = fc.property(fields, (fields) => {
    for (const { value } of fields) {
      const left = withoutCookies(value, NAMES)
      const field = [{ name: 'cookie', value: left ?? '' }]
      for (const name of Object.values(NAMES)) {
        if (valuesByHand(field, name).length > 0)
          throw new Error(`${JSON.stringify(value)} -> ${JSON.stringify(left)}`)
      }
      const others = (text: string) => valuesByHand([{ name: 'cookie', value: text }], 'theme')
      if (JSON.stringify(others(left ?? '')) !== JSON.stringify(others(value))) {
        throw new Error(`another cookie changed: ${JSON.stringify(value)} -> ${JSON.stringify(left)}`)
      }
    }
  })
  await check(t, property, FUZZ_RUNS * 4)
})
