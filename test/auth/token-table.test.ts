import postgres from 'postgres'
import t from 'tap'
import { createDatabase } from '../../gateway/auth/database.ts'
import { parseTokenColumns, parseTokenTable } from '../../gateway/auth/token-columns.ts'
import { createTokenTable } from '../../gateway/auth/token-table.ts'
import { systemScheduler } from '../../gateway/scheduler.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'

const DEADLINE_MS = 2000

const server = await startPostgres()
t.teardown(() => server.close())

async function open(
  t: { teardown(end: () => unknown): void },
  ddl?: string,
  table = '"Token"',
  columns = '',
) {
  const url = await server.createDatabase(ddl)
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  const database = createDatabase({ url, connections: 2, prepare: true, scheduler: systemScheduler })
  const name = parseTokenTable(table)
  const mapping = parseTokenColumns(columns)
  if (!name.ok || !mapping.ok) throw new Error('the mapping of the test is wrong')
  t.teardown(async () => {
    await database.close()
    await sql.end({ timeout: 1 })
  })
  return { sql, url, table: createTokenTable({ database, table: name.value, columns: mapping.value }) }
}

t.test('an id is data, whatever it holds: SQL injection through the jti', async (t) => {
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
      'tokens',
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

t.test('uuid ids are found in any case, and what is no uuid is unknown without an error', async (t) => {
  const { sql, table } = await open(
    t,
    `create type state as enum ('ACTIVE', 'REVOKED');
     create table "My Tokens" (jti uuid primary key, uid uuid, sid int, tenant text, st state, exp timestamptz)`,
    '"My Tokens"',
    'id=jti,userId=uid,sessionId=sid,mandateId=tenant,status=st,expiresAt=exp',
  )
  const id = '0f0f0f0f-aaaa-4bbb-8ccc-0123456789ab'
  await sql.unsafe(`insert into "My Tokens" values ('${id}', '${id}', 7, 'm', 'REVOKED', now())`)
  const rows = await table.findMany([id.toUpperCase(), 'no uuid', "' or true", `{${id}}`], DEADLINE_MS)
  t.same([...rows.keys()], [id.toUpperCase()])
  t.match(rows.get(id.toUpperCase()), { userId: id, sessionId: '7', mandateId: 'm', status: 'REVOKED' })
})

t.test('every missing column and every unfit type is named at once', async (t) => {
  const { table } = await open(
    t,
    'create table tokens (id int, "userId" bytea, status int, "expiresAt" date)',
    'tokens',
  )
  const { kinds, problems } = await table.checkMapping(DEADLINE_MS)
  t.equal(kinds, null)
  const all = problems.join('\n')
  for (const part of [
    '"id" is of type int4',
    '"userId" is of type bytea',
    'no column "sessionId"',
    'no column "mandateId"',
    '"status" is of type int4',
    '"expiresAt" is of type date',
  ]) {
    t.match(all, part)
  }
  t.match((await (await open(t, 'select 1')).table.checkMapping(DEADLINE_MS)).problems[0], /does not exist/)
})

t.test('a migration under way heals by itself', async (t) => {
  const { sql, table } = await open(t)
  const { id } = await insertToken(sql)
  t.ok((await table.findMany([id], DEADLINE_MS)).has(id))
  await sql`alter table "Token" alter column "expiresAt" type timestamp using "expiresAt" at time zone 'UTC'`
  await table.findMany([id], DEADLINE_MS).catch(() => {})
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.expired, false)
})

t.test('the look-up uses the primary key, however many rows there are', async (t) => {
  const { sql, table } = await open(t)
  await sql`insert into "Token" select 'tok-' || i, 'u', 's', null, 'ACTIVE', now() + interval '1 h' from generate_series(1, 20000) i`
  await sql`analyze "Token"`
  await sql`select pg_stat_reset()`
  for (let i = 0; i < 20; i++) {
    const ids = Array.from({ length: 30 }, (_, n) => `tok-${i * 30 + n + 1}`)
    t.equal((await table.findMany(ids, DEADLINE_MS)).size, 30)
  }
  await sql`select pg_stat_force_next_flush()`
  const [plan] = await sql.unsafe(
    `explain (format json) select * from (select) as always left join "Token" t on t.id = any('{tok-1,tok-2}'::text[])`,
  )
  t.match(JSON.stringify(plan), /Index Scan|Bitmap Index Scan/)
  t.notMatch(JSON.stringify(plan), /Seq Scan/)
})
