import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import t from 'tap'
import { openTokenAdmin } from '../../gateway/cli/token-admin.ts'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { provision } from '../../gateway/dev/provision.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { runCommand } from '../support/command.ts'
import { startGateway } from '../support/gateway.ts'
import { startPostgres, TOKEN_DDL } from '../support/postgres.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'

const pg = await startPostgres()
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const routing = { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] }
t.teardown(async () => {
  await echo.close()
  await pg.close()
})

const SHAPED = `
  create table "Token" ("id" uuid primary key, "userId" uuid not null, "sessionId" bigint not null, "mandateId" text not null,
    "active" boolean, "expiresAt" bigint)`
const ENV = {
  TOKEN_COLUMNS: 'status=active',
  TOKEN_STATUSES: 'true,false',
  SESSION_ENDPOINTS: 'on',
  STREAM_RECHECK_MS: '100',
}

t.test('a table of uuids, a boolean and milliseconds is looked up, refreshed and logged out', async (t) => {
  const databaseUrl = await pg.createDatabase(SHAPED)
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const gateway = await startGateway({ databaseUrl, routing, env: ENV })
  t.teardown(async () => {
    await gateway.stop()
    await sql.end()
  })
  const userId = randomUUID()
  async function newToken(type: 'access' | 'refresh', sessionId: number, claims: object = {}) {
    const id = randomUUID()
    await sql`insert into "Token" values (${id}, ${userId}, ${sessionId}, '', true, ${String(Date.now() + 3_600_000)})`
    const jti = id.toUpperCase().replaceAll('-', '')
    const jwt = await signToken({
      claims: {
        jti,
        userId: userId.toUpperCase(),
        sessionId,
        mandateId: '',
        type,
        exp: inSeconds(3600),
        ...claims,
      },
    })
    return { id, cookie: `${type === 'access' ? 'auth_token' : 'refresh_token'}=${jwt}` }
  }
  const session = async (cookie: string) => {
    const answer = await fetch(`${gateway.url}/-/session`, { headers: { cookie } })
    return (await answer.json()) as Record<string, unknown>
  }

  await t.test(
    'claims are compared with the row by the types of its columns, and an empty mandate is none',
    async (t) => {
      const { id, cookie } = await newToken('access', 1)
      t.match(await session(cookie), { userId, sessionId: '1', mandateId: null })
      const sent = await (await fetch(`${gateway.url}/x`, { headers: { cookie } })).text()
      t.match(sent, userId)
      t.notMatch(sent, /x-mandate-id/i)
      await sql`update "Token" set "expiresAt" = ${String(Date.now() - 1000)} where id = ${id}`
      t.match(await session(cookie), { code: 'token_expired' })
      for (const active of [false, null]) {
        await sql`update "Token" set active = ${active} where id = ${id}`
        t.match(await session(cookie), { code: 'token_revoked' })
      }
      const other = await newToken('access', 1, { userId: randomUUID() })
      t.match(await session(other.cookie), { code: 'token_mismatch' })
    },
  )

  await t.test('refresh and logout write the boolean, the milliseconds and the empty mandate', async (t) => {
    const { cookie } = await newToken('refresh', 2)
    const answer = await fetch(`${gateway.url}/-/refresh`, { method: 'POST', headers: { cookie } })
    t.equal(answer.status, 204)
    const [access = ''] = answer.headers.getSetCookie().map((each) => each.split(';')[0]!)
    t.match(await session(access), { userId, sessionId: '2', mandateId: null })
    const rows =
      await sql`select active, "mandateId", "expiresAt" > 1000000000000 as ms from "Token" where "sessionId" = 2 order by active`
    t.same(
      [...rows],
      [false, true, true].map((active) => ({ active, mandateId: '', ms: true })),
    )
    t.equal(
      (await fetch(`${gateway.url}/-/logout`, { method: 'POST', headers: { cookie: access } })).status,
      204,
    )
    t.match(await session(access), { code: 'token_revoked' })
  })

  await t.test('a stream ends when its row no longer admits it, and explain says why', async (t) => {
    const { id, cookie } = await newToken('access', 3)
    const stream = await fetch(`${gateway.url}/events`, { headers: { cookie, accept: 'text/event-stream' } })
    t.equal(stream.status, 200)
    const body = stream.body!.getReader()
    await body.read()
    await sql`update "Token" set active = false where id = ${id}`
    await readToItsEnd(body)
    const file = join(await mkdtemp(join(tmpdir(), 'shapes-')), 'upstreams.json')
    await writeFile(file, JSON.stringify(routing))
    const explained = await runCommand(['explain', '--token', cookie.split('=')[1]!, 'http://a.example/x'], {
      env: {
        ...ENV,
        NODE_ENV: 'production',
        DATABASE_URL: databaseUrl,
        JWT_SECRET: TEST_SECRET,
        UPSTREAMS_FILE: file,
      },
    })
    t.equal(explained.code, 1)
    t.match(explained.stdout, new RegExp(`id "?${id}"?, status "?false`))
    t.match(explained.stdout, 'token_revoked')
    await rm(join(file, '..'), { recursive: true })
  })
})

