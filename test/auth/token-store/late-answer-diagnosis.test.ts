import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createLateAnswerDiagnosis } from '../../../gateway/auth/token-store/late-answer-diagnosis.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import type { StoreFault } from '../../../gateway/core/store-fault.ts'
import { createDatabase } from '../../../gateway/database/database.ts'
import { until } from '../../support/plain-gateway.ts'
import { startPostgres } from '../../support/postgres.ts'

const LATE: StoreFault = { kind: 'late', code: 'DEADLINE', cause: 'no answer' }

const server = await startPostgres({ settings: ['max_prepared_transactions=2'] })
const url = await server.createDatabase()
const admin = postgres(url, { max: 1, onnotice: () => {} })
await admin.unsafe(`
  create role app login;
  grant select on "Token" to app;
  create view active as select * from "Token";
  create view outer_view as select * from active;
  grant select on outer_view to app;
  create table parted (like "Token") partition by list (status);
  create table part_one partition of parted for values in ('ACTIVE')`)
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await server.close()
})

function createDiagnosis(t: Test, table = '"Token"', at = url) {
  const database = createDatabase({
    url: at.replace('//gateway@', '//app@'),
    connections: 1,
    prepare: true,
    scheduler: systemScheduler,
  })
  t.teardown(() => database.close())
  return createLateAnswerDiagnosis(database, { table, timeoutMs: 500.25 })
}

/** A session of another application that is in the middle of a transaction. */
async function hold(t: Test, sql: string, options: { readonly waits?: boolean } = {}) {
  const other = postgres(url, { max: 1, onnotice: () => {}, connection: { application_name: 'migration' } })
  const session = await other.reserve()
  const [row] = await session
    .unsafe('begin; select pg_backend_pid() as pid')
    .then((results) => results.flat())
  const done = session.unsafe(sql)
  done.catch(() => {})
  if (options.waits !== true) await done
  const end = async () => {
    await admin`select pg_terminate_backend(${row!.pid})`
    await other.end({ timeout: 0 }).catch(() => {})
  }
  t.teardown(end)
  return { pid: row!.pid as number, end }
}

t.test('a lock on the table is reported with its holder, also to a role with SELECT only', async (t) => {
  const { pid } = await hold(t, 'lock table "Token" in access exclusive mode')
  const fault = await createDiagnosis(t)(LATE)
  t.match(fault, { kind: 'lock', code: 'DEADLINE' })
  t.match(fault.cause, `the token table "Token" is locked (DEADLINE), held by process ${pid}, role gateway`)
  t.match(fault.cause, 'application migration')
  t.match(fault.cause, `pg_terminate_backend(${pid})`)
})

t.test('a lock on the table of a view, on an index or on a partition is reported', async (t) => {
  const cases = [
    ['"outer_view"', 'lock table "Token" in access exclusive mode'],
    ['"Token"', 'reindex index "Token_pkey"'],
    ['"parted"', 'lock table part_one in access exclusive mode'],
  ] as const
  for (const [table, sql] of cases) {
    const { end } = await hold(t, sql)
    t.match(await createDiagnosis(t, table)(LATE), { kind: 'lock' }, sql)
    await end()
  }
})

t.test('a lock that waits for another one is reported with the process it waits for', async (t) => {
  const reader = await hold(t, 'select * from "Token"')
  const waiting = await hold(t, 'alter table "Token" add column more text', { waits: true })
  await until(
    async () => (await admin`select from pg_locks where pid = ${waiting.pid} and not granted`).length > 0,
  )
  const { kind, cause } = await createDiagnosis(t)(LATE)
  t.equal(kind, 'lock')
  t.match(cause, `asked for by process ${waiting.pid}`)
  t.match(cause, `waits for process ${reader.pid}`)
  t.match(cause, `pg_terminate_backend(${reader.pid})`)
})

t.test('a lock of a prepared transaction is reported with ROLLBACK PREPARED as the remedy', async (t) => {
  const { end } = await hold(
    t,
    `lock table "Token" in access exclusive mode; prepare transaction 'left over'`,
  )
  t.match((await createDiagnosis(t)(LATE)).cause, /held by a prepared transaction; .*ROLLBACK PREPARED/)
  await admin.unsafe(`rollback prepared 'left over'`)
  await end()
})

t.test('without an exclusive lock the look-ups are reported as slow', async (t) => {
  const { end } = await hold(t, 'lock table "Token" in row exclusive mode')
  t.match(await createDiagnosis(t)(LATE), {
    kind: 'slow',
    code: 'DEADLINE',
    cause: /the database server answers, but look-ups of tokens are too slow .*no answer within 500 ms/,
  })
  await end()
})

t.test('a server that does not answer at all is reported as frozen or cut off', async (t) => {
  server.freeze()
  t.teardown(() => server.thaw())
  const began = performance.now()
  t.match(await createDiagnosis(t)(LATE), { kind: 'silent', cause: /frozen, overloaded or cut off/ })
  t.ok(performance.now() - began < 1500)
})

t.test('a server that has stopped meanwhile is reported as stopped', async (t) => {
  const at = url.replace(`:${server.port}`, ':1')
  t.match(await createDiagnosis(t, '"Token"', at)(LATE), { kind: 'refused', code: 'ECONNREFUSED' })
})
