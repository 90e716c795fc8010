import t, { type Test } from 'tap'
import { createDatabase } from '../../gateway/auth/database.ts'
import { checkCatalogue } from '../../gateway/auth/token-catalogue.ts'
import { DEFAULT_COLUMNS, type TableName } from '../../gateway/auth/token-columns.ts'
import { systemScheduler } from '../../gateway/scheduler.ts'
import { startPostgres, TOKEN_DDL } from '../support/postgres.ts'

const DEADLINE_MS = 5000
const TOKEN: TableName = { schema: null, name: 'Token' }

const server = await startPostgres()
t.teardown(() => server.close())

async function check(
  t: Test,
  ddl: string,
  options: { role?: string; table?: TableName; columns?: object; written?: boolean } = {},
) {
  let url = await server.createDatabase(ddl)
  if (options.role !== undefined) url = url.replace('gateway@', `${options.role}@`)
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler: systemScheduler })
  t.teardown(() => database.close())
  const columns = { ...DEFAULT_COLUMNS, ...options.columns }
  const { table = TOKEN, written = false } = options
  return checkCatalogue(database, { table, columns, written }, DEADLINE_MS)
}

/** The interface's table, each column of it with the type that the test says. */
function ddl(types: Partial<Record<keyof typeof DEFAULT_COLUMNS, string>> = {}): string {
  const of = (name: keyof typeof DEFAULT_COLUMNS, usual: string) => `"${name}" ${types[name] ?? usual}`
  return `CREATE TABLE "Token" (${of('id', 'text')} PRIMARY KEY, ${of('userId', 'text')}, ${of('sessionId', 'text')},
    ${of('mandateId', 'text')}, ${of('status', 'text')}, ${of('expiresAt', 'timestamptz')})`
}

t.test("the interface's table fits, without a warning", async (t) => {
  t.same(await check(t, TOKEN_DDL), {
    kinds: { id: 'text', expiresAt: 'timestamptz' },
    problems: [],
    warnings: [],
  })
})

t.test('every type that the interface names fits, domains over them too', async (t) => {
  for (const types of [
    { id: 'uuid', userId: 'uuid', sessionId: 'bigint', mandateId: 'integer' },
    { id: 'varchar(40)', status: 'varchar(10)', expiresAt: 'timestamp' },
    { expiresAt: 'integer' },
    { expiresAt: 'bigint' },
    { expiresAt: 'numeric' },
    { expiresAt: 'double precision' },
  ]) {
    const { kinds, problems } = await check(t, ddl(types))
    t.same(problems, [], JSON.stringify(types))
    t.equal(kinds?.id, types.id === 'uuid' ? 'uuid' : 'text')
  }
  const domains = `CREATE TYPE state AS ENUM ('ACTIVE', 'REVOKED'); CREATE DOMAIN any_id AS uuid;
    CREATE DOMAIN token_id AS any_id; CREATE DOMAIN progress AS state;
    ${ddl({ id: 'token_id', status: 'progress' })}`
  t.match(await check(t, domains), { kinds: { id: 'uuid' }, problems: [] })
})

t.test('a type that does not fit is named, with what would', async (t) => {
  for (const [types, expected] of [
    [{ id: 'integer' }, '"Token": the column "id" is of type int4; expected text, varchar or uuid'],
    [{ id: 'char(36)' }, '"Token": the column "id" is of type bpchar; expected text, varchar or uuid'],
    [
      { status: 'boolean' },
      '"Token": the column "status" is of type bool; expected text, varchar or an enum',
    ],
    [
      { expiresAt: 'text' },
      '"Token": the column "expiresAt" is of type text; expected timestamptz, timestamp (UTC) or a number (epoch seconds)',
    ],
    [{ mandateId: 'jsonb' }, /"mandateId" is of type jsonb; expected text, varchar, uuid or an integer/],
  ] as const) {
    const { kinds, problems } = await check(t, ddl(types))
    t.equal(kinds, null)
    t.equal(problems.length, 1)
    t.match(problems[0], expected)
  }
})

t.test('all missing columns are named at once, with the mapping and what the table has', async (t) => {
  const { problems } = await check(t, 'CREATE TABLE "Token" ("id" text PRIMARY KEY, jti text)', {
    columns: { userId: 'user_id' },
  })
  t.equal(problems.length, 5)
  t.equal(
    problems[0],
    '"Token": has no column "user_id" (mapped from userId); it has "id", "jti" (TOKEN_COLUMNS)',
  )
  t.match(problems[1], 'has no column "sessionId"; it has')
})