t.test('an integer id is looked up as a number, and a jti that is no number is token_unknown', async (t) => {
  const databaseUrl = await pg.createDatabase(
    TOKEN_DDL.replace(/"id" +text/, '"id" bigint').replace(/"status".*/, '"status" smallint NOT NULL,'),
  )
  const sql = postgres(databaseUrl, { max: 1 })
  const gateway = await startGateway({ databaseUrl, routing, env: { TOKEN_STATUSES: '1,0' } })
  t.teardown(async () => {
    await gateway.stop()
    await sql.end()
  })
  await sql`insert into "Token" values (42, 'u', 's', null, 1, now() + interval '1 h'), (43, 'u', 's', null, 2, now() + interval '1 h')`
  const code = async (jti: string) => {
    const cookie = `auth_token=${await signToken({ claims: { jti, exp: inSeconds(60) } })}`
    const answer = await fetch(`${gateway.url}/-/session`, { headers: { cookie } })
    return answer.status === 200 ? 200 : ((await answer.json()) as { code: string }).code
  }
  t.same(await Promise.all(['42', '042', '43', '44', '4 2', '99999999999999999999'].map(code)), [
    ...[200, 200, 'token_revoked', 'token_unknown', 'token_unknown', 'token_unknown'],
  ])
})

t.test('a table that the gateway cannot use ends the start with 2 and says what to change', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'shapes-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'upstreams.json')
  await writeFile(file, JSON.stringify(routing))
  for (const [ddl, env, reason] of [
    [
      `create type s as enum ('active', 'gone'); ${TOKEN_DDL.replace(/"status".*/, '"status" s,')}`,
      {},
      /the enum s of the column "status" has no "ACTIVE"/,
    ],
    [TOKEN_DDL.replaceAll('ACTIVE', 'LIVE'), {}, /allows no admitting status "ACTIVE"/],
    [
      `${TOKEN_DDL}; alter table "Token" add "updatedAt" timestamp(3) not null`,
      { SESSION_ENDPOINTS: 'on' },
      /"updatedAt" is NOT NULL/,
    ],
    [TOKEN_DDL, { TOKEN_STATUSES: 'ACTIVE' }, /TOKEN_STATUSES: found "ACTIVE"; expected two statuses/],
  ] as const) {
    const { code, stderr } = await runCommand(['serve'], {
      env: {
        NODE_ENV: 'production',
        PORT: '0',
        ADMIN_PORT: '0',
        DATABASE_URL: await pg.createDatabase(ddl),
        JWT_SECRET: TEST_SECRET,
        UPSTREAMS_FILE: file,
        ...env,
      },
    })
    t.equal(code, 2)
    t.match(stderr, reason)
  }
})

t.test(
  'the embedded database of a start without settings has a table that fits TOKEN_STATUSES',
  async (t) => {
    const cwd = await mkdtemp(join(tmpdir(), 'shapes-'))
    const read = readSettings({ TOKEN_STATUSES: 'false,true', TOKEN_COLUMNS: 'status=revoked' })
    if (!read.ok) throw new Error(read.problems.join('\n'))
    const { settings } = read
    const { databaseUrl, keySource, postgres: embedded } = await provision(settings, cwd)
    const admin = openTokenAdmin({ settings, databaseUrl, keySource })
    t.teardown(async () => {
      await admin.close()
      await embedded?.stop()
      await rm(cwd, { recursive: true, force: true })
    })
    await admin.issue({ userId: 'u', mandateId: null, sessionId: null, ttlS: 60 }, ['access'])
    const all = { userId: null, sessionId: null, activeOnly: false, limit: 10 }
    t.match(await admin.list(all), [{ status: 'false', active: true }])
    t.equal(await admin.revoke({ by: 'userId', value: 'u' }), 1)
    t.match(await admin.list(all), [{ status: 'true', active: false }])
  },
)

/** Resolves when the stream has ended in any way; the test times out if it does not. */
async function readToItsEnd(body: ReadableStreamDefaultReader): Promise<void> {
  for (;;) {
    const piece = await body.read().catch(() => null)
    if (piece === null || piece.done) return
  }
}
