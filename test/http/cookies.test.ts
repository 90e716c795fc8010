import fc from 'fast-check'
import t from 'tap'
import { readCookies, withoutCookies } from '../../gateway/http/cookies.ts'

const NAMES = { access: 'auth_token', refresh: 'refresh_token' }

const read = (...lines: string[]) =>
  readCookies(
    lines.flatMap((line) => ['Cookie', line]),
    NAMES,
  )
const access = (...lines: string[]) => read(...lines).access
const without = (line: string) => withoutCookies(line, NAMES)

t.test('a request without Cookie fields has no tokens', async (t) => {
  t.same(readCookies(['Host', 'a', 'Accept', '*/*'], NAMES), {
    access: { kind: 'none' },
    refresh: { kind: 'none' },
  })
})

t.test('both cookies are found among others', async (t) => {
  t.same(read('a=1; auth_token=x.y.z; refresh_token=r; b=2'), {
    access: { kind: 'one', value: 'x.y.z' },
    refresh: { kind: 'one', value: 'r' },
  })
})

for (const field of ['cookie', 'COOKIE', 'cOoKiE']) {
  t.test(`the field name ${field} is recognised as Cookie`, async (t) => {
    t.same(readCookies([field, 'auth_token=x'], NAMES).access, { kind: 'one', value: 'x' })
  })
}

t.test('a field whose value is "cookie" is not a Cookie field', async (t) => {
  t.same(readCookies(['X-Note', 'cookie', 'auth_token=x', 'auth_token=y'], NAMES).access, { kind: 'none' })
})

for (const line of [
  'auth_token=x',
  'auth_token =x',
  '\tauth_token\t=\tx\t',
  'a=1;auth_token=x',
  'a=1;  auth_token  =  x  ;b=2',
  'auth_token="x"',
  ';;; auth_token=x;',
  'a; auth_token=x',
]) {
  t.test(`the token is x in ${JSON.stringify(line)}`, async (t) => {
    t.same(access(line), { kind: 'one', value: 'x' })
  })
}

for (const line of [
  'Auth_Token=x',
  'AUTH_TOKEN=x',
  'xauth_token=x',
  'auth_tokenx=x',
  'a=auth_token=x',
  'a=auth_token',
  'auth_token',
  'x auth_token=x',
  'auth_token x=x',
  '__Host-auth_token=x',
]) {
  t.test(`no token is found in ${JSON.stringify(line)}`, async (t) => {
    t.same(access(line), { kind: 'none' })
  })
}

t.test('a value keeps its equals signs', async (t) => {
  t.same(access('auth_token=a=b=='), { kind: 'one', value: 'a=b==' })
})

t.test('a lone quote is part of the value', async (t) => {
  t.same(access('auth_token="'), { kind: 'one', value: '"' })
})

t.test('a cookie with an empty value counts as none', async (t) => {
  t.same(access('auth_token='), { kind: 'none' })
  t.same(access('auth_token=""'), { kind: 'none' })
  t.same(access('auth_token=; auth_token='), { kind: 'none' })
})

// A cookie tossed by a sibling domain or a script must not decide whose session it is.
for (const lines of [
  ['auth_token=x; auth_token=y'],
  ['auth_token=y; auth_token=x'],
  ['auth_token=x', 'auth_token=y'],
  ['auth_token=x; a=1; auth_token=x; auth_token=y'],
  ['auth_token=x; auth_token=y', 'auth_token=x'],
  ['auth_token=x', 'a=1', 'b=2; auth_token =y'],
  ['auth_token=; auth_token=y'],
  ['auth_token=y', 'auth_token='],
  ['auth_token=x; auth_token="x "'],
]) {
  t.test(`attack: two different access cookies, ${JSON.stringify(lines)}, are ambiguous`, async (t) => {
    t.same(access(...lines), { kind: 'ambiguous' })
  })
}

t.test('several cookies with equal values count as one', async (t) => {
  t.same(access('auth_token=x; auth_token=x', 'auth_token="x"'), { kind: 'one', value: 'x' })
})

t.test('an ambiguous refresh cookie does not affect the access cookie', async (t) => {
  t.same(read('refresh_token=a; auth_token=x; refresh_token=b'), {
    access: { kind: 'one', value: 'x' },
    refresh: { kind: 'ambiguous' },
  })
})

t.test('a cookie whose name ends with the name of another one is not confused with it', async (t) => {
  const names = { access: 'token', refresh: 'refresh_token' }
  t.same(readCookies(['Cookie', 'refresh_token=r; token=a'], names), {
    access: { kind: 'one', value: 'a' },
    refresh: { kind: 'one', value: 'r' },
  })
  t.equal(withoutCookies('other_token=o; refresh_token=r; token=a', names), 'other_token=o')
})

t.test('attack: a line of many partial matches is read in linear time', { timeout: 5000 }, async (t) => {
  const line = `${'auth_token '.repeat(200_000)}=x`
  t.same(access(line), { kind: 'none' })
  t.same(access(`${'auth_token;'.repeat(200_000)}auth_token=x`), { kind: 'one', value: 'x' })
})

for (const [line, left] of [
  ['a=1; auth_token=x; b=2', 'a=1; b=2'],
  ['auth_token=x; a=1', 'a=1'],
  ['a=1; refresh_token=x', 'a=1'],
  ['a=1;auth_token =x;b="2;3"', 'a=1;b="2;3"'],
  ['a=1;\tauth_token\t=x; b=2', 'a=1; b=2'],
  ['a="x y";  b=%20; auth_token=x; auth_token=y', 'a="x y";  b=%20'],
  ['Auth_Token=x; auth_token=y', 'Auth_Token=x'],
  ['auth_token; auth_token=x', 'auth_token'],
] as const) {
  t.test(`the backend gets ${JSON.stringify(left)} of ${JSON.stringify(line)}`, async (t) => {
    t.equal(without(line), left)
  })
}

for (const line of ['a=1;  b=2 ;c', '', ';', 'auth_token', 'xauth_token=1; my=auth_token', ' a=1 ']) {
  t.test(`${JSON.stringify(line)} keeps every byte`, async (t) => {
    t.equal(without(line), line)
  })
}

for (const line of ['auth_token=x', ' auth_token=x ; refresh_token=y;', 'auth_token=']) {
  t.test(`the Cookie field is removed where it is ${JSON.stringify(line)}`, async (t) => {
    t.equal(without(line), null)
  })
}

t.test('whatever the line, a value that is read as a token never reaches the backend', async () => {
  const piece = fc.constantFrom('auth_token', 'refresh_token', 'a', '=', ';', ' ', '\t', '"', '\u00a0', 'x')
  const line = fc.array(piece, { maxLength: 16 }).map((pieces) => pieces.join(''))
  fc.assert(
    fc.property(line, (text) => {
      const left = without(text)
      if (left === null) return
      if (access(left).kind !== 'none' || read(left).refresh.kind !== 'none') throw new Error(left)
    }),
    { numRuns: 2000 },
  )
})
