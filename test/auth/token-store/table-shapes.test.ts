import t from 'tap'
import { claimThatDiffers } from '../../../gateway/auth/token-store/row-decision.ts'
import { startPostgres, TOKEN_DDL } from '../../support/postgres.ts'
import { createTableStage } from '../../support/token-table-stage.ts'

const DEADLINE_MS = 4000

const server = await startPostgres()
t.teardown(() => server.close())
const open = createTableStage(server)

const UUID = 'abcdef00-0000-4000-8000-00000000000a'
const SPELLINGS = [
  UUID.toUpperCase(),
  UUID.replaceAll('-', ''),
  `{${UUID}}`,
  'ABCDEF00-000040008000-00000000000A',
  'abcd-ef00-0000-4000-8000-0000-0000-000a',
]
const NO_UUIDS = [
  ` ${UUID}`,
  `${UUID}\n`,
  `{${UUID}`,
  `${UUID}}`,
  UUID.replace('-', '--'),
  'abc-def00-0000-4000-8000-00000000000a',
  `${UUID}0`,
  UUID.slice(1),
  `${UUID.slice(0, -1)}g`,
]

t.test(
  'an id of type uuid is found by every spelling that PostgreSQL accepts, and by no other',
  async (t) => {
    const { sql, table } = await open(t, TOKEN_DDL.replace(/"id" +text/, '"id" uuid'))
    await sql`insert into "Token" values (${UUID}, 'u', 's', null, 'ACTIVE', now() + interval '1 h')`
    const asked = [UUID, ...SPELLINGS]
    const rows = await table.findMany([...asked, ...NO_UUIDS], DEADLINE_MS)
    t.same([...rows.keys()].sort(), asked.sort())
    for (const row of rows.values()) t.equal(row.id, UUID)
    for (const text of SPELLINGS)
      t.equal(table.canonicalId(text), UUID, 'a notice of a revocation may spell it so')
    t.equal(table.canonicalId('no uuid'), 'no uuid')
    for (const text of [...SPELLINGS, ...NO_UUIDS]) {
      const taken = await sql`select ${text}::text::uuid`.then(
        () => true,
        () => false,
      )
      t.equal(rows.has(text), taken, `${text}, as PostgreSQL itself reads it`)
    }
  },
)

t.test('a uuid in a column of text is found by the same text only', async (t) => {
  const { sql, table } = await open(t)
  await sql`insert into "Token" values (${UUID}, ${UUID}, 's', null, 'ACTIVE', now() + interval '1 h')`
  const rows = await table.findMany([UUID, ...SPELLINGS], DEADLINE_MS)
  t.same([...rows.keys()], [UUID])
  const none = { userId: null, sessionId: null, mandateId: null }
  t.equal(claimThatDiffers({ ...none, userId: UUID.toUpperCase() }, rows.get(UUID)!), 'userId')
})

for (const [type, max, beyond] of [
  ['smallint', '32767', '32768'],
  ['integer', '2147483647', '2147483648'],
  ['bigint', '9223372036854775807', '9223372036854775808'],
] as const) {
  t.test(
    `ids of type ${type} are compared as numbers, and a text that is no number is unknown`,
    async (t) => {
      const { sql, table } = await open(t, TOKEN_DDL.replace(/"id" +text/, `"id" ${type}`))
      for (const id of ['7', '-7', '0', max]) {
        await sql.unsafe(
          `insert into "Token" values (${id}, 'u', 's', null, 'ACTIVE', now() + interval '1 h')`,
        )
      }
      const found = ['7', '07', '+7', ' 7 ', '-7', '-007', '0', '-0', '000', max, `0${max}`]
      const others = [
        '8',
        '',
        ' ',
        '7.0',
        '7a',
        '0x7',
        '1e0',
        '--7',
        '7 7',
        '\u00a07',
        '٧',
        'NaN',
        beyond,
        `-${beyond}0`,
        '9'.repeat(1000),
      ]
      const rows = await table.findMany([...found, ...others], DEADLINE_MS)
      t.same([...rows.keys()].sort(), found.sort())
      t.match(rows.get('07'), { id: '7' })
      t.equal((await table.findMany(others, DEADLINE_MS)).size, 0)
    },
  )
}

