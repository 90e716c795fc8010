import postgres from 'postgres'
import t, { type Test } from 'tap'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase, type Query } from '../../gateway/database/database.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

const DEADLINE_MS = 5000
const server = await startPostgres()
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
await admin`create table notes (text text primary key)`
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await server.close()
})

function open(t: Test) {
  const database = createDatabase({
    url: server.url,
    connections: 1,
    prepare: true,
    scheduler: systemScheduler,
  })
  t.teardown(() => database.close())
  return database
}

const note = (query: Query, text: string) =>
  query({ text: 'insert into notes values ($1)', parameters: [text] })
const notes = async () => (await admin`select text from notes order by text`).map(({ text }) => text)
const pidOf = async (query: Query) =>
  Number((await query({ text: 'select pg_backend_pid()', parameters: [] }))[0]![0])

t.test('a transaction is committed as a whole, and nothing of it is seen before', async (t) => {
  const result = await open(t).transaction(async (query) => {
    await note(query, 'one')
    await note(query, 'two')
    t.same(await notes(), [], 'no other session sees it before')
    return 'done'
  }, DEADLINE_MS)
  t.equal(result, 'done')
  t.same(await notes(), ['one', 'two'])
})

t.test(
  'a transaction whose task throws commits nothing and leaves its connection to the next one',
  async (t) => {
    const database = open(t)
    let pid = 0
    const failed = database.transaction(async (query) => {
      pid = await pidOf(query)
      await note(query, 'three')
      throw new TypeError('no')
    }, DEADLINE_MS)
    await t.rejects(failed, TypeError)
    t.same(await notes(), ['one', 'two'])
    t.equal(await database.transaction(pidOf, DEADLINE_MS), pid)
  },
)

t.test('a transaction with a statement that the server refuses commits nothing', async (t) => {
  const database = open(t)
  const failed = database.transaction(async (query) => {
    await note(query, 'three')
    await note(query, 'one')
  }, DEADLINE_MS)
  await t.rejects(failed, { code: '23505', stale: false })
  t.same(await notes(), ['one', 'two'])
})

t.test('a transaction whose connection is lost fails, and does not go on with another one', async (t) => {
  const database = open(t)
  const failed = database.transaction(async (query) => {
    await admin`select pg_terminate_backend(${await pidOf(query)})`
    await note(query, 'three').catch(() => {})
    await note(query, 'four')
  }, DEADLINE_MS)
  await t.rejects(failed)
  t.same(await notes(), ['one', 'two'])
})

t.test(
  'a transaction past its deadline fails while it waits for a lock, and is not committed afterwards',
  async (t) => {
    const database = open(t)
    const holder = await admin.reserve()
    t.teardown(() => holder.release())
    await holder`select pg_advisory_lock(5)`
    const late = database.transaction(async (query) => {
      await note(query, 'three')
      await query({ text: 'select pg_advisory_xact_lock(5)', parameters: [] })
    }, 200)
    await t.rejects(late, { code: 'DEADLINE' })
    await holder`select pg_advisory_unlock(5)`
    await until(async () => {
      const [row] =
        await holder`select count(*)::int as count from pg_stat_activity where application_name = 'poweron-gateway'`
      return row!.count === 0
    })
    t.same((await holder`select text from notes`).length, 2)
  },
)

t.test('a transaction whose task takes longer than the deadline is not committed', async (t) => {
  const late = open(t).transaction(async (query) => {
    await note(query, 'three')
    await new Promise((resolve) => setTimeout(resolve, 150))
  }, 100)
  await t.rejects(late, { code: 'DEADLINE' })
})