t.test('a dropped column is missing', async (t) => {
  const { problems } = await check(t, `${TOKEN_DDL}; ALTER TABLE "Token" DROP COLUMN "mandateId"`)
  t.match(problems, [/has no column "mandateId"/])
  t.equal(problems.length, 1)
})

t.test('a table that is not there, not in the schema, or in one that is closed to the role', async (t) => {
  const problem = /^the table .* does not exist, or the role may not use its schema \(TOKEN_TABLE\)$/
  t.match((await check(t, 'SELECT 1')).problems, [problem])
  t.match((await check(t, TOKEN_DDL, { table: { schema: 'auth', name: 'Token' } })).problems, [problem])
  const closed = await check(
    t,
    `CREATE ROLE outsider LOGIN; CREATE SCHEMA auth; CREATE TABLE auth.t (id text PRIMARY KEY)`,
    { role: 'outsider', table: { schema: 'auth', name: 't' } },
  )
  t.match(closed.problems, [problem])
})

t.test('columns that the role may not read are named', async (t) => {
  const { problems } = await check(
    t,
    `${TOKEN_DDL}; CREATE ROLE half LOGIN;
     GRANT SELECT ("id", "userId", "sessionId", "mandateId", "expiresAt") ON "Token" TO half`,
    { role: 'half' },
  )
  t.same(problems, ['"Token": the role may not SELECT the column "status"'])
})

t.test('names are data: quotes in a table or column name', async (t) => {
  const name = `o'clock"; drop table x; --`
  const quoted = name.replaceAll('"', '""')
  const { problems } = await check(
    t,
    ddl().replace('"Token"', `"${quoted}"`).replace('"status"', `"${quoted}"`),
    { table: { schema: 'public', name }, columns: { status: name } },
  )
  t.same(problems, [])
})

t.test('an id without an index is warned of: each look-up would read the whole table', async (t) => {
  const bare = ddl().replace('PRIMARY KEY', '')
  t.match((await check(t, bare)).warnings, [/no index begins with the column "id"/])
  t.match((await check(t, `${bare}; CREATE INDEX ON "Token" ("userId", "id")`)).warnings, [/no index begins/])
  t.match((await check(t, `${bare}; CREATE INDEX ON "Token" ("id") WHERE "status" = 'ACTIVE'`)).warnings, [
    /no index begins/,
  ])
})

t.test('an id that is not unique is warned of', async (t) => {
  const bare = ddl().replace('PRIMARY KEY', '')
  const { problems, warnings } = await check(t, `${bare}; CREATE UNIQUE INDEX ON "Token" ("id", "userId")`)
  t.same(problems, [])
  t.match(warnings, [/no unique index is on the column "id" alone/])
  t.same((await check(t, `${bare}; CREATE UNIQUE INDEX ON "Token" ("id") INCLUDE ("status")`)).warnings, [])
})

t.test('row-level security that hides rows from the role is warned of', async (t) => {
  const { problems, warnings } = await check(
    t,
    `${TOKEN_DDL}; CREATE ROLE tenant LOGIN; GRANT SELECT ON "Token" TO tenant; ALTER TABLE "Token" ENABLE ROW LEVEL SECURITY`,
    { role: 'tenant' },
  )
  t.same(problems, [])
  t.match(warnings, [/row-level security/])
})

t.test('a view fits; a materialized view is a copy that follows no revocation, and does not', async (t) => {
  const renamed = TOKEN_DDL.replace('"Token"', '"Tokens"')
  t.match(await check(t, `${renamed}; CREATE VIEW "Token" AS SELECT * FROM "Tokens"`), {
    problems: [],
    warnings: [],
  })
  const copy = await check(t, `${renamed}; CREATE MATERIALIZED VIEW "Token" AS SELECT * FROM "Tokens"`)
  t.equal(copy.kinds, null)
  t.match(copy.problems, [/a materialized view is a copy/])
})

t.test('a partitioned table fits', async (t) => {
  const partitioned = `${ddl()} PARTITION BY HASH ("id"); CREATE TABLE p PARTITION OF "Token" FOR VALUES WITH (MODULUS 1, REMAINDER 0)`
  t.match(await check(t, partitioned), { problems: [], warnings: [] })
})

t.test('a role that may only read is warned of where the gateway refreshes sessions', async (t) => {
  const ddl = `${TOKEN_DDL}; CREATE ROLE reader LOGIN; GRANT SELECT ON "Token" TO reader`
  t.match(await check(t, ddl, { role: 'reader', written: true }), {
    problems: [],
    warnings: [/INSERT and UPDATE/],
  })
  t.same((await check(t, TOKEN_DDL, { written: true })).warnings, [])
})
