import postgres from 'postgres'
import t from 'tap'
import { PASSWORD } from '../support/fault-data.ts'
import { databaseCertificate } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { until } from '../support/plain-gateway.ts'
import { SCRAM_HBA, startPostgres } from '../support/postgres.ts'

/**
 * Servers that refuse a connection with a FATAL at its start, in each of the ways that PostgreSQL has. With TLS the
 * end of such a connection must not end the process.
 */
const MAX_CONNECTIONS = 45
const { tls, trust } = databaseCertificate(t)
const server = await startPostgres({
  tls,
  hba: SCRAM_HBA,
  settings: [`max_connections=${MAX_CONNECTIONS}`, 'superuser_reserved_connections=3'],
})
const admin = postgres(server.url, { max: 1, onnotice: () => {}, backoff: () => 0.05 })
await admin.unsafe('create database other')
// A database can be renamed only if the administrator is connected to another one.
await server.createDatabase()
const stage = await startFaultStage(server, { env: { REVOCATION_CHANNEL: 'revoked', ...trust } })
const { roles } = stage
const name = new URL(stage.databaseUrl).pathname.slice(1)
t.teardown(async () => {
  await stage.close()
  await admin.end({ timeout: 1 })
  await server.close()
})

const endConnections = () =>
  admin`select pg_terminate_backend(pid) from pg_stat_activity where usename in ${admin(roles)}`

async function alterRoles(change: string): Promise<void> {
  for (const role of roles) await admin.unsafe(`alter role ${role} ${change}`)
}

for (const { title, breaks, mends } of [
  { title: 'the password is wrong', breaks: "password 'another one'", mends: `password '${PASSWORD}'` },
  { title: 'the role may have no connection', breaks: 'connection limit 0', mends: 'connection limit -1' },
  { title: 'the role may not log in', breaks: 'nologin', mends: 'login' },
  {
    title: "the role's password has expired",
    breaks: "valid until '2001-01-01'",
    mends: "valid until 'infinity'",
  },
]) {
  t.test(title, (t) =>
    stage.stands(t, {
      async breaks() {
        await alterRoles(breaks)
        await endConnections()
      },
      mends: () => alterRoles(mends),
    }),
  )
}

t.test('the gateways survive a rejection by pg_hba.conf', (t) =>
  stage.stands(t, {
    async breaks() {
      await server.setHba([SCRAM_HBA[0]!, 'host all all 127.0.0.1/32 reject'])
      await until(async () => {
        await endConnections()
        return stage.isDown()
      })
    },
    mends: () => server.setHba(SCRAM_HBA),
  }),
)

t.test('the gateways survive a database that allows no connections, or is renamed', (t) =>
  stage.stands(t, {
    async breaks() {
      await admin.unsafe(`alter database ${name} allow_connections false`)
      await endConnections()
      await until(stage.isDown)
      await until(() =>
        admin.unsafe(`alter database ${name} rename to elsewhere`).then(
          () => true,
          () => endConnections().then(() => false),
        ),
      )
    },
    async mends() {
      await admin.unsafe(`alter database elsewhere rename to ${name}`)
      await admin.unsafe(`alter database ${name} allow_connections true`)
    },
  }),
)

t.test('the gateways survive a server whose connections are all used by others', (t) => {
  const others: postgres.Sql[] = []
  return stage.stands(t, {
    // An ended connection frees a slot, which a gateway may use a moment later; the loop below waits for that.
    shows: 'nowhere',
    async breaks() {
      await admin.unsafe(
        "do $$ begin create role other login password 'other'; exception when others then null; end $$",
      )
      await endConnections()
      const url = server.url.replace('//gateway@', '//other:other@')
      // Opens connections until none is accepted, and again for the slots that the gateways have given up.
      await until(async () => {
        await endConnections()
        const more = Array.from({ length: 8 }, () =>
          postgres(url, { max: 1, onnotice: () => {}, fetch_types: false }),
        )
        others.push(...more)
        const got = await Promise.allSettled(more.map((sql) => sql`select 1`))
        if (got.every(({ status }) => status === 'fulfilled')) return false
        return stage.isDown()
      })
    },
    mends: () => Promise.all(others.map((sql) => sql.end({ timeout: 1 }))),
  })
})

t.test('the gateways survive a server that is restarted repeatedly, also while it starts', (t) =>
  stage.stands(t, {
    shows: 'nowhere',
    async breaks() {
      for (const mode of ['immediate', 'fast', 'immediate', 'fast'] as const) {
        await server.stop(mode)
        await server.start()
      }
    },
    mends: () => {},
  }),
)
