import { rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, type TestPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/** In each of these: only good answers or 503, never a 401 or another's identity, and recovery by itself. */
const USERS = 20

const backend = createServer((req, res) => res.end(String(req.headers['x-user-id'])))
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const server = await startPostgres()
const databaseUrl = await server.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const users = await Promise.all(
  Array.from({ length: USERS }, async (_, i) => {
    const { id, userId } = await insertToken(sql, { userId: `user-${i}` })
    return { userId, cookie: `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}` }
  }),
)
await sql.unsafe('create role app login; grant select on "Token" to app')
await sql.end()
const gateway: TestGateway = await startGateway({
  databaseUrl: databaseUrl.replace('//gateway@', '//app@'),
  routing: { upstreams: { app: { targets: [target] } }, routes: [{ path: '/', upstream: 'app' }] },
  env: { ACCESS_LOG: 'off', LOOKUP_TIMEOUT_MS: '500' },
})
t.teardown(async () => {
  await gateway.stop()
  backend.closeAllConnections()
  backend.close()
  await server.close()
})

type Outcome = 'good' | '503' | 'wrong'

const agent = keepAliveAgent(64)
t.teardown(() => agent.destroy())

async function one(i: number): Promise<{ outcome: Outcome; ms: number; detail: string }> {
  const { userId, cookie } = users[i % USERS]!
  const began = performance.now()
  const { status, body, headers } = await ask({ url: gateway.url, agent, headers: { cookie } })
  const ms = performance.now() - began
  const fault =
    status === 503 && headers['retry-after'] !== undefined && body.includes('"token_store_unavailable"')
  const outcome = status === 200 && body === userId ? 'good' : fault ? '503' : 'wrong'
  return { outcome, ms, detail: `${status} ${body}` }
}

/** Requests without a pause while `task` runs. @returns all that came of them */
async function underLoad(task: () => Promise<void>) {
  let running = true
  const seen: Awaited<ReturnType<typeof one>>[] = []
  const lanes = Array.from({ length: 8 }, async (_, lane) => {
    for (let i = lane; running; i += 8) seen.push(await one(i))
  })
  try {
    await task()
  } finally {
    running = false
    await Promise.all(lanes)
  }
  return seen
}

async function isGood(): Promise<boolean> {
  return (await one(0)).outcome === 'good'
}

async function isDown(): Promise<boolean> {
  return (await one(0)).outcome === '503'
}

interface Fault {
  readonly breaks: (server: TestPostgres) => Promise<void> | void
  readonly mends: (server: TestPostgres) => Promise<void> | void
}

/** Breaks the database under load, sees the 503s, mends it, and sees the recovery. */
async function stands(t: Test, { breaks, mends }: Fault): Promise<void> {
  await until(isGood)
  let recoveredIn = Number.POSITIVE_INFINITY
  const seen = await underLoad(async () => {
    await breaks(server)
    await until(isDown)
    await until(async () => (await ask({ url: `${gateway.url}/-/readyz` })).status === 503)
    await mends(server)
    const mended = performance.now()
    await until(isGood)
    recoveredIn = performance.now() - mended
    await until(async () => (await ask({ url: `${gateway.url}/-/readyz` })).status === 200)
  })
  const wrong = seen.filter(({ outcome }) => outcome === 'wrong').map(({ detail }) => detail)
  t.same(wrong, [], 'never a 401, never another identity, never forwarded unchecked')
  t.ok(seen.some(({ outcome }) => outcome === '503'))
  t.ok(Math.max(...seen.map(({ ms }) => ms)) < 2500, 'nothing hangs')
  t.ok(recoveredIn < 3000, `recovered after ${Math.round(recoveredIn)} ms`)
}

t.test('the database is stopped and started', (t) =>
  stands(t, { breaks: (s) => s.stop(), mends: (s) => s.start() }),
)

t.test('the database crashes', (t) => stands(t, { breaks: (s) => s.kill9(), mends: (s) => s.start() }))

t.test('the database is frozen', (t) => stands(t, { breaks: (s) => s.freeze(), mends: (s) => s.thaw() }))

t.test('the database comes back as a standby, whose lag would void the promise', (t) => {
  const signal = join(server.cluster, 'standby.signal')
  return stands(t, {
    async breaks(s) {
      await s.stop()
      await writeFile(signal, '')
      await s.start()
    },
    async mends(s) {
      await s.stop()
      await rm(signal)
      await s.start()
    },
  })
})

t.test('a lock is held on the table', (t) => {
  const locker = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const released = Promise.withResolvers<void>()
  return stands(t, {
    async breaks() {
      const taken = Promise.withResolvers<void>()
      void locker.begin(async (tx) => {
        await tx`lock table "Token" in access exclusive mode`
        taken.resolve()
        await released.promise
      })
      await taken.promise
    },
    async mends() {
      released.resolve()
      await locker.end()
    },
  })
})

t.test('all connections are terminated: nobody notices', async (t) => {
  await until(isGood)
  const admin = postgres(server.url, { max: 1, onnotice: () => {} })
  const seen = await underLoad(async () => {
    for (let i = 0; i < 5; i++) {
      await admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'poweron-gateway'`
      for (let good = 0; good < 50; good++) await until(isGood)
    }
  })
  await admin.end()
  t.same(
    seen.filter(({ outcome }) => outcome === 'wrong').map(({ detail }) => detail),
    [],
  )
  t.ok(seen.filter(({ outcome }) => outcome === 'good').length > seen.length * 0.9)
})

t.test('the connection limit is reached', (t) => {
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  return stands(t, {
    async breaks() {
      await admin`alter role app connection limit 0`
      await admin`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`
    },
    async mends() {
      await admin`alter role app connection limit -1`
      await admin.end()
    },
  })
})

t.test('a slow query holds up those that wait for it no longer than the deadline', async (t) => {
  await until(isGood)
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  await admin.unsafe(`
    alter table "Token" rename to "Tokens";
    create view "Token" as select t.* from "Tokens" t, pg_sleep(2);
    grant select on "Token" to app`)
  await until(isDown)
  const { outcome, ms } = await one(1)
  t.equal(outcome, '503')
  t.ok(ms < 1500, `${ms}`)
  await admin.unsafe('drop view "Token"; alter table "Tokens" rename to "Token"')
  await admin.end()
  await until(isGood)
})
