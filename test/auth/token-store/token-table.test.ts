import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { hashText } from '../../../gateway/core/text-hash.ts'
import { insertToken, startPostgres, TOKEN_DDL } from '../../support/postgres.ts'
import { createTableStage } from '../../support/token-table-stage.ts'

const DEADLINE_MS = 2000

const server = await startPostgres()
t.teardown(() => server.close())

const open = createTableStage(server)

t.test('attack: SQL in the jti is compared as data', async (t) => {
  const { sql, table } = await open(t)
  const ids = [
    '\'; drop table "Token"; --',
    '"',
    '\\',
    '\\"',
    '{}',
    '{a,b}',
    'NULL',
    'null',
    ',',
    ' padded ',
    'ünïcödé 😀',
    'x'.repeat(1024),
    '$1',
    '%s',
    'a\nb',
  ]
  for (const id of ids) await insertToken(sql, { id, userId: `user of ${id}` })
  const rows = await table.findMany([...ids, 'nobody', '{NULL}'], DEADLINE_MS)
  t.same([...rows.keys()].sort(), [...ids].sort())
  for (const id of ids) t.equal(rows.get(id)?.userId, `user of ${id}`)
})

for (const [type, past, future] of [
  ['timestamptz', "now() - interval '1 s'", "now() + interval '1 h'"],
  ['timestamp', "(now() at time zone 'UTC') - interval '1 s'", "(now() at time zone 'UTC') + interval '1 h'"],
  ['bigint', 'extract(epoch from now())::bigint - 1', 'extract(epoch from now())::bigint + 3600'],
  ['numeric', 'extract(epoch from now()) - 1', 'extract(epoch from now()) + 3600'],
  ['double precision', 'extract(epoch from now()) - 1', 'extract(epoch from now()) + 3600'],
] as const) {
  t.test(`expiry as ${type} is judged by the database's clock, in whatever time zone it is`, async (t) => {
    const { sql, url, table } = await open(
      t,
      `create table tokens (id varchar(64) primary key, "userId" text, "sessionId" text, "mandateId" text, status text, "expiresAt" ${type})`,
      { table: 'tokens' },
    )
    await sql.unsafe(`alter database ${new URL(url).pathname.slice(1)} set timezone = 'Asia/Tokyo'`)
    await sql.unsafe(
      `insert into tokens values ('old', 'u', 's', null, 'ACTIVE', ${past}), ('new', 'u', 's', null, 'ACTIVE', ${future}), ('open', 'u', 's', null, 'ACTIVE', null)`,
    )
    const rows = await table.findMany(['old', 'new', 'open'], DEADLINE_MS)
    t.equal(rows.get('old')?.expired, true)
    t.equal(rows.get('new')?.expired, false)
    t.ok(Math.abs((rows.get('new')?.expiresAt ?? 0) - Date.now() - 3_600_000) < 60_000)
    t.match(rows.get('open'), { expired: false, expiresAt: null }, "NULL leaves it to the token's own exp")
  })
}

t.test('uuid ids are found in any case, and a text that is no uuid is unknown', async (t) => {
  const { sql, table } = await open(
    t,
    `create type state as enum ('ACTIVE', 'REVOKED');
     create table "My Tokens" (jti uuid primary key, uid uuid, sid int, tenant text, st state, exp timestamptz)`,
    {
      table: '"My Tokens"',
      columns: 'id=jti,userId=uid,sessionId=sid,mandateId=tenant,status=st,expiresAt=exp',
    },
  )
  const id = '0f0f0f0f-aaaa-4bbb-8ccc-0123456789ab'
  await sql.unsafe(`insert into "My Tokens" values ('${id}', '${id}', 7, 'm', 'REVOKED', now())`)
  const rows = await table.findMany([id.toUpperCase(), 'no uuid', "' or true"], DEADLINE_MS)
  t.same([...rows.keys()], [id.toUpperCase()])
  t.match(rows.get(id.toUpperCase()), { userId: id, sessionId: '7', mandateId: 'm', status: 'REVOKED' })
})

