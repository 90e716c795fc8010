import t from 'tap'
import { createSessionRows } from '../../../gateway/sessions/session-rows.ts'
import { insertToken, startPostgres, TOKEN_DDL } from '../../support/postgres.ts'
import { createTableStage } from '../../support/token-table-stage.ts'

const DEADLINE_MS = 4000

const server = await startPostgres()
t.teardown(() => server.close())
const open = createTableStage(server)

type Stage = Awaited<ReturnType<typeof open>>

/** The server's zone is far ahead of UTC, so that a time that is read wrongly is hours off. */
async function inTokyo({ sql, url }: Stage): Promise<void> {
  await sql.unsafe(`alter database ${new URL(url).pathname.slice(1)} set timezone = 'Asia/Tokyo'`)
}

/** One token that has expired a minute ago, and one that expires in an hour. */
async function twoTokens({ sql }: Stage): Promise<void> {
  await insertToken(sql, { id: 'old', expiresAt: Date.now() - 60_000 })
  await insertToken(sql, { id: 'new' })
}

async function readBoth({ table }: Stage) {
  const rows = await table.findMany(['old', 'new'], DEADLINE_MS)
  return { old: rows.get('old')?.expired, new: rows.get('new')?.expired }
}

const WITHOUT_ZONE = `alter table "Token" alter "expiresAt" type timestamp using "expiresAt" at time zone 'UTC'`
const WITH_ZONE = `alter table "Token" alter "expiresAt" type timestamptz using "expiresAt" at time zone 'UTC'`

for (const [from, to, first, second] of [
  ['timestamptz', 'timestamp', WITHOUT_ZONE, WITH_ZONE],
  ['timestamp', 'timestamptz', WITH_ZONE, WITHOUT_ZONE],
] as const) {
  t.test(
    `an expired token is refused after the expiry column changes from ${from} to ${to}, and back`,
    async (t) => {
      const stage = await open(t)
      await inTokyo(stage)
      await twoTokens(stage)
      if (from === 'timestamp') await stage.sql.unsafe(WITHOUT_ZONE)
      t.same(await readBoth(stage), { old: true, new: false })
      await stage.sql.unsafe(first)
      t.same(await readBoth(stage), { old: true, new: false }, 'changed')
      await stage.sql.unsafe(second)
      t.same(await readBoth(stage), { old: true, new: false }, 'changed back')
    },
  )
}

t.test('expiries that become numbers, or numbers of another unit, are read by their new type', async (t) => {
  const stage = await open(t)
  await twoTokens(stage)
  t.same(await readBoth(stage), { old: true, new: false })
  for (const change of [
    `type bigint using extract(epoch from "expiresAt")::bigint`,
    `type numeric using "expiresAt"`,
    `type double precision using "expiresAt"`,
    `type bigint using ("expiresAt" * 1000)::bigint`,
    `type timestamptz using to_timestamp("expiresAt" / 1000.0)`,
  ]) {
    await stage.sql.unsafe(`alter table "Token" alter "expiresAt" ${change}`)
    t.same(await readBoth(stage), { old: true, new: false }, change)
  }
})

t.test('a revoked token is refused after another table is created earlier in the search path', async (t) => {
  const { sql, url, table } = await open(t, 'select 1')
  await sql.unsafe(
    `create schema tenant; alter database ${new URL(url).pathname.slice(1)} set search_path = tenant, public`,
  )
  await sql.unsafe(TOKEN_DDL)
  const { id } = await insertToken(sql)
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, true)
  await sql.unsafe(TOKEN_DDL.replace('"Token"', 'tenant."Token"'))
  await sql`insert into tenant."Token" select id, "userId", "sessionId", "mandateId", 'REVOKED', "expiresAt" from public."Token"`
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, false)
  await sql`drop table tenant."Token"`
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, true, 'it leads to the old one again')
})