t.test('ids of type numeric are compared as numbers, too', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace(/"id" +text/, '"id" numeric'))
  await sql.unsafe(
    `insert into "Token" select n, 'u', 's', null, 'ACTIVE', now() + interval '1 h' from unnest('{7.50,12345678901234567890123,-0.0,NaN}'::numeric[]) n`,
  )
  const found = ['7.5', '07.500', '12345678901234567890123.', '0', '-0', '.0']
  const rows = await table.findMany(
    [...found, '7', '.', '', 'NaN', '7.5.', '75e-1', '1'.repeat(1024)],
    DEADLINE_MS,
  )
  t.same([...rows.keys()].sort(), found.sort())
})

t.test('claims are compared with the row as PostgreSQL compares the column', async (t) => {
  const { sql, table } = await open(
    t,
    TOKEN_DDL.replace('"userId"    text', '"userId" uuid')
      .replace('"sessionId" text', '"sessionId" bigint')
      .replace('"mandateId" text', '"mandateId" numeric'),
  )
  await sql.unsafe(`insert into "Token" values ('a', '${UUID}', 42, 7.00, 'ACTIVE', now() + interval '1 h')`)
  const row = (await table.findMany(['a'], DEADLINE_MS)).get('a')!
  const agree = { userId: UUID, sessionId: '42', mandateId: '7' }
  for (const userId of [null, UUID, ...SPELLINGS]) t.equal(claimThatDiffers({ ...agree, userId }, row), null)
  for (const sessionId of [null, '42', '042', '+42'])
    t.equal(claimThatDiffers({ ...agree, sessionId }, row), null)
  for (const mandateId of [null, '7', '7.0', '07'])
    t.equal(claimThatDiffers({ ...agree, mandateId }, row), null)
  for (const userId of ['', 'x', ...NO_UUIDS]) t.equal(claimThatDiffers({ ...agree, userId }, row), 'userId')
  for (const sessionId of ['', '43', '42.0', 'x'])
    t.equal(claimThatDiffers({ ...agree, sessionId }, row), 'sessionId')
  for (const mandateId of ['', '8', '7.01', 'x'])
    t.equal(claimThatDiffers({ ...agree, mandateId }, row), 'mandateId')
})

t.test('an empty mandate is no mandate, in the row and in the claim', async (t) => {
  const { sql, table } = await open(t)
  await sql`insert into "Token" values ('empty', 'u', 's', '', 'ACTIVE', now() + interval '1 h'), ('null', 'u', 's', null, 'ACTIVE', now() + interval '1 h'), ('acme', 'u', 's', 'acme', 'ACTIVE', now() + interval '1 h')`
  const rows = await table.findMany(['empty', 'null', 'acme'], DEADLINE_MS)
  const differs = (id: string, mandateId: string | null) =>
    claimThatDiffers({ userId: null, sessionId: null, mandateId }, rows.get(id)!)
  for (const id of ['empty', 'null']) {
    t.equal(rows.get(id)?.mandateId, null)
    t.same([differs(id, null), differs(id, ''), differs(id, 'acme')], [null, null, 'mandateId'])
  }
  t.same([differs('acme', null), differs('acme', ''), differs('acme', 'acme')], [null, 'mandateId', null])
})

