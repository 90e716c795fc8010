import postgres from 'postgres'
import t, { type Test } from 'tap'
import { checkCatalogue } from '../../../gateway/auth/token-store/token-catalogue.ts'
import { DEFAULT_COLUMNS, type TableName } from '../../../gateway/auth/token-store/token-columns.ts'
import { DEFAULT_STATUSES, type TokenStatuses } from '../../../gateway/auth/token-store/token-statuses.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { createDatabase, type Statement } from '../../../gateway/database/database.ts'
import { startPostgres, TOKEN_DDL } from '../../support/postgres.ts'

const DEADLINE_MS = 5000
const TOKEN: TableName = { schema: null, name: 'Token' }

const server = await startPostgres()
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
t.teardown(async () => {
  await admin.end()
  await server.close()
})

/** Each check has the database to itself: it begins with nothing but the test's own tables. */
async function check(
  t: Test,
  ddl: string,
  options: {
    role?: string
    table?: TableName
    columns?: object
    statuses?: TokenStatuses
    written?: boolean
  } = {},
) {
  await admin.unsafe('DROP SCHEMA IF EXISTS auth CASCADE; DROP SCHEMA public CASCADE')
  await admin.unsafe(`CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public; ${ddl}`)
  const url = options.role === undefined ? server.url : server.url.replace('gateway@', `${options.role}@`)
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler: systemScheduler })
  t.teardown(() => database.close())
  const columns = { ...DEFAULT_COLUMNS, ...options.columns }
  const { table = TOKEN, statuses = DEFAULT_STATUSES, written = false } = options
  const ask = (statement: Statement) => database.query(statement, DEADLINE_MS)
  return checkCatalogue(ask, { table, columns, statuses, written })
}

/** The token table of the README, each column of it with the type that the test says. */
function ddl(types: Partial<Record<keyof typeof DEFAULT_COLUMNS, string>> = {}): string {
  const of = (name: keyof typeof DEFAULT_COLUMNS, usual: string) => `"${name}" ${types[name] ?? usual}`
  return `CREATE TABLE "Token" (${of('id', 'text')} PRIMARY KEY, ${of('userId', 'text')}, ${of('sessionId', 'text')},
    ${of('mandateId', 'text')}, ${of('status', 'text')}, ${of('expiresAt', 'timestamptz')})`
}

t.test('the token table of the README fits, without a warning', async (t) => {
  for (const written of [false, true]) {
    t.match(await check(t, TOKEN_DDL, { written }), {
      mapped: { id: { type: 'text' }, expiresAt: { type: 'timestamptz' }, statuses: DEFAULT_STATUSES },
      problems: [],
      mayHeal: false,
      warnings: [],
    })
  }
})

t.test('every supported type fits, and so do domains over it', async (t) => {
  for (const types of [
    { id: 'uuid', userId: 'uuid', sessionId: 'bigint', mandateId: 'integer' },
    { id: 'varchar(40)', status: 'varchar(10)', expiresAt: 'timestamp' },
    { expiresAt: 'integer' },
    { expiresAt: 'bigint' },
    { expiresAt: 'numeric' },
    { expiresAt: 'double precision' },
    { id: 'integer', userId: 'numeric' },
    { id: 'bigint', status: 'char(12)' },
    { id: 'numeric' },
  ]) {
    const { mapped, problems } = await check(t, ddl(types))
    t.same(problems, [], JSON.stringify(types))
    t.not(mapped, null)
  }
  const domains = `CREATE TYPE state AS ENUM ('ACTIVE', 'REVOKED'); CREATE DOMAIN any_id AS uuid;
    CREATE DOMAIN token_id AS any_id; CREATE DOMAIN progress AS state;
    ${ddl({ id: 'token_id', status: 'progress' })}`
  t.match(await check(t, domains), { mapped: { id: { type: 'uuid', declared: 'token_id' } }, problems: [] })
})

t.test('a type that does not fit is a problem that names the expected types', async (t) => {
  for (const [types, expected] of [
    [
      { id: 'float8' },
      '"Token": the column "id" is of type float8; expected text, varchar, uuid or an integer',
    ],
    [
      { id: 'char(36)' },
      '"Token": the column "id" is of type bpchar; expected text, varchar, uuid or an integer',
    ],
    [
      { status: 'jsonb' },
      '"Token": the column "status" is of type jsonb; expected text, varchar, an enum, a boolean or an integer',
    ],
    [
      { expiresAt: 'text' },
      '"Token": the column "expiresAt" is of type text; expected timestamptz, timestamp (UTC) or a number (epoch seconds or milliseconds)',
    ],
    [{ mandateId: 'jsonb' }, /"mandateId" is of type jsonb; expected text, varchar, uuid or an integer/],
  ] as const) {
    const { mapped, mayHeal, problems } = await check(t, ddl(types))
    t.same([mapped, mayHeal], [null, false])
    t.equal(problems.length, 1)
    t.match(problems[0], expected)
  }
})