t.test('a table that replaces the old one is read, whether that was renamed, moved or dropped', async (t) => {
  for (const away of [
    'alter table "Token" rename to "Before"',
    'alter table "Token" set schema aside',
    'drop table "Token"',
    'alter schema public rename to before; create schema public; grant usage on schema public to public',
  ]) {
    const { sql, table } = await open(t)
    const { id } = await insertToken(sql)
    t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, true)
    await sql.unsafe(`create schema aside; ${away}; ${TOKEN_DDL.replace('timestamptz', 'bigint')}`)
    t.equal((await table.findMany([id], DEADLINE_MS)).size, 0, away)
    await sql`insert into "Token" values (${id}, 'bob', 's', null, 'ACTIVE', 1)`
    t.match((await table.findMany([id], DEADLINE_MS)).get(id), { userId: 'bob', expired: true }, away)
  }
})

t.test('ids and claims are compared by the new types of their columns', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace('PRIMARY KEY', 'NOT NULL'))
  const uuid = 'abcdef00-0000-4000-8000-000000000001'
  const find = async (id: string) => (await table.findMany([id], DEADLINE_MS)).get(id)
  await insertToken(sql, { id: uuid, userId: uuid })
  t.equal(await find(uuid.toUpperCase()), undefined, 'a text is compared as it stands')
  await sql.unsafe(
    `alter table "Token" alter id type uuid using id::uuid, alter "userId" type uuid using "userId"::uuid`,
  )
  t.match(await find(uuid.toUpperCase()), { userId: uuid, types: { userId: 'uuid' } })
  await sql.unsafe(`alter table "Token" alter id type int using 7, alter "userId" type bigint using 8`)
  t.match(await find('07'), { id: '7', userId: '8', types: { userId: 'int8' } })
  await sql.unsafe(`alter table "Token" alter id type bigint using 3000000000`)
  t.match(await find('3000000000'), { id: '3000000000' }, 'a larger integer')
  await sql.unsafe(`alter table "Token" alter id type text using '07'`)
  t.match(await find('07'), { id: '07' })
  t.equal(await find('7'), undefined)
})

t.test('a status is read by the new type of its column, or the table does not fit', async (t) => {
  const { sql, table } = await open(t)
  const { id } = await insertToken(sql)
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, true)
  await sql.unsafe(
    `alter table "Token" drop constraint "Token_status_check", alter status type boolean using true`,
  )
  await t.rejects(table.findMany([id], DEADLINE_MS), { code: 'MAPPING', message: /has no "ACTIVE"/ })
  await sql.unsafe(
    `create type state as enum ('ACTIVE'); alter table "Token" alter status type state using 'ACTIVE'`,
  )
  t.equal((await table.findMany([id], DEADLINE_MS)).get(id)?.active, true)
})

t.test('a view that is replaced is read by its new definition', async (t) => {
  const { sql, table } = await open(t, TOKEN_DDL.replace('"Token"', 'tokens'))
  await sql`create view "Token" as select * from tokens`
  await sql`insert into tokens values ('a', 'u', 's', null, 'ACTIVE', now() + interval '1 h')`
  const find = async () => (await table.findMany(['a'], DEADLINE_MS)).get('a')
  t.match(await find(), { active: true, expired: false })
  await sql`create or replace view "Token" as select id, "userId", "sessionId", "mandateId", 'REVOKED' as status, "expiresAt" from tokens`
  t.match(await find(), { active: false })
  await sql.unsafe(
    `drop view "Token"; create view "Token" as select id, "userId", "sessionId", "mandateId", status, extract(epoch from now())::bigint - 5 as "expiresAt" from tokens`,
  )
  t.match(await find(), { active: true, expired: true })
  await sql.unsafe('drop view "Token"; alter table tokens rename to "Token"')
  t.match(await find(), { active: true, expired: false })
})

