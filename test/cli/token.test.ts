import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { decodeJwt } from 'jose'
import postgres from 'postgres'
import t from 'tap'
import { readArguments } from '../../gateway/cli/arguments.ts'
import { issueToken, listTokens, revokeTokens } from '../../gateway/cli/token.ts'
import { UsageError } from '../../gateway/cli/usage.ts'
import { type RunOptions, runCommand, runHere } from '../support/command.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { signToken, TEST_SECRET } from '../support/tokens.ts'

const server = await startPostgres()
const databaseUrl = await server.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
t.teardown(async () => {
  await sql.end()
  await server.close()
})
const env = { NODE_ENV: 'production', DATABASE_URL: databaseUrl, JWT_SECRET: TEST_SECRET }

/** What stderr says of these settings. */
const SOURCES = `poweron-gateway: database ${databaseUrl.replace(/^.*@/, '')} (DATABASE_URL)
poweron-gateway: key from JWT_SECRET
`

const COMMAND_FUNCTIONS = { issue: issueToken, list: listTokens, revoke: revokeTokens }
const token = (action: keyof typeof COMMAND_FUNCTIONS, args: string[] = [], options: RunOptions = {}) =>
  runHere(`token ${action}`, COMMAND_FUNCTIONS[action], args, { ...options, env: { ...env, ...options.env } })

t.beforeEach(() => sql`delete from "Token"`)

t.test('token issue prints only the JWT, and inserts its row', async (t) => {
  const { code, stdout, stderr } = await runCommand(['token', 'issue', '--user', 'alice', '--ttl', '15m'], {
    env,
  })
  t.same([code, stderr], [0, SOURCES])
  t.match(stdout, /^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$/)
  const claims = decodeJwt(stdout.trim())
  t.match(claims, { userId: 'alice', mandateId: null, type: 'access', jti: String, sessionId: String })
  t.equal((claims.exp ?? 0) - (claims.iat ?? 0), 900)
  const rows = await sql`select *, extract(epoch from "expiresAt")::int as exp from "Token"`
  t.match(rows, [
    { id: claims.jti, userId: 'alice', mandateId: null, sessionId: claims.sessionId, exp: claims.exp },
  ])
})

t.test('token issue --refresh prints the refresh token of the session on the second line', async (t) => {
  const { stdout } = await token('issue', ['--user', 'a', '--mandate', 'm', '--session', 's', '--refresh'])
  const lines = stdout.split('\n')
  t.equal(lines.length, 3)
  t.match(decodeJwt(lines[0]!), { type: 'access', sessionId: 's', mandateId: 'm' })
  t.match(decodeJwt(lines[1]!), { type: 'refresh', sessionId: 's', mandateId: 'm' })
  t.equal((await sql`select 1 from "Token" where "sessionId" = 's' and "mandateId" = 'm'`).length, 2)
})

for (const [ttl, seconds] of [
  ['30s', 30],
  ['15m', 900],
  ['2h', 7200],
  ['7d', 604_800],
] as const) {
  t.test(`token issue --ttl=${ttl} issues a token for ${seconds} seconds`, async (t) => {
    const { exp = 0, iat = 0 } = decodeJwt(
      (await token('issue', ['--user', 'a', '--ttl', ttl])).stdout.trim(),
    )
    t.equal(exp - iat, seconds)
  })
}

