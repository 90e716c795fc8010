import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { fillDatabase } from '../support/fault-data.ts'
import {
  COVERING_KINDS,
  databaseCertificate,
  type GatewayKind,
  startFaultGateways,
} from '../support/fault-gateways.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { pgbouncerIsInstalled, pgbouncerKeepsStatements, startPgbouncer } from '../support/pgbouncer.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby } from '../support/postgres.ts'
import { brokenPromises, recordHistory } from '../support/promise-history.ts'
import { slowFaults } from '../support/slow-faults.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/**
 * The history of requests and revocations, as in `test/end-to-end/promise.test.ts`, under each fault of the database:
 * with TLS and without, by one worker and by two, with both servers in the URL, and behind PgBouncer where installed.
 */
const TOKENS = 45
const CLIENTS = 6
const HOLDS_MS = 1200

const arrived = new Set<string>()
const backend = createServer((req, res) => {
  arrived.add(String(req.headers['x-mark']))
  res.end('{}')
})
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const { tls, trust } = databaseCertificate(t)
const primary = await startPostgres({ tls })
const standby = await startStandby(primary, { tls })
const databaseUrl = await primary.createDatabase()
const here = `:${primary.port}/`
const direct: readonly GatewayKind[] = COVERING_KINDS.map((kind) => ({
  ...kind,
  urlOf: (url: string) => url.replace(here, `:${primary.port},127.0.0.1:${standby.port}/`),
}))
const pooler = pgbouncerIsInstalled()
  ? await startPgbouncer(primary.port, { tls, roles: ['app_pooled'] })
  : undefined
if (pooler === undefined) t.comment('PgBouncer is not installed here: the history behind it is not tested')
const pooled: readonly GatewayKind[] =
  pooler === undefined
    ? []
    : [
        {
          role: 'app_pooled',
          sslmode: 'require',
          workers: 1,
          urlOf: (url) => url.replace(here, `:${pooler.port}/`),
          env: { DATABASE_PREPARE: String(pgbouncerKeepsStatements()) },
        },
      ]
const kinds = [...direct, ...pooled]
const roles = kinds.map(({ role }) => role)
await fillDatabase(databaseUrl, roles)
const agent = keepAliveAgent(64)
const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const revoker = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const follower = postgres(standby.url, { max: 1, onnotice: () => {} })

async function closeServers(): Promise<void> {
  await pooler?.close()
  await Promise.all([admin, revoker, follower].map((sql) => sql.end({ timeout: 0 })))
  await standby.close()
  await primary.close()
  backend.closeAllConnections()
  backend.close()
}

const gateways = await startFaultGateways(kinds, { databaseUrl, target, env: trust }, closeServers)
t.teardown(async () => {
  agent.destroy()
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await closeServers()
})

/** Also works while a view, which cannot be written, has the table's name. */
async function revokeIn(sql: postgres.Sql, id: string): Promise<void> {
  for (;;) {
    for (const table of ['Token', 'Tokens']) {
      try {
        await sql`update ${sql(table)} set status = 'REVOKED' where id = ${id}`
        return
      } catch (error) {
        // The table may have become a view, or the reverse, between the two statements.
        if (!/^(55000|42P01)$/.test((error as postgres.PostgresError).code)) throw error
      }
    }
  }
}

interface Scenario {
  readonly breaks: () => unknown
  readonly mends: () => unknown
  /** The server for revocations that are made after the fault is repaired. */
  readonly after?: postgres.Sql
  readonly among?: typeof gateways
}

/** A third of the tokens is revoked before the fault, a third during it, and a third after it. */
async function promiseHolds(t: Test, { breaks, mends, after = revoker, among = gateways }: Scenario) {
  const jwts = new Map<string, string>()
  for (let i = 0; i <= TOKENS; i++) {
    const { id } = await insertToken(admin)
    jwts.set(id, await signToken({ claims: { jti: id, exp: inSeconds(3600) } }))
  }
  const [spare, ...tokenIds] = jwts.keys()
  let sql = revoker
  async function send(turn: number, tokenId: string): Promise<string> {
    const mark = randomUUID()
    const { url } = among[turn % among.length]!
    // A request without an answer may have been forwarded, too.
    await ask({ url, agent, headers: { cookie: `auth_token=${jwts.get(tokenId)}`, 'x-mark': mark } }).catch(
      () => {},
    )
    return mark
  }
  const isGood = async () => {
    const marks = await Promise.all(among.map((_, turn) => send(turn, spare!)))
    return marks.every((mark) => arrived.has(mark))
  }
  await until(isGood)
  const { requests, revocations } = await recordHistory({
    tokenIds,
    clients: CLIENTS,
    send,
    revoke: (id) => revokeIn(sql, id),
    async during(revokeSome) {
      await revokeSome(TOKENS / 3)
      const broken = Promise.resolve(breaks())
      // A lock or a frozen server delays this statement, too.
      const meanwhile = after === revoker ? revokeSome(TOKENS / 3) : Promise.resolve()
      await broken
      await mends()
      await meanwhile
      sql = after
      await revokeSome(TOKENS / 3)
      await until(isGood, 20_000)
      await revokeSome(TOKENS)
    },
  })
  t.same(brokenPromises(requests, arrived, revocations), [], 'no request after its revocation was forwarded')
  t.equal(revocations.length, TOKENS)
  const admitted = requests.filter(({ mark }) => arrived.has(mark)).length
  t.ok(admitted > 0 && admitted < requests.length, `${admitted} of ${requests.length} were admitted`)
  for (const gateway of among) gateway.checkProcesses(t)
}

const endConnections = () =>
  admin`select pg_terminate_backend(pid) from pg_stat_activity where usename in ${admin(roles)}`

for (const fault of slowFaults({ server: primary, databaseUrl, admin, roles, holdsMs: HOLDS_MS }))
  t.test(`the promise holds while ${fault.title}`, (t) => promiseHolds(t, fault))

t.test('the promise holds while all connections are terminated repeatedly', (t) =>
  promiseHolds(t, {
    async breaks() {
      for (let n = 0; n < 10; n++) {
        await endConnections()
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
    mends: () => {},
  }),
)

for (const [what, breaks, mends] of [
  ['the roles may not log in', 'nologin', 'login'],
  ['the roles may have no connection', 'connection limit 0', 'connection limit -1'],
] as const) {
  const alterRoles = async (change: string) => {
    for (const role of roles) await admin.unsafe(`alter role ${role} ${change}`)
  }
  t.test(`the promise holds while ${what}`, (t) =>
    promiseHolds(t, {
      async breaks() {
        await alterRoles(breaks)
        await endConnections()
        await new Promise((resolve) => setTimeout(resolve, HOLDS_MS))
      },
      mends: () => alterRoles(mends),
    }),
  )
}

t.test('the promise holds in a failover, also after the old primary wakes', async (t) => {
  const seen = gateways.filter(({ kind }) => direct.includes(kind))
  await promiseHolds(t, {
    // PgBouncer still connects to the old primary.
    among: seen,
    after: follower,
    async breaks() {
      const [at] = await admin`select pg_current_wal_flush_lsn()::text as lsn`
      await until(async () => {
        const [row] = await follower`select pg_last_wal_replay_lsn() >= ${at!.lsn}::pg_lsn as replayed`
        return row!.replayed
      })
      primary.freeze()
      await new Promise((resolve) => setTimeout(resolve, HOLDS_MS))
      await follower`select pg_promote()`
    },
    mends: () => {
      setTimeout(() => primary.thaw(), HOLDS_MS)
    },
  })
})
