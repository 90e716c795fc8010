import fc from 'fast-check'
import t from 'tap'
import {
  DEFAULT_COLUMNS,
  parseTokenColumns,
  parseTokenTable,
  quoteIdentifier,
  quoteTable,
} from '../../../gateway/auth/token-store/token-columns.ts'

for (const [text, schema, name] of [
  ['"Token"', null, 'Token'],
  ['tokens', null, 'tokens'],
  ['Token', null, 'token'],
  ['auth.tokens', 'auth', 'tokens'],
  ['Auth.Tokens', 'auth', 'tokens'],
  ['ÜNITS', null, 'Ünits'],
  ['"My Schema"."Token"', 'My Schema', 'Token'],
  ['auth."Token"', 'auth', 'Token'],
  ['"a.b"', null, 'a.b'],
  ['"a""b"', null, 'a"b'],
  [' tokens ', null, 'tokens'],
] as const) {
  t.test(`the table ${text} is read as PostgreSQL reads it`, async (t) => {
    t.same(parseTokenTable(text), { ok: true, value: { schema, name } })
  })
}

for (const text of [
  'a.b.c',
  'a.',
  '.a',
  '1a',
  'a b',
  '"a',
  '""',
  'a-b',
  '"Token"; DROP TABLE x',
  'tokens--',
  '"a"b',
]) {
  t.test(`${JSON.stringify(text)} is no table`, async (t) => {
    const parsed = parseTokenTable(text)
    t.equal(parsed.ok, false)
    if (!parsed.ok) t.match(parsed.problem, JSON.stringify(text))
  })
}

t.test('columns that are not mapped keep their names', async (t) => {
  t.same(parseTokenColumns('id=jti,userId=user_id'), {
    ok: true,
    value: { ...DEFAULT_COLUMNS, id: 'jti', userId: 'user_id' },
  })
})

t.test('an unquoted column keeps its case, and a quoted one is read as PostgreSQL reads it', async (t) => {
  const parsed = parseTokenColumns(' id = tokenId , userId="user, ""the"" id" ')
  t.same(parsed, { ok: true, value: { ...DEFAULT_COLUMNS, id: 'tokenId', userId: 'user, "the" id' } })
})

for (const [text, expected] of [
  ['jti=id', '"jti" is no column'],
  ['ID=jti', '"ID" is no column'],
  ['constructor=jti', '"constructor" is no column'],
  ['id=a,id=b', '"id" is named twice'],
  ['id=', '"id" has no column name'],
  ['id', 'expected column=name'],
  ['id=a b', 'expected a comma'],
  ['id=a;userId=b', 'expected a comma'],
  ['id="a', '"id" has no column name'],
  ['id=1', '"id" has no column name'],
] as const) {
  t.test(`${JSON.stringify(text)} is refused: ${expected}`, async (t) => {
    const parsed = parseTokenColumns(text)
    t.equal(parsed.ok, false)
    if (!parsed.ok) t.match(parsed.problem, expected)
  })
}

t.test('identifiers are always quoted in SQL', async (t) => {
  t.equal(quoteIdentifier('user'), '"user"')
  t.equal(quoteIdentifier('a"; DROP TABLE x; --'), '"a""; DROP TABLE x; --"')
  t.equal(quoteTable({ schema: null, name: 'Token' }), '"Token"')
  t.equal(quoteTable({ schema: 'S s', name: 'T"' }), '"S s"."T"""')
})

t.test('every table name can be quoted and parsed again', async () => {
  const name = fc.string({ minLength: 1, unit: 'grapheme' }).filter((text) => !text.includes('\0'))
  fc.assert(
    fc.property(name, name, (schema, table) => {
      const parsed = parseTokenTable(quoteTable({ schema, name: table }))
      return parsed.ok && parsed.value.schema === schema && parsed.value.name === table
    }),
  )
})