const WRONG: readonly [action: keyof typeof COMMAND_FUNCTIONS, args: string[], message: RegExp][] = [
  ['issue', [], /--user is missing/],
  ['issue', ['--user', ''], /--user needs a value/],
  ['issue', ['--usr', 'a'], /unknown option --usr; did you mean --user\?/],
  ['issue', ['alice'], /found "alice"; expected nothing but options/],
  ['issue', ['--user', 'a', '--user', 'b'], /--user is given twice/],
  ['issue', ['--user', 'a', '--refresh=yes'], /--refresh takes no value/],
  ...['0s', '1', '1h30m', '-1h', '1w', '40000d'].map(
    (ttl): [keyof typeof COMMAND_FUNCTIONS, string[], RegExp] => [
      'issue',
      ['--user', 'a', `--ttl=${ttl}`],
      /expected a duration/,
    ],
  ),
  ['revoke', [], /expected exactly one of --id, --session and --user/],
  ['revoke', ['--id', 'a', '--user', 'b'], /expected exactly one of/],
  ['revoke', ['--id', '--user'], /--id needs a value/],
  ['list', ['--limit', '0'], /a whole number from 1/],
]
for (const [action, args, message] of WRONG) {
  t.test(
    `token ${action} ${args.join(' ')} fails with a usage error that names what was expected`,
    async (t) => {
      await t.rejects(token(action, args), { name: 'UsageError', message })
    },
  )
}

t.test('a token given as its id is not repeated in the error, but its id is', async (t) => {
  const jwt = await signToken({ claims: { jti: 'the-id' } })
  const error = await token('revoke', ['--id', jwt]).catch((error: unknown) => error)
  t.ok(error instanceof UsageError)
  t.match(String(error), /its id is "the-id"/)
  t.notMatch(String(error), jwt.slice(-20))
})

t.test('token revoke takes an id, a session or a user, and prints the number of rows', async (t) => {
  for (const [id, userId, sessionId] of [
    ['1', 'a', 's1'],
    ['2', 'a', 's1'],
    ['3', 'a', 's2'],
    ['4', 'b', 's3'],
  ] as const)
    await insertToken(sql, { id, userId, sessionId })
  t.match(await token('revoke', ['--id', '1']), { code: 0, stdout: '1 token revoked\n' })
  t.match(await token('revoke', ['--session', 's1']), { code: 0, stdout: '1 token revoked\n' })
  t.match(await token('revoke', ['--user', 'a']), { code: 0, stdout: '1 token revoked\n' })
  t.match(await token('revoke', ['--user', 'a']), {
    code: 1,
    stdout: '0 tokens revoked\n',
    stderr: /no active token/,
  })
  t.same(await sql`select id from "Token" where "status" = 'ACTIVE'`, [{ id: '4' }])
})

t.test('token list prints a table, the latest expiry first, with one line for each row', async (t) => {
  const at = Date.parse('2040-01-01T00:00:00Z')
  await insertToken(sql, { id: 'old', userId: 'bob', mandateId: null, status: 'REVOKED', expiresAt: at })
  await insertToken(sql, { id: 'newer', userId: 'a\nb', expiresAt: at + 1000 })
  await insertToken(sql, { id: 'over', expiresAt: Date.parse('2020-01-01T00:00:00Z') })
  const { code, stdout, stderr } = await token('list')
  t.same([code, stderr], [0, SOURCES])
  t.equal(
    stdout,
    `id     userId   mandateId  sessionId  status           expiresAt
newer  a\\u{a}b  acme       s1         ACTIVE           2040-01-01T00:00:01.000Z
old    bob      -          s1         REVOKED          2040-01-01T00:00:00.000Z
over   alice    acme       s1         ACTIVE, expired  2020-01-01T00:00:00.000Z
`,
  )
})

t.test('token list --json prints the rows that the filters select', async (t) => {
  await insertToken(sql, { id: '1', userId: 'a' })
  await insertToken(sql, { id: '2', userId: 'a', sessionId: 's2', status: 'REVOKED' })
  await insertToken(sql, { id: '3', userId: 'a', sessionId: 's2', expiresAt: Date.now() - 1000 })
  await insertToken(sql, { id: '4', userId: 'b' })
  const ids = async (...args: string[]) => {
    const { stdout } = await token('list', ['--json', ...args])
    return (JSON.parse(stdout) as { id: string }[]).map(({ id }) => id).sort()
  }
  t.same(await ids(), ['1', '2', '3', '4'])
  t.same(await ids('--user', 'a'), ['1', '2', '3'])
  t.same(await ids('--user', 'a', '--session', 's2'), ['2', '3'])
  t.same(await ids('--active'), ['1', '4'])
  t.same(await ids('--user', 'nobody'), [])
  t.match(JSON.parse((await token('list', ['--json', '--session', 's1', '--user', 'a'])).stdout), [
    {
      id: '1',
      userId: 'a',
      sessionId: 's1',
      mandateId: 'acme',
      status: 'ACTIVE',
      expired: false,
      expiresAt: /Z$/,
    },
  ])
  t.match(await token('list', ['--limit', '2']), {
    stderr: /only the first 2 tokens are shown; --limit N shows more/,
  })
  t.match(await token('list', ['--user', 'nobody']), { code: 0, stdout: '', stderr: /no token was found/ })
})

