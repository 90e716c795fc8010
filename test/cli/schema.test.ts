import postgres from 'postgres'
import t, { type Test } from 'tap'
import { printSchema, schemaSql } from '../../gateway/cli/schema.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { runHere } from '../support/command.ts'
import { insertToken, startPostgres, TOKEN_DDL } from '../support/postgres.ts'

const server = await startPostgres()
t.teardown(() => server.close())

async function database(t: Test, ddl = 'select 1') {
  const url = await server.createDatabase(ddl)
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  t.teardown(() => sql.end())
  return { url, sql }
}

function sqlFor(env: Record<string, string> = {}): string {
  const read = readSettings(env)
  if (!read.ok) throw new Error(read.problems.join('\n'))
  return schemaSql(read.settings)
}

/** All tables, indexes, triggers, functions and privileges of the catalogue. */
async function catalogue(sql: postgres.Sql) {
  return {
    indexes: await sql`select indexdef from pg_indexes where schemaname not like 'pg%' order by 1`,
    triggers:
      await sql`select pg_get_triggerdef(oid) as def from pg_trigger where not tgisinternal order by 1`,
    grants:
      await sql`select table_name, privilege_type from information_schema.role_table_grants where grantee = 'poweron_gateway' order by 1, 2`,
  }
}

t.test('the command prints the SQL, also in production without database and key', async (t) => {
  const run = (env: Record<string, string>) => runHere('schema', printSchema, [], { env })
  const { code, stdout, stderr } = await run({ NODE_ENV: 'production' })
  t.same([code, stderr], [0, ''])
  t.equal(stdout, sqlFor())
  await t.rejects(run({ TOKEN_TABLE: 'a.b.c' }), /TOKEN_TABLE: found "a.b.c"/)
})

/** The first test of this file: roles belong to the server, and the tests that follow create the role. */
t.test('an owner of the table who may not create roles gets all but the role, and a notice', async (t) => {
  const { url, sql } = await database(t, 'create role owner login; grant create on schema public to owner')
  t.teardown(() => sql`drop owned by owner`.then(() => sql`drop role owner`))
  const told: string[] = []
  const owner = postgres(url.replace(/\/\/[^@/]*@/, '//owner@'), {
    max: 1,
    onnotice: ({ severity, message }) => void (severity === 'WARNING' && told.push(String(message))),
  })
  await owner.unsafe(sqlFor())
  await owner.end()
  t.match(told, [/poweron_gateway was not created: it needs CREATEROLE/])
  const { indexes, triggers } = await catalogue(sql)
  t.same([indexes.length, triggers.length], [3, 2])
})

t.test('the second run of the SQL changes nothing', async (t) => {
  const { sql } = await database(t)
  await sql.unsafe(sqlFor())
  const first = await catalogue(sql)
  t.equal(first.indexes.length, 3)
  t.equal(first.triggers.length, 2)
  t.same(first.grants, [{ table_name: 'Token', privilege_type: 'SELECT' }])
  await insertToken(sql)
  await sql.unsafe(sqlFor())
  t.same(await catalogue(sql), first)
  t.equal((await sql`select 1 from "Token"`).length, 1, 'the rows are left')
})

t.test('an existing table keeps its columns and rows, and gets the indexes and the trigger', async (t) => {
  const { sql } = await database(t, `${TOKEN_DDL}; ALTER TABLE "Token" ADD COLUMN extra int DEFAULT 5`)
  const row = await insertToken(sql)
  await sql.unsafe(sqlFor())
  t.match(await sql`select id, extra from "Token"`, [{ id: row.id, extra: 5 }])
  t.equal((await catalogue(sql)).triggers.length, 2)
})

/** `ended` resolves when the payload `last` has arrived; `heard` has the payloads before it. */
async function notices(t: Test, url: string, channel: string) {
  const listener = postgres(url, { max: 1, onnotice: () => {} })
  t.teardown(() => listener.end())
  const heard: string[] = []
  const ended = Promise.withResolvers<void>()
  await listener.listen(channel, (payload) => {
    if (payload === 'last') ended.resolve()
    else heard.push(payload)
  })
  return { heard, ended: ended.promise }
}

t.test('each revocation, and nothing else, notifies the channel with the id of its token', async (t) => {
  const { url, sql } = await database(t)
  await sql.unsafe(sqlFor())
  const { heard, ended } = await notices(t, url, 'token_revoked')
  for (const id of ['revoked', 'deleted', 'prolonged', 'in a transaction', 'rolled back'])
    await insertToken(sql, { id })
  await insertToken(sql, { id: 'long revoked', status: 'REVOKED' })
  await sql`update "Token" set "status" = 'REVOKED' where id = 'revoked'`
  await sql`update "Token" set "status" = 'REVOKED' where id in ('revoked', 'long revoked')`
  await sql`update "Token" set "expiresAt" = "expiresAt" + interval '1h', "status" = "status" where id = 'prolonged'`
  await sql`delete from "Token" where id in ('deleted', 'long revoked')`
  await sql.begin((tx) => tx`update "Token" set "status" = 'REVOKED' where id = 'in a transaction'`)
  await sql
    .begin(async (tx) => {
      await tx`update "Token" set "status" = 'REVOKED' where id = 'rolled back'`
      throw new Error('rolled back')
    })
    .catch(() => {})
  await sql`insert into "Token" select 'upserted', 'u', 's', null, 'ACTIVE', now() on conflict do nothing`
  await sql`insert into "Token" values ('upserted', 'u', 's', null, 'REVOKED', now()) on conflict (id) do update set "status" = excluded."status"`
  await sql.notify('token_revoked', 'last')
  await ended
  t.same(heard, ['revoked', 'deleted', 'in a transaction', 'upserted'])
})

