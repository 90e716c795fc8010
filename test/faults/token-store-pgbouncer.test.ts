import postgres from 'postgres'
import t from 'tap'
import { COVERING_KINDS, databaseCertificate } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { pgbouncerIsInstalled, pgbouncerKeepsStatements, startPgbouncer } from '../support/pgbouncer.ts'
import { startPostgres } from '../support/postgres.ts'

if (pgbouncerIsInstalled()) {
  const { tls, trust } = databaseCertificate(t)
  const server = await startPostgres()
  const pooler = await startPgbouncer(server.port, { tls, roles: COVERING_KINDS.map(({ role }) => role) })
  const stage = await startFaultStage(server, {
    kinds: COVERING_KINDS.map((kind) => ({
      ...kind,
      urlOf: (url: string) => url.replace(`:${server.port}/`, `:${pooler.port}/`),
    })),
    env: { DATABASE_PREPARE: String(pgbouncerKeepsStatements()), ...trust },
    onFailure: () => pooler.close(),
  })
  t.teardown(async () => {
    await stage.close()
    await pooler.close()
    await server.close()
  })

  t.test('in transaction mode of PgBouncer the gateways survive a stop of the database', (t) =>
    stage.stands(t, { breaks: () => server.stop(), mends: () => server.start() }),
  )

  t.test('behind PgBouncer the gateways survive a crash of the database', (t) =>
    stage.stands(t, { breaks: () => server.kill9(), mends: () => server.start() }),
  )

  t.test('behind PgBouncer the gateways survive a frozen database', (t) =>
    stage.stands(t, { breaks: () => server.freeze(), mends: () => server.thaw() }),
  )

  t.test('the gateways survive a restart of PgBouncer itself', (t) =>
    stage.stands(t, { breaks: () => pooler.kill(), mends: () => pooler.start() }),
  )

  t.test("the gateways survive the termination of all of PgBouncer's server connections", (t) => {
    const admin = postgres(server.url, { max: 1, onnotice: () => {} })
    return stage.stands(t, {
      shows: 'nowhere',
      breaks: () =>
        admin`select pg_terminate_backend(pid) from pg_stat_activity where usename in ${admin(stage.roles)}`,
      mends: () => admin.end(),
    })
  })
} else {
  t.comment('PgBouncer is not installed here: what it does between gateway and database is not tested')
  t.pass('nothing to test without PgBouncer')
}
