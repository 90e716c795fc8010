import { appendFile, chmod, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { type LogLine, startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const LOOKUP_TIMEOUT_MS = 800

const server = await startPostgres()
const databaseUrl = await server.createDatabase()
const admin = postgres(databaseUrl, { max: 2, onnotice: () => {} })
await admin.unsafe(`create role app login password 'right'; grant select, insert, update on "Token" to app`)
const { id } = await insertToken(admin, {})
const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}`
const backend = createServer((_req, res) => res.end('ok'))
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const gateway = await startGateway({
  databaseUrl: databaseUrl.replace('//gateway@', '//app:right@'),
  routing: { upstreams: { app: { targets: [target] } }, routes: [{ path: '/', upstream: 'app' }] },
  env: {
    ACCESS_LOG: 'off',
    LOOKUP_TIMEOUT_MS: String(LOOKUP_TIMEOUT_MS),
    WORKERS: '2',
    SESSION_ENDPOINTS: 'on',
    REVOCATION_CHANNEL: 'revocations',
  },
})
t.teardown(async () => {
  await gateway.stop()
  await admin.end({ timeout: 1 })
  backend.closeAllConnections()
  backend.close()
  await server.close()
})

interface ReadyAnswer {
  readonly reasons?: readonly string[]
  readonly causes?: readonly { readonly reason: string; readonly cause: string }[]
}

const visit = () => ask({ url: gateway.url, headers: { cookie } })
const inside = async () =>
  (await (await fetch(`http://127.0.0.1:${gateway.adminPort}/readyz`)).json()) as ReadyAnswer
const isReady = async () => {
  const outside = await fetch(`${gateway.url}/-/readyz`)
  return outside.status === 200 && (await inside()).reasons === undefined
}
/** The body of a public 503. Each worker notices an outage by itself, so the first answers may be others. */
async function publicRefusal(): Promise<unknown> {
  let body: unknown = null
  await until(async () => {
    const answer = await fetch(`${gateway.url}/-/readyz`)
    body = await answer.json()
    return answer.status === 503
  })
  return body
}

async function storeStatus(): Promise<Readonly<Record<'code' | 'reason', string | null>>> {
  const answer = await fetch(`http://127.0.0.1:${gateway.adminPort}/status.json`)
  return ((await answer.json()) as { tokenStore: Record<'code' | 'reason', string | null> }).tokenStore
}

/**
 * New log lines about the outage of the store. A fault that is a change of the table is also logged as a warning about
 * the table, and look-ups that fail before a probe does have their own line.
 */
const storeLines = (from: number) =>
  gateway.lines
    .slice(from)
    .filter(
      ({ msg, level }) =>
        /token|session|exchange|revocation/.test(msg) &&
        level !== 'debug' &&
        !/with warnings|could not be looked up/.test(msg),
    )

interface FaultInWords {
  readonly cause: RegExp
  readonly code: RegExp
  readonly breaks: () => unknown
  readonly mends: () => unknown
}

/**
 * Breaks the database during traffic. Asserts that the admin listener and the log have the cause in words, the public
 * listener only its name, and the log one line at the beginning and one at the end.
 */
async function isSaid(t: Test, { cause, code, breaks, mends }: FaultInWords): Promise<void> {
  await until(async () => isOver(storeLines(0)) && (await isReady()))
  const from = gateway.lines.length
  let asking = true
  const visitor = (async () => {
    while (asking) {
      await visit()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  await breaks()
  await until(async () => (await inside()).causes?.some((each) => cause.test(each.cause)) ?? false)
  const told = await inside()
  t.same(told.reasons, ['token_store'])
  t.notMatch(JSON.stringify(told), /\d\.\d+ ms|right|postgres:\/\//)
  await until(async () => {
    const status = await storeStatus()
    return code.test(String(status.code)) && cause.test(String(status.reason))
  })
  t.same(await publicRefusal(), { status: 'not ready', reasons: ['token_store'] })
  await until(() => storeLines(from).some((line) => cause.test(String(line.cause))))
  await mends()
  await until(isReady)
  await until(() => isOver(storeLines(from)), 40_000)
  asking = false
  await visitor
  const outages = outagesIn(storeLines(from))
  const all = storeLines(from).map(({ msg, cause }) => `${msg}: ${cause}`)
  for (const lines of outages) checkOutage(t, lines, all.join('\n'))
  t.ok(outages.length <= 2, `${outages.length} outages`)
  t.ok(
    outages.some((lines) => Number(lines.at(-1)!.failedLookups) > 0),
    all.join('\n'),
  )
}

/** Lines after the recovery are left out, since on a busy machine the store may fail again at once. */
const isOver = (lines: readonly LogLine[]) =>
  /available again|store is available$/.test(lines.at(-1)?.msg ?? '')

function outagesIn(lines: readonly LogLine[]): LogLine[][] {
  const outages: LogLine[][] = []
  for (const line of lines) {
    if (line.msg === 'the token store is unavailable') outages.push([])
    outages.at(-1)?.push(line)
  }
  return outages
}

function checkOutage(t: Test, lines: readonly LogLine[], all: string): void {
  t.match(lines[0], { level: 'error', msg: 'the token store is unavailable' }, all)
  t.match(
    lines.at(-1),
    { level: 'info', msg: 'the token store is available again', awayMs: Number, failedLookups: Number },
    all,
  )
  t.ok(Number.isInteger(lines.at(-1)!.awayMs), all)
  t.ok(
    lines.slice(1, -1).every(({ msg }) => msg === 'the token store is still unavailable, for another cause'),
    all,
  )
  t.ok(lines.length <= 5, all)
}

const cut = () =>
  admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'poweron-gateway%'`

t.test('for a lock on the table the cause names who holds it', async (t) => {
  const locker = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const session = await locker.reserve()
  await isSaid(t, {
    cause: /the token table "Token" is locked .*held by process \d+, role gateway.*pg_terminate_backend/,
    code: /DEADLINE|BUSY/,
    breaks: () => session.unsafe('begin; lock table "Token" in access exclusive mode'),
    async mends() {
      await session.unsafe('rollback')
      session.release()
      await locker.end()
    },
  })
})

t.test('the cause names a frozen server', (t) =>
  isSaid(t, {
    cause: new RegExp(`does not answer at all .*no answer within ${LOOKUP_TIMEOUT_MS} ms`),
    code: /DEADLINE|BUSY/,
    breaks: () => server.freeze(),
    mends: () => server.thaw(),
  }),
)

t.test('the store is unavailable when look-ups of existing tokens are slow, though the probe is quick', (t) =>
  isSaid(t, {
    cause: /answers, but look-ups of tokens are too slow/,
    code: /DEADLINE|BUSY/,
    breaks: () =>
      admin.unsafe(`
        create function slow(text) returns text language sql volatile as 'select $1 from pg_sleep(3)';
        alter table "Token" rename to "Tokens";
        create view "Token" as select "id", slow("userId") as "userId", "sessionId", "mandateId", "status", "expiresAt"
          from "Tokens";
        grant select, insert, update on "Token" to app`),
    mends: () =>
      admin.unsafe('drop view "Token"; drop function slow; alter table "Tokens" rename to "Token"'),
  }),
)

t.test('the cause names a revoked grant', (t) =>
  isSaid(t, {
    cause: /may not SELECT the column|no right to read/,
    code: /MAPPING|42501/,
    breaks: () => admin.unsafe('revoke select on "Token" from app'),
    mends: () => admin.unsafe('grant select on "Token" to app'),
  }),
)

t.test('the cause names a missing table', (t) =>
  isSaid(t, {
    cause: /does not exist/,
    code: /MAPPING|42P01/,
    breaks: () => admin.unsafe('alter table "Token" rename to "Tokens"'),
    mends: () => admin.unsafe('alter table "Tokens" rename to "Token"'),
  }),
)

t.test('the cause names a missing column', (t) =>
  isSaid(t, {
    cause: /has no column "status"/,
    code: /MAPPING|42703/,
    breaks: () => admin.unsafe('alter table "Token" rename "status" to "state"'),
    mends: () => admin.unsafe('alter table "Token" rename "state" to "status"'),
  }),
)

t.test('the cause names a role without a free connection slot', (t) =>
  isSaid(t, {
    cause: /the role of DATABASE_URL has no free connection slot .*CONNECTION LIMIT/,
    code: /53300/,
    async breaks() {
      await admin`alter role app connection limit 0`
      await cut()
    },
    mends: () => admin`alter role app connection limit -1`,
  }),
)

t.test('the cause names a role that may not log in', (t) =>
  isSaid(t, {
    cause: /may not log in \(NOLOGIN\)/,
    code: /28000/,
    async breaks() {
      await admin`alter role app nologin`
      await cut()
    },
    mends: () => admin`alter role app login`,
  }),
)

t.test('the cause names a wrong password', async (t) => {
  const hba = join(server.cluster, 'pg_hba.conf')
  const before = await readFile(hba, 'utf8')
  await writeFile(hba, `host all app all scram-sha-256\n${before}`)
  await chmod(hba, 0o644)
  await isSaid(t, {
    cause: /does not accept the password .*"app"/,
    code: /28P01/,
    async breaks() {
      await admin.unsafe(`alter role app password 'another'`)
      await admin`select pg_reload_conf()`
      await cut()
    },
    mends: () => admin.unsafe(`alter role app password 'right'`),
  })
  await writeFile(hba, before)
  await admin`select pg_reload_conf()`
})

t.test('the cause names a stopped server', (t) =>
  isSaid(t, {
    cause: /nothing accepts connections|is stopping|broken off/,
    code: /ECONNREFUSED|57P0|CONNECTION|ECONNRESET/,
    breaks: () => server.stop(),
    mends: () => server.start(),
  }),
)

t.test('the cause names a server that came back as a standby', async (t) => {
  const signal = join(server.cluster, 'standby.signal')
  await isSaid(t, {
    cause: /in recovery \(a standby\).*promote/,
    code: /STANDBY/,
    async breaks() {
      await server.stop()
      await appendFile(signal, '')
      await server.start()
    },
    async mends() {
      await server.stop()
      await rm(signal)
      await server.start()
    },
  })
})
