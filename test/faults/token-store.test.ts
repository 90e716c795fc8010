import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import t from 'tap'
import { databaseCertificate } from '../support/fault-gateways.ts'
import { onlyGoodOr503, startFaultStage } from '../support/fault-stage.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

/**
 * Gateways with and without TLS, of one process and of several, run at once. To survive a fault means: all answers are
 * right or 503, never 401 or with another identity; no process ends, and all recover by themselves.
 */
const { tls, trust } = databaseCertificate(t)
const server = await startPostgres({ tls })
const stage = await startFaultStage(server, { env: { REVOCATION_CHANNEL: 'revoked', ...trust } })
const { databaseUrl, roles } = stage
t.teardown(async () => {
  await stage.close()
  await server.close()
})

t.test('each gateway connects to the database as its URL says', async (t) => {
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const rows = await admin`
    select usename as role, bool_and(ssl) as every, bool_or(ssl) as any
    from pg_stat_activity join pg_stat_ssl using (pid) where usename in ${admin(roles)} group by usename`
  await admin.end()
  t.same(
    new Map(rows.map(({ role, every, any }) => [role, [every, any]])),
    new Map([
      ['app_plain', [false, false]],
      ['app_require', [true, true]],
      ['app_verify', [true, true]],
    ]),
  )
})

t.test('the gateways survive a stop and start of the database', (t) =>
  stage.stands(t, { breaks: () => server.stop(), mends: () => server.start() }),
)

t.test('the gateways survive a restart of the database', (t) =>
  stage.stands(t, { shows: 'nowhere', breaks: () => server.stop(), mends: () => server.start() }),
)

t.test('the gateways survive a crash of the database', (t) =>
  stage.stands(t, { breaks: () => server.kill9(), mends: () => server.start() }),
)

t.test('the gateways survive a frozen database', (t) =>
  stage.stands(t, { breaks: () => server.freeze(), mends: () => server.thaw() }),
)

t.test('a database that comes back as a standby, which may lag behind, is not used', (t) => {
  const signal = join(server.cluster, 'standby.signal')
  return stage.stands(t, {
    async breaks() {
      await server.stop()
      await writeFile(signal, '')
      await server.start()
    },
    async mends() {
      await server.stop()
      await rm(signal)
      await server.start()
    },
  })
})

t.test('the gateways survive a lock on the table', (t) => {
  const locker = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const released = Promise.withResolvers<void>()
  return stage.stands(t, {
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

t.test('after the termination of all connections almost no request fails', async (t) => {
  const admin = postgres(server.url, { max: 1, onnotice: () => {} })
  const seen = await stage.stands(t, {
    shows: 'nowhere',
    async breaks() {
      for (let i = 0; i < 5; i++) {
        await admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'poweron-gateway%'`
        for (let good = 0; good < 10; good++) await until(stage.isGood)
      }
    },
    mends: () => admin.end(),
  })
  t.ok(seen.filter(({ outcome }) => outcome === 'good').length > seen.length * 0.9)
})

t.test('the gateways survive a reached connection limit', (t) => {
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  return stage.stands(t, {
    async breaks() {
      for (const role of roles) await admin.unsafe(`alter role ${role} connection limit 0`)
      await admin`select pg_terminate_backend(pid) from pg_stat_activity where usename in ${admin(roles)}`
    },
    async mends() {
      for (const role of roles) await admin.unsafe(`alter role ${role} connection limit -1`)
      await admin.end()
    },
  })
})

t.test('no slow look-up waits longer than its deadline', async (t) => {
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const seen = await stage.stands(t, {
    // The probe looks up no token, so it is quick.
    shows: 'answers',
    breaks: () =>
      admin.unsafe(`
        alter table "Token" rename to "Tokens";
        create view "Token" as select t.* from "Tokens" t, pg_sleep(2);
        grant select, insert, update on "Token" to ${roles.join(', ')}`),
    mends: () => admin.unsafe('drop view "Token"; alter table "Tokens" rename to "Token"'),
  })
  await admin.end()
  const slow = seen.filter(({ what, outcome }) => what === 'visit' && outcome === '503').map(({ ms }) => ms)
  t.ok(Math.max(...slow) < 1500, `${Math.max(...slow)}`)
})

t.test('with a read-only database requests are served, and no session is refreshed', async (t) => {
  await until(stage.isGood)
  const name = new URL(databaseUrl).pathname.slice(1)
  const admin = postgres(server.url, { max: 1, onnotice: () => {} })
  const reconnect = () =>
    admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'poweron-gateway%'`
  const seen = await stage.underLoad(async () => {
    await admin.unsafe(`alter database ${name} set default_transaction_read_only = on`)
    await reconnect()
    await until(async () => (await stage.refresh(0)).outcome === '503')
    // By now every gateway has replaced the connections that were cut.
    await until(stage.isGood)
    for (let n = 0; n < 50; n++) t.match(await stage.visit(n), { outcome: 'good' })
    await admin.unsafe(`alter database ${name} set default_transaction_read_only = off`)
    // Connections that were made meanwhile would stay read-only.
    await until(async () => (await stage.refresh(0)).outcome === 'good')
  })
  await admin.end()
  onlyGoodOr503(t, seen)
  for (const gateway of stage.gateways) gateway.checkProcesses(t)
  for (let n = 0; n < 6; n++) t.match(await stage.refresh(n), { outcome: 'good' }, 'no session was lost')
})