t.test('token works on tables with a uuid, a numeric user, an enum and each kind of expiry', async (t) => {
  for (const expiry of ['timestamp', 'bigint', 'numeric', 'timestamptz']) {
    const url = await server.createDatabase(`
      create type state as enum ('ACTIVE', 'REVOKED');
      create table tokens (jti uuid primary key, user_id bigint not null, sid uuid not null, tenant uuid, state state not null, expires ${expiry})`)
    const options = {
      env: {
        DATABASE_URL: url,
        TOKEN_TABLE: 'tokens',
        TOKEN_COLUMNS: 'id=jti,userId=user_id,sessionId=sid,mandateId=tenant,status=state,expiresAt=expires',
      },
    }
    const mandate = '00000000-0000-4000-8000-000000000001'
    const issued = await token('issue', ['--user', '42', '--mandate', mandate, '--refresh'], options)
    const { exp = 0, jti = '' } = decodeJwt(issued.stdout.split('\n')[0]!)
    const listed = JSON.parse((await token('list', ['--json', '--active'], options)).stdout)
    t.match(listed, [
      { userId: '42', mandateId: mandate, expiresAt: new Date(exp * 1000).toISOString() },
      { userId: '42' },
    ])
    t.match(await token('revoke', ['--id', jti], options), { stdout: '1 token revoked\n' }, expiry)
    t.match(await token('revoke', ['--user', '42'], options), { stdout: '1 token revoked\n' })
  }
})

t.test('token works with a boolean or numeric status and an expiry in milliseconds', async (t) => {
  for (const [type, statuses, good] of [
    ['boolean', 'true,false', 'true'],
    ['boolean', 'false,true', 'false'],
    ['smallint', '1,0', '1'],
  ] as const) {
    const url = await server.createDatabase(`
      create table "Token" ("id" text primary key, "userId" uuid not null, "sessionId" text not null, "mandateId" text not null,
        "status" ${type} not null, "expiresAt" bigint);
      insert into "Token" values ('before', gen_random_uuid(), 's', '', ${good}::${type}, 1700000000000)`)
    const options = { env: { DATABASE_URL: url, TOKEN_STATUSES: statuses } }
    const user = 'ABCDEF00-0000-4000-8000-000000000001'
    const issued = await token('issue', ['--user', user], options)
    const { exp = 0 } = decodeJwt(issued.stdout.split('\n')[0]!)
    const listed = JSON.parse((await token('list', ['--json', '--active', '--user', user], options)).stdout)
    t.match(listed, [
      {
        userId: user.toLowerCase(),
        mandateId: null,
        status: good,
        active: true,
        expiresAt: new Date(exp * 1000).toISOString(),
      },
    ])
    t.match((await token('list', ['--json'], options)).stdout, '"expiresAt": "2023-11-14T22:13:20.000Z"')
    t.match(await token('revoke', ['--user', user.replaceAll('-', '')], options), {
      stdout: '1 token revoked\n',
    })
    t.match(await token('list', ['--active'], options), { stdout: '' })
    t.match(await token('list', ['--user', 'no uuid'], options), { code: 0, stdout: '' })
  }
})