t.test('every missing column and every type that does not fit is named at once', async (t) => {
  const { table } = await open(
    t,
    'create table tokens (id bytea, "userId" bytea, status bytea, "expiresAt" date)',
    { table: 'tokens' },
  )
  const { mapped, problems } = await table.checkMapping(DEADLINE_MS)
  t.equal(mapped, null)
  const all = problems.join('\n')
  for (const part of [
    '"id" is of type bytea',
    '"userId" is of type bytea',
    'no column "sessionId"',
    'no column "mandateId"',
    '"status" is of type bytea',
    '"expiresAt" is of type date',
  ]) {
    t.match(all, part)
  }
  t.match((await (await open(t, 'select 1')).table.checkMapping(DEADLINE_MS)).problems[0], /does not exist/)
})

t.test('a table that a migration has finished is found without a restart', async (t) => {
  const { sql, table } = await open(t)
  const { id } = await insertToken(sql)
  t.ok((await table.findMany([id], DEADLINE_MS)).has(id))
  await sql`alter table "Token" alter column "expiresAt" type timestamp using "expiresAt" at time zone 'UTC'`
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.expired, false)
})

t.test('the look-up uses the primary key, with a custom plan and with a generic one', async (t) => {
  for (const type of ['text', 'varchar(64)', 'uuid']) {
    const { sql, table, statements } = await open(t, TOKEN_DDL.replace(/"id" +text/, `"id" ${type}`))
    const id = type === 'uuid' ? "md5('tok-' || i)::uuid" : "md5('tok-' || i)"
    await sql.unsafe(
      `insert into "Token" select ${id}, 'u', 's', null, 'ACTIVE', now() + interval '1 h' from generate_series(1, 20000) i`,
    )
    await sql`analyze "Token"`
    const ids = (await sql`select id::text from "Token" limit 30`).map((each) => String(each.id))
    t.equal((await table.findMany(ids, DEADLINE_MS)).size, 30)
    const { text, parameters } = statements.at(-1)!
    await sql.unsafe(`prepare lookup as ${text}`)
    for (const mode of ['force_custom_plan', 'force_generic_plan']) {
      await sql.unsafe(`set plan_cache_mode = ${mode}`)
      const plan = JSON.stringify(
        await sql.unsafe(`explain (format json) execute lookup ('${parameters[0]}')`),
      )
      t.match(plan, /"Node Type":"(?:Bitmap )?Index (?:Only )?Scan"/, `${type}, ${mode}`)
      t.notMatch(plan, 'Seq Scan')
    }
  }
})

t.test('a batch is one statement, also where no id can be a value of the column', async (t) => {
  const { sql, table, statements } = await open(t, TOKEN_DDL.replace(/"id" +text/, '"id" uuid'))
  const { id } = await insertToken(sql)
  await table.findMany([id], DEADLINE_MS)
  statements.length = 0
  const ids = Array.from({ length: 1000 }, (_, i) => `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`)
  t.same([...(await table.findMany([...ids, id], DEADLINE_MS)).keys()], [id])
  t.equal(statements.length, 1)
  t.equal((await table.findMany(['no uuid', `{${id}`, `${id}0`], DEADLINE_MS)).size, 0)
  t.equal((await table.findMany([], DEADLINE_MS)).size, 0)
  t.equal(statements.length, 2)
})

t.test('a uuid that is looked up in two cases is found under both', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace(/"id" +text/, '"id" uuid'))
  const { id } = await insertToken(sql, { id: 'aaaaaaaa-0000-4000-8000-00000000000b' })
  t.same([...(await table.findMany([id, id.toUpperCase()], DEADLINE_MS)).keys()], [id, id.toUpperCase()])
})