for (const [type, admitting, revoked, good, bad] of [
  ['boolean', 'true', 'false', 'true', 'false'],
  ['boolean', 'false', 'true', 'false', 'true'],
  ['boolean', 'yes', 'no', 'true', 'false'],
  ['smallint', '1', '0', '1', '2'],
  ['bigint', '-1', '01', '-1', '1'],
  ['char(10)', 'ok', 'gone', `'ok'`, `'OK'`],
  ['varchar(10)', 'ok', 'gone', `'ok'`, `'ok '`],
  ['text', "it's \\ok", 'null', `E'it''s \\\\ok'`, `'null'`],
] as const) {
  t.test(`of a status of type ${type} only ${admitting} admits; NULL and all others refuse`, async (t) => {
    const ddl = TOKEN_DDL.replace(/"status".*/, `"status" ${type},`)
    const { sql, table } = await open(t, ddl, { statuses: { admitting, revoked } })
    await sql.unsafe(
      `insert into "Token" values ('good', 'u', 's', null, ${good}, now() + interval '1 h'), ('bad', 'u', 's', null, ${bad}, now() + interval '1 h'), ('null', 'u', 's', null, null, now() + interval '1 h')`,
    )
    const rows = await table.findMany(['good', 'bad', 'null'], DEADLINE_MS)
    t.same(
      ['good', 'bad', 'null'].map((id) => rows.get(id)?.active),
      [true, false, false],
    )
  })
}

t.test('a status that is NULL refuses, though the admitting status is "null"', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace(/"status".*/, '"status" text,'), {
    statuses: { admitting: 'null', revoked: 'x' },
  })
  await sql`insert into "Token" values ('a', 'u', 's', null, null, now() + interval '1 h')`
  t.match((await table.findMany(['a'], DEADLINE_MS)).get('a'), { status: null, active: false })
})

const NOW = 'extract(epoch from now())'
for (const type of ['int4', 'int8', 'numeric', 'float8', 'float4'] as const) {
  t.test(`an expiry of type ${type} is epoch seconds, and from 10^11 on epoch milliseconds`, async (t) => {
    const { sql, table } = await open(t, TOKEN_DDL.replace('timestamptz NOT NULL', type))
    // A float4 holds times in steps of minutes.
    const seconds = { past: `${NOW} - 300`, future: `${NOW} + 3600` }
    const milliseconds = {
      // A float4 cannot hold it.
      ...(type === 'float4' ? {} : { longPast: '100000000000' }),
      msPast: `(${NOW} - 300) * 1000`,
      msFuture: `(${NOW} + 3600) * 1000`,
    }
    const odd = {
      epoch: '0',
      before: '-5',
      null: 'null',
      ...(type === 'int4' ? {} : { largestSeconds: '99999000000' }),
    }
    const all = { ...seconds, ...(type === 'int4' ? {} : milliseconds), ...odd }
    for (const [id, value] of Object.entries(all)) {
      await sql.unsafe(`insert into "Token" values ('${id}', 'u', 's', null, 'ACTIVE', (${value})::${type})`)
    }
    const rows = await table.findMany(Object.keys(all), DEADLINE_MS)
    for (const [id, row] of rows) {
      t.equal(row.expired, /past|epoch|before/i.test(id), id)
      if (/future/i.test(id)) t.ok(Math.abs(row.expiresAt! - Date.now() - 3_600_000) < 300_000, id)
    }
    t.match(rows.get('null'), { expired: false, expiresAt: null })
    if (rows.has('longPast')) t.match(rows.get('longPast'), { expiresAt: Date.parse('1973-03-03T09:46:40Z') })
  })
}

for (const [type, values] of [
  ['numeric', ['1e400', '-1e400', 'NaN', 'Infinity', '-Infinity']],
  ['float8', ['1e308', '-1e308', 'NaN', 'Infinity', '-Infinity']],
  ['float4', ['1e38', '-1e38', 'NaN', 'Infinity', '-Infinity']],
] as const) {
  t.test(
    `an extreme value of type ${type} does not fail other look-ups, and NaN does not admit`,
    async (t) => {
      const { sql, table } = await open(t, TOKEN_DDL.replace('timestamptz', type))
      for (const value of ['1', ...values]) {
        await sql.unsafe(`insert into "Token" values ('${value}', 'u', 's', null, 'ACTIVE', '${value}')`)
      }
      const rows = await table.findMany(['1', ...values], DEADLINE_MS)
      t.equal(rows.size, values.length + 1)
      for (const [id, { expired, expiresAt }] of rows) {
        t.equal(expired, !/^1e|^Inf/.test(id), id)
        if (id === 'NaN') t.equal(expiresAt, null)
      }
    },
  )
}