t.test('numeric ids are revoked as numbers, and no token with a numeric id is issued', async (t) => {
  const url = await server.createDatabase(`
    create table "Token" ("id" int primary key, "userId" text, "sessionId" text, "mandateId" text, "status" text, "expiresAt" timestamptz);
    insert into "Token" values (7, 'u', 's', null, 'ACTIVE', now() + interval '1 h')`)
  const options = { env: { DATABASE_URL: url } }
  await t.rejects(
    token('issue', ['--user', 'u'], options),
    /their ids are uuids, and the column "id" is of type int4/,
  )
  t.match(await token('revoke', ['--id', 'seven'], options), { code: 1 })
  t.match(await token('revoke', ['--id', '07'], options), { stdout: '1 token revoked\n' })
})

t.test('a host that is silent keeps nobody from revoking at the primary behind it', async (t) => {
  const silent = createServer((socket) => void socket.on('error', () => {}).resume())
  await once(silent.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  await insertToken(sql, { userId: 'alice' })
  const hosts = databaseUrl.replace('@', `@127.0.0.1:${port},`)
  const options = { env: { DATABASE_URL: hosts } }
  t.match(await token('revoke', ['--user', 'alice'], options), { code: 0, stdout: '1 token revoked\n' })
  const none = { env: { DATABASE_URL: `postgres://gateway@127.0.0.1:${port},127.0.0.1:${port}/none` } }
  await t.rejects(token('revoke', ['--user', 'alice'], none), { code: 'DEADLINE' })
})

t.test('without a usable database token exits with 1 in seconds and repeats no secret', async (t) => {
  for (const [url, said] of [
    ['postgres://gateway:hunter2@127.0.0.1:1/none', /ECONNREFUSED/],
    ['postgres://gateway:hunter2@127.0.0.1:1,127.0.0.1:2/none', /ECONNREFUSED/],
    [databaseUrl.replace(/\/\/[^@/]*@/, '//nobody:hunter2@'), /nobody/],
  ] as const) {
    const { code, stdout, stderr } = await runCommand(['token', 'list'], {
      env: { ...env, DATABASE_URL: url },
    })
    t.same([code, stdout], [1, ''])
    t.match(stderr, said)
    t.notMatch(stderr, /hunter2|Usage|at .*\.ts:/)
  }
  const missing = { DATABASE_URL: await server.createDatabase('select 1') }
  await t.rejects(token('list', [], { env: missing }), /does not fit the mapping/)
})

t.test('token issue with public keys fails, and all bad settings are named at once', async (t) => {
  const jwks = { JWT_SECRET: '', JWT_JWKS_URL: 'http://127.0.0.1:1/jwks' }
  await t.rejects(token('issue', ['--user', 'a'], { env: jwks }), /only public keys/)
  const bad = await runCommand(['token', 'list'], { env: { ...env, PORT: 'x', JWT_SECRET: 'short' } })
  t.equal(bad.code, 2)
  t.match(bad.stderr, /these settings cannot be used:\n {2}PORT: .*\n {2}JWT_SECRET: the secret has 5 bytes/)
})

t.test('a closed output pipe is no error', async (t) => {
  for (let i = 0; i < 2000; i += 500) {
    await sql`insert into "Token" select 'id-' || n, 'u', 's', null, 'ACTIVE', now() from generate_series(${i}::int, ${i + 499}::int) n`
  }
  const bin = fileURLToPath(new URL('../../gateway/bin.mjs', import.meta.url))
  const child = spawn(process.execPath, [bin, 'token', 'list', '--limit', '2000'], { env })
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  child.stdout.once('data', () => child.stdout.destroy())
  const [code] = await once(child, 'close')
  t.same([code, stderr], [0, SOURCES])
})

t.test('an option in the place of a value is not taken as the value', async (t) => {
  const command = { name: 'x', usage: '', summary: '', about: '', examples: [], exits: {} }
  const args = readArguments({ ...command, options: [{ name: 'user', value: 'U', description: 'who' }] }, [
    '--user=-x',
  ])
  t.equal(args.text('user'), '-x')
  t.throws(
    () =>
      readArguments({ ...command, options: [{ name: 'user', value: 'U', description: 'who' }] }, [
        '--user',
        '-x',
      ]),
    /--user needs a value, U: who; a value that begins with "-" is written --user=-…/,
  )
})