t.test('with several rows for an id one that refuses wins over those that admit', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace('PRIMARY KEY', 'NOT NULL'))
  const expiresAt = Date.now() - 1000
  for (const id of ['a', 'b', 'c']) await insertToken(sql, { id, userId: 'first' })
  await insertToken(sql, { id: 'a', status: 'REVOKED' })
  await insertToken(sql, { id: 'b', expiresAt })
  await insertToken(sql, { id: 'b', userId: 'third' })
  const rows = await table.findMany(['a', 'b', 'c'], DEADLINE_MS)
  t.equal(rows.get('a')?.status, 'REVOKED')
  t.equal(rows.get('b')?.expired, true)
  t.match(rows.get('c'), { status: 'ACTIVE', expired: false })
})

t.test('an identity that is NULL is read as empty, and not as the text "null"', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replaceAll('text NOT NULL', 'text'))
  await sql`insert into "Token" values ('a', null, null, null, 'ACTIVE', now() + interval '1 h')`
  await sql`insert into "Token" values ('b', 'u', 's', null, null, now() + interval '1 h')`
  const rows = await table.findMany(['a', 'b'], DEADLINE_MS)
  t.match(rows.get('a'), { userId: '', sessionId: '', mandateId: null })
  t.match(rows.get('b'), { status: null, active: false })
})

t.test('an infinite expiry never expires a token, and a negative infinite one always', async (t) => {
  const { sql, table } = await open(t)
  await insertToken(sql, { id: 'never' })
  await insertToken(sql, { id: 'always' })
  await sql`update "Token" set "expiresAt" = 'infinity' where id = 'never'`
  await sql`update "Token" set "expiresAt" = '-infinity' where id = 'always'`
  const rows = await table.findMany(['never', 'always'], DEADLINE_MS)
  t.match(rows.get('never'), { expired: false, expiresAt: Number.POSITIVE_INFINITY })
  t.equal(rows.get('always')?.expired, true)
})

t.test('an expiry of NaN has expired', async (t) => {
  const ddl = TOKEN_DDL.replace('timestamptz', 'float8')
  const { sql, table } = await open(t, ddl)
  await sql`insert into "Token" values ('a', 'u', 's', null, 'ACTIVE', 'NaN')`
  t.match((await table.findMany(['a'], DEADLINE_MS)).get('a'), { expired: true, expiresAt: null })
})

t.test('an empty answer of a standby is a fault and not an unknown token', async (t) => {
  const { table } = await open(t)
  await table.findMany(['nobody'], DEADLINE_MS)
  const signal = join(server.cluster, 'standby.signal')
  await server.stop()
  await writeFile(signal, '')
  await server.start()
  await t.rejects(table.findMany(['nobody'], DEADLINE_MS), { code: 'STANDBY' })
  await t.rejects(table.probe(DEADLINE_MS), { code: 'STANDBY' })
  await server.stop()
  await rm(signal)
  await server.start()
  t.equal((await table.findMany(['nobody'], DEADLINE_MS)).size, 0)
})

t.test('a renamed table is a fault until it is renamed back', async (t) => {
  const { sql, table } = await open(t)
  const { id } = await insertToken(sql)
  t.ok((await table.findMany([id], DEADLINE_MS)).has(id))
  await sql`alter table "Token" rename to "Moved"`
  await t.rejects(table.findMany([id], DEADLINE_MS), { code: 'MAPPING', message: /does not exist/ })
  await t.rejects(table.findMany([id], DEADLINE_MS), { code: 'MAPPING' })
  await sql`alter table "Moved" rename to "Token"`
  t.ok((await table.findMany([id], DEADLINE_MS)).has(id))
})

t.test('ids with equal hashes find their own rows', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL)
  // "Aa" and "BB" have one key, and so have texts that are made of them.
  const ids = ['AaAa', 'AaBB', 'BBAa', 'BBBB']
  t.equal(new Set(ids.map((id) => hashText(id))).size, 1)
  for (const id of ids.slice(0, 3)) await insertToken(sql, { id, userId: `user of ${id}` })
  const rows = await table.findMany(ids, DEADLINE_MS)
  t.same(
    [...rows].map(([id, row]) => [id, row.id, row.userId]).sort(),
    ids.slice(0, 3).map((id) => [id, id, `user of ${id}`]),
  )
})