t.test('a type of the same name earlier in the search path does not hinder look-ups', async (t) => {
  const { sql, url, table } = await open(t, 'select 1')
  await sql.unsafe(`create schema types; create type types."Token" as enum ('a');
    alter database ${new URL(url).pathname.slice(1)} set search_path = types, public; set search_path = public; ${TOKEN_DDL}`)
  const { id } = await insertToken(sql)
  t.ok((await table.findMany([id], DEADLINE_MS)).has(id))
})

t.test('an empty look-up, as a probe makes one, notices a changed table', async (t) => {
  const { sql, table, statements } = await open(t)
  await table.probe(DEADLINE_MS)
  await sql.unsafe(WITHOUT_ZONE)
  statements.length = 0
  await table.probe(DEADLINE_MS)
  t.ok(statements.length > 1, 'it was asked again, by a mapping that was read anew')
  statements.length = 0
  await table.probe(DEADLINE_MS)
  t.equal(statements.length, 1)
  await sql`alter table "Token" drop column "mandateId"`
  await t.rejects(table.probe(DEADLINE_MS), { code: 'MAPPING', message: /has no column "mandateId"/ })
})

t.test('a row that cannot be read does not cause the mapping to be read at each look-up', async (t) => {
  const { sql, table, statements } = await open(t, TOKEN_DDL.replace('"Token"', 'tokens'))
  await sql`create view "Token" as select id, "userId", "sessionId", "mandateId", status, "expiresAt" + make_interval(secs => 1 / length(id)) as "expiresAt" from tokens`
  await sql`insert into tokens values ('', 'u', 's', null, 'ACTIVE', now())`
  await table.probe(DEADLINE_MS)
  statements.length = 0
  await t.rejects(table.findMany([''], DEADLINE_MS), { code: '22012' })
  t.equal(statements.filter(({ primaryOnly }) => primaryOnly === true).length, 1)
})

t.test(
  'a transaction on a session notices a changed table in its first statement, and locks it against changes',
  async (t) => {
    const { sql, database, table } = await open(t, undefined, { written: true })
    const { id, sessionId } = await insertToken(sql)
    const rowsOf = createSessionRows(DEADLINE_MS)
    const read = () =>
      table.withMapped(DEADLINE_MS, (mapped, leftMs) =>
        database.transaction(async (ask) => {
          const rows = rowsOf(ask, mapped)
          await rows.lockSessionOf(id)
          return rows.read(id)
        }, leftMs),
      )
    t.match(await read(), { active: true, expired: false })
    await sql.unsafe(WITHOUT_ZONE)
    await sql`update "Token" set "expiresAt" = (now() at time zone 'UTC') - interval '1 s'`
    t.match(await read(), { expired: true })
    await sql.unsafe(`alter table "Token" rename to "Before"; ${TOKEN_DDL}`)
    t.equal(await read(), null)
    for (const lock of ['lockSession', 'lockSessionOf'] as const) {
      await table.withMapped(DEADLINE_MS, (mapped, leftMs) =>
        database.transaction(async (ask) => {
          await rowsOf(ask, mapped)[lock](sessionId)
          await sql`set lock_timeout = 50`
          await t.rejects(sql`alter table "Token" rename to "Other"`.execute(), { code: '55P03' }, lock)
        }, leftMs),
      )
    }
  },
)

t.test('a table that changes before each look-up is a fault and not a refusal', async (t) => {
  const stage = await open(t)
  const { sql, table, database } = stage
  const { id } = await insertToken(sql)
  await table.findMany([id], DEADLINE_MS)
  const { query } = database
  let changes = 0
  const changing: typeof query = async (statement, deadlineMs) => {
    if (statement.primaryOnly === true) await sql.unsafe(changes++ % 2 === 0 ? WITHOUT_ZONE : WITH_ZONE)
    return query(statement, deadlineMs)
  }
  Object.assign(database, { query: changing })
  await t.rejects(table.findMany([id], DEADLINE_MS), { name: 'DatabaseError', code: '42883' })
  t.equal(changes, 2)
})