t.test('the SQL uses the mapped schema, quoted names and the configured channel', async (t) => {
  const { url, sql } = await database(t)
  const env = {
    TOKEN_TABLE: `"Auth ""x"""."${'T'.repeat(60)}"`,
    TOKEN_COLUMNS: 'id=jti,userId="user id",status=State',
    REVOCATION_CHANNEL: "it's \\off",
  }
  await sql.unsafe(sqlFor(env))
  await sql.unsafe(sqlFor(env))
  const { heard, ended } = await notices(t, url, env.REVOCATION_CHANNEL)
  const table = env.TOKEN_TABLE
  await sql.unsafe(
    `insert into ${table} ("jti", "user id", "sessionId", "State", "expiresAt") values ('a', 'u', 's', 'ACTIVE', now())`,
  )
  await sql.unsafe(`update ${table} set "State" = 'REVOKED'`)
  await sql.notify(env.REVOCATION_CHANNEL, 'last')
  await ended
  t.same(heard, ['a'])
  const { indexes, triggers } = await catalogue(sql)
  t.equal(indexes.length, 3, 'long names do not become one')
  t.equal(triggers.length, 2)
})

/** The result of a statement of the role, or the SQLSTATE of its refusal. */
async function asRole(url: string, statement: string): Promise<unknown> {
  const role = postgres(url.replace(/\/\/[^@/]*@/, '//poweron_gateway@'), { max: 1, onnotice: () => {} })
  try {
    return (await role.unsafe(statement)).length
  } catch (error) {
    return (error as { code?: string }).code
  } finally {
    await role.end()
  }
}

const DENIED = '42501'

t.test('the role can read the token table and do nothing else', async (t) => {
  const { url, sql } = await database(
    t,
    'create table other (a int); revoke usage on schema public from public',
  )
  await sql.unsafe(sqlFor())
  await insertToken(sql)
  t.equal(await asRole(url, 'select * from "Token"'), 1)
  for (const statement of [
    `insert into "Token" values ('x', 'u', 's', null, 'ACTIVE', now())`,
    `update "Token" set "status" = 'ACTIVE'`,
    'delete from "Token"',
    'truncate "Token"',
    'select * from other',
    'create table mine (a int)',
    'create role more',
    'create database more',
    'alter table "Token" add column b int',
  ])
    t.equal(await asRole(url, statement), DENIED, statement)
})

t.test('with SESSION_ENDPOINTS the role may also write rows, and without it no longer', async (t) => {
  const { url, sql } = await database(t)
  await sql.unsafe(sqlFor({ SESSION_ENDPOINTS: 'on' }))
  const insert = `insert into "Token" values (gen_random_uuid(), 'u', 's', null, 'ACTIVE', now())`
  t.equal(await asRole(url, insert), 0)
  t.equal(await asRole(url, `update "Token" set "status" = 'REVOKED'`), 0)
  t.equal(await asRole(url, 'delete from "Token"'), DENIED)
  await sql.unsafe(sqlFor())
  t.equal(await asRole(url, insert), DENIED)
})

t.test('the table, its trigger and the notifications follow TOKEN_STATUSES', async (t) => {
  for (const [statuses, type, good, bad] of [
    ['true,false', 'boolean', 'true', 'false'],
    ['false,true', 'boolean', 'false', 'true'],
    ['1,0', 'integer', '1', '0'],
    ["it's on,off", 'text', "'it''s on'", "'off'"],
  ] as const) {
    const { url, sql } = await database(t)
    const printed = sqlFor({ TOKEN_STATUSES: statuses })
    await sql.unsafe(printed)
    await sql.unsafe(printed)
    const [column] =
      await sql`select data_type from information_schema.columns where table_name = 'Token' and column_name = 'status'`
    t.equal(column!.data_type, type)
    const { heard, ended } = await notices(t, url, 'token_revoked')
    for (const id of ['revoked', 'deleted', 'kept'])
      await sql.unsafe(`insert into "Token" values ('${id}', 'u', 's', null, ${good}, now())`)
    await sql.unsafe(`update "Token" set status = ${bad} where id = 'revoked'`)
    await sql`delete from "Token" where id <> 'kept'`
    await sql.notify('token_revoked', 'last')
    await ended
    t.same(heard, ['revoked', 'deleted'], statuses)
  }
})

t.test('a status that becomes NULL is notified as a revocation', async (t) => {
  const { url, sql } = await database(t, TOKEN_DDL.replace('text NOT NULL CHECK', 'text CHECK'))
  await sql.unsafe(sqlFor())
  const { heard, ended } = await notices(t, url, 'token_revoked')
  const { id } = await insertToken(sql)
  await sql`update "Token" set "status" = null`
  await sql.notify('token_revoked', 'last')
  await ended
  t.same(heard, [id])
})

t.test("the role's statement_timeout is slightly above the deadline of the gateway", async (t) => {
  const { sql } = await database(t)
  for (const [env, limit] of [
    [{}, '1250ms'],
    [{ LOOKUP_TIMEOUT_MS: '333' }, '417ms'],
    [{ SESSION_ENDPOINTS: 'on' }, '6250ms'],
  ] as const) {
    await sql.unsafe(sqlFor(env))
    const [role] = await sql`select rolconfig::text as config from pg_roles where rolname = 'poweron_gateway'`
    t.equal(role!.config, `{statement_timeout=${limit}}`)
  }
})