t.test('all missing columns are named at once, with the mapping and the existing columns', async (t) => {
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

t.test(
  'a table that does not exist, or whose schema the role may not use, is a problem that may heal',
  async (t) => {
    const problem = /^the table .* does not exist, or the role may not use its schema \(TOKEN_TABLE\)$/
    t.match(await check(t, 'SELECT 1'), { mapped: null, problems: [problem], mayHeal: true })
    t.match((await check(t, TOKEN_DDL, { table: { schema: 'auth', name: 'Token' } })).problems, [problem])
    const closed = await check(
      t,
      `CREATE ROLE outsider LOGIN; CREATE SCHEMA auth; CREATE TABLE auth.t (id text PRIMARY KEY)`,
      { role: 'outsider', table: { schema: 'auth', name: 't' } },
    )
    t.match(closed.problems, [problem])
  },
)

t.test('columns that the role may not read are named', async (t) => {
  const report = await check(
    t,
    `${TOKEN_DDL}; CREATE ROLE half LOGIN;
     GRANT SELECT ("id", "userId", "sessionId", "mandateId", "expiresAt") ON "Token" TO half`,
    { role: 'half' },
  )
  t.same(report.problems, ['"Token": the role may not SELECT the column "status"; expected GRANT SELECT'])
  t.equal(report.mayHeal, true, 'it can still be granted')
})

t.test('a grant that is missing for all columns is one problem', async (t) => {
  const report = await check(t, `${TOKEN_DDL}; CREATE ROLE nobody LOGIN`, { role: 'nobody' })
  t.same(report.problems, [
    '"Token": the role may not SELECT the columns "id", "userId", "sessionId", "mandateId", "status", "expiresAt"; expected GRANT SELECT',
  ])
  t.equal(report.mayHeal, true)
})

t.test('quotes in the name of a table or column are data', async (t) => {
  const name = `o'clock"; drop table x; --`
  const quoted = name.replaceAll('"', '""')
  const { problems } = await check(
    t,
    ddl().replace('"Token"', `"${quoted}"`).replace('"status"', `"${quoted}"`),
    { table: { schema: 'public', name }, columns: { status: name } },
  )
  t.same(problems, [])
})

t.test('an id without an index gives a warning', async (t) => {
  const bare = ddl().replace('PRIMARY KEY', '')
  t.match((await check(t, bare)).warnings, [/no index begins with the column "id"/])
  t.match((await check(t, `${bare}; CREATE INDEX ON "Token" ("userId", "id")`)).warnings, [/no index begins/])
  t.match((await check(t, `${bare}; CREATE INDEX ON "Token" ("id") WHERE "status" = 'ACTIVE'`)).warnings, [
    /no index begins/,
  ])
})

t.test('an id that is not unique gives a warning', async (t) => {
  const bare = ddl().replace('PRIMARY KEY', '')
  const { problems, warnings } = await check(t, `${bare}; CREATE UNIQUE INDEX ON "Token" ("id", "userId")`)
  t.same(problems, [])
  t.match(warnings, [/no unique index is on the column "id" alone/])
  t.same((await check(t, `${bare}; CREATE UNIQUE INDEX ON "Token" ("id") INCLUDE ("status")`)).warnings, [])
})

t.test('row-level security that applies to the role gives a warning', async (t) => {
  const { problems, warnings } = await check(
    t,
    `${TOKEN_DDL}; CREATE ROLE tenant LOGIN; GRANT SELECT ON "Token" TO tenant; ALTER TABLE "Token" ENABLE ROW LEVEL SECURITY`,
    { role: 'tenant' },
  )
  t.same(problems, [])
  t.match(warnings, [/row-level security/])
})

t.test('a view fits, and a materialized view does not', async (t) => {
  const renamed = TOKEN_DDL.replace('"Token"', '"Tokens"')
  t.match(await check(t, `${renamed}; CREATE VIEW "Token" AS SELECT * FROM "Tokens"`), {
    problems: [],
    warnings: [],
  })
  const copy = await check(t, `${renamed}; CREATE MATERIALIZED VIEW "Token" AS SELECT * FROM "Tokens"`)
  t.equal(copy.mapped, null)
  t.match(copy.problems, [/a materialized view is a copy/])
})

t.test('a partitioned table fits', async (t) => {
  const partitioned = `${ddl()} PARTITION BY HASH ("id"); CREATE TABLE p PARTITION OF "Token" FOR VALUES WITH (MODULUS 1, REMAINDER 0)`
  t.match(await check(t, partitioned), { problems: [], warnings: [] })
})

t.test('a role with SELECT only is a problem with refresh, which may heal by a grant', async (t) => {
  const reader = `${TOKEN_DDL}; CREATE ROLE reader LOGIN; GRANT SELECT ON "Token" TO reader`
  t.match(await check(t, reader, { role: 'reader', written: true }), {
    mapped: { oid: String },
    problems: [/may not INSERT and UPDATE/],
    mayHeal: true,
  })
  const columns = `${TOKEN_DDL}; CREATE ROLE writer LOGIN; GRANT SELECT ON "Token" TO writer; GRANT UPDATE ("status") ON "Token" TO writer;
    GRANT INSERT ("id", "userId", "sessionId", "mandateId", "status", "expiresAt") ON "Token" TO writer`
  t.match(await check(t, columns, { role: 'writer', written: true }), { problems: [], mayHeal: false })
})

const TRUE_FALSE = { admitting: 'true', revoked: 'false' }

t.test('statuses are spelt as the type of the column spells them', async (t) => {
  for (const [type, admitting, revoked, read] of [
    ['boolean', 'true', 'false', TRUE_FALSE],
    ['boolean', 'T', 'off', TRUE_FALSE],
    ['boolean', 'false', 'true', { admitting: 'false', revoked: 'true' }],
    ['smallint', '+1', '00', { admitting: '1', revoked: '0' }],
    ['char(8)', 'ACTIVE', 'REVOKED', DEFAULT_STATUSES],
  ] as const) {
    const report = await check(t, ddl({ status: type }), { statuses: { admitting, revoked } })
    t.match(report, { problems: [], mapped: { statuses: read } }, type)
  }
})

t.test('a status column that cannot hold the admitting status is a problem', async (t) => {
  const state = `CREATE TYPE state AS ENUM ('active', 'gone');`
  for (const [before, type, problem] of [
    [
      state,
      'state',
      /the enum state of the column "status" has no "ACTIVE", only "active", "gone"; expected .* TOKEN_STATUSES/,
    ],
    ['', 'boolean', /"status" is of type bool, which has no "ACTIVE"; .*true,false or false,true/],
    ['', 'integer', /"status" of type integer takes no "ACTIVE"/],
    ['', 'varchar(3)', /"status" takes 3 characters, too few for the status "ACTIVE"/],
    ['', 'char(3)', /"status" takes 3 characters/],
    [
      '',
      `text CHECK ("status" IN ('active', 'gone'))`,
      /the constraint "Token_status_check" allows no admitting status "ACTIVE" .*TOKEN_STATUSES/,
    ],
    ['', `varchar(9) CHECK ("status" = 'live' OR "status" = 'dead')`, /allows no admitting status "ACTIVE"/],
    ['', `text CHECK ("status" ~ '^[a-z]+$')`, /allows no admitting status "ACTIVE"/],
    [
      `CREATE DOMAIN state AS text CHECK (VALUE IN ('a', 'b'));`,
      'state',
      /"status" of type state takes no "ACTIVE"/,
    ],
    [`CREATE DOMAIN state AS varchar(5);`, 'state', /"status" takes 5 characters/],
  ] as const) {
    const { mapped, problems } = await check(t, `${before} ${ddl({ status: type })}`)
    t.equal(mapped, null)
    t.match(problems, [problem], type)
    t.equal(problems.length, 1, type)
  }
})

t.test('two statuses that the column holds as one value are a problem', async (t) => {
  const statuses = { admitting: 'true', revoked: 't' }
  t.match((await check(t, ddl({ status: 'boolean' }), { statuses })).problems, [
    /"true" and "t" are the same value of the column "status"/,
  ])
})

t.test('a constraint whose result is not certain is no problem', async (t) => {
  for (const constraint of [
    `CHECK ("status" <> 'x' OR "userId" = 'a')`,
    `CHECK ("status" IS NULL OR length("id") > 3)`,
    `CHECK ("userId" <> '')`,
    `CHECK (NULL)`,
  ]) {
    t.same(
      (await check(t, `${ddl()}; ALTER TABLE "Token" ADD ${constraint}`, { written: true })).problems,
      [],
      constraint,
    )
  }
  const late = `${ddl()}; ALTER TABLE "Token" ADD CHECK ("status" = 'none') NOT VALID`
  t.same((await check(t, late)).problems, [], 'rows from before it may be active')
})

t.test('the status of a revocation is checked only where the gateway writes it', async (t) => {
  for (const [before, type, problem] of [
    [`CREATE TYPE state AS ENUM ('ACTIVE', 'ENDED');`, 'state', /the enum state .* has no "REVOKED"/],
    ['', `text CHECK ("status" IN ('ACTIVE', 'ENDED'))`, /allows no status of a revocation, "REVOKED"/],
    ['', 'varchar(6)', /takes 6 characters, too few for the status "REVOKED"/],
  ] as const) {
    const made = `${before} ${ddl({ status: type })}`
    t.same((await check(t, made)).problems, [])
    t.match((await check(t, made, { written: true })).problems, [problem])
  }
})

t.test(
  'a column that refresh and logout could not write is a problem, and look-ups still work',
  async (t) => {
    const more = (sql: string) => `${TOKEN_DDL}; ${sql}`
    for (const [made, problem] of [
      [
        more(`ALTER TABLE "Token" ADD "updatedAt" timestamp NOT NULL`),
        /"updatedAt" is NOT NULL and has no default.*expected a DEFAULT/,
      ],
      [
        `CREATE DOMAIN must AS text NOT NULL; ${more('ALTER TABLE "Token" ADD "kind" must')}`,
        /"kind" is NOT NULL/,
      ],
      [ddl({ id: 'varchar(21)' }), /"id" takes 21 characters, but .* uuids/],
      [ddl({ id: 'integer' }), /"id" is of type int4, but .* uuids/],
      [ddl({ id: 'bigint GENERATED ALWAYS AS IDENTITY' }), /"id" is of type int8/],
      [ddl({ userId: 'bigint GENERATED ALWAYS AS IDENTITY' }), /"userId" is generated by PostgreSQL/],
      [
        ddl({
          status: `text GENERATED ALWAYS AS (CASE WHEN "userId" = '' THEN 'REVOKED' ELSE 'ACTIVE' END) STORED`,
        }),
        /"status" is generated/,
      ],
      [
        more(`CREATE UNIQUE INDEX one_a_session ON "Token" ("sessionId")`),
        /the unique index "one_a_session" allows one token for each "sessionId", but refresh makes two/,
      ],
      [
        more(`ALTER TABLE "Token" ADD CONSTRAINT one UNIQUE ("userId", "sessionId")`),
        /unique index "one" allows one token/,
      ],
      [
        more(`CREATE UNIQUE INDEX one ON "Token" ("sessionId") WHERE "status" = 'ACTIVE'`),
        /unique index "one"/,
      ],
      [
        more(`ALTER TABLE "Token" RENAME TO t; CREATE VIEW "Token" AS SELECT DISTINCT * FROM t`),
        /too complex for INSERT and UPDATE/,
      ],
      [
        more(
          `ALTER TABLE "Token" RENAME TO t; CREATE VIEW "Token" AS SELECT "id", "userId", "sessionId", "mandateId", upper("status") AS "status", "expiresAt" FROM t`,
        ),
        /the view's column "status" leads to no column/,
      ],
    ] as const) {
      t.same((await check(t, made)).problems, [], made)
      const { mapped, mayHeal, problems } = await check(t, made, { written: true })
      t.match(problems, [problem])
      t.equal(problems.length, made.includes('IDENTITY') && made.includes('"id" bigint') ? 2 : 1, made)
      t.equal(mayHeal, false)
      t.not(mapped, null)
    }
  },
)

t.test('a column with a default, and an index that refresh does not violate, are no problem', async (t) => {
  for (const sql of [
    `ALTER TABLE "Token" ADD "createdAt" timestamp NOT NULL DEFAULT now()`,
    `ALTER TABLE "Token" ADD n bigint GENERATED ALWAYS AS IDENTITY`,
    `ALTER TABLE "Token" ADD l int NOT NULL GENERATED ALWAYS AS (length("id")) STORED`,
    `CREATE UNIQUE INDEX ON "Token" ("sessionId", "id")`,
    `CREATE UNIQUE INDEX ON "Token" ("sessionId", "expiresAt")`,
    `CREATE UNIQUE INDEX ON "Token" ("sessionId") WHERE "status" = 'NONE'`,
    `CREATE UNIQUE INDEX ON "Token" (lower("id"))`,
    `CREATE INDEX ON "Token" ("sessionId")`,
    `ALTER TABLE "Token" RENAME TO t; CREATE VIEW "Token" AS SELECT * FROM t`,
  ]) {
    t.same((await check(t, `${TOKEN_DDL}; ${sql}`, { written: true })).problems, [], sql)
  }
})

t.test(
  'a column that a trigger may set, and an index that only mandates violate, give warnings',
  async (t) => {
    const trigger = `${TOKEN_DDL}; ALTER TABLE "Token" ADD "updatedAt" timestamp NOT NULL;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."updatedAt" := now(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE INSERT ON "Token" FOR EACH ROW EXECUTE FUNCTION touch()`
    t.match(await check(t, trigger, { written: true }), {
      problems: [],
      warnings: [/"updatedAt" is NOT NULL .*, unless a trigger fills it in/],
    })
    const unique = `${TOKEN_DDL}; CREATE UNIQUE INDEX one ON "Token" ("sessionId", "mandateId")`
    t.match(await check(t, unique, { written: true }), { problems: [], warnings: [/that has a mandate/] })
  },
)
