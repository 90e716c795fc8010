import postgres from 'postgres'
import t, { type Test } from 'tap'
import { systemScheduler as scheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase, DatabaseError } from '../../gateway/database/database.ts'
import type { Timeline } from '../../gateway/database/timeline.ts'
import { createTimelineFence } from '../../gateway/database/timeline-fence.ts'
import { watchTimelines } from '../../gateway/database/timeline-watch.ts'
import { startFreezingRelay } from '../support/freezing-relay.ts'
import { pgbouncerIsInstalled, pgbouncerKeepsStatements, startPgbouncer } from '../support/pgbouncer.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres, startStandby } from '../support/postgres.ts'
import { startSwitchingRelay } from '../support/switching-relay.ts'

const DEADLINE_MS = 5000
const LOOK_MS = 250
const TIMELINE = 'left(pg_walfile_name(pg_current_wal_lsn()), 8)'
const CHECKED = {
  text: 'select false',
  fencedText: `select ${TIMELINE}`,
  parameters: [],
  primaryOnly: true,
}

const [first, second] = await Promise.all([startPostgres(), startPostgres()])
const admin = postgres(first.url, { max: 1, onnotice: () => {} })
await admin.unsafe(`
  create table notes (text text);
  create role untold login;
  create role unnamed login;
  create role granted_later login;
  create role named_later login;
  revoke execute on function pg_walfile_name(pg_lsn) from public;
  revoke execute on function pg_control_system() from public;
  grant execute on function pg_walfile_name(pg_lsn) to unnamed, named_later;
  grant execute on function pg_control_system() to granted_later`)
const [control] = await admin`select system_identifier::text as id from pg_control_system()`
const system = String(control!.id)
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await Promise.all([first.close(), second.close()])
})

const as = (role: string) => first.url.replace('//gateway@', `//${role}@`)

function open(t: Test, url = first.url) {
  const fence = createTimelineFence()
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler, fence })
  t.teardown(() => database.close())
  return { fence, database, ask: () => database.query(CHECKED, DEADLINE_MS) }
}

async function codeOf(query: Promise<unknown>): Promise<string> {
  try {
    await query
    return 'good'
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    return error.code
  }
}

t.test('an answer that is on its way when a newer timeline is met decides nothing', async (t) => {
  const { fence, database } = open(t)
  const fencedText = `select ${TIMELINE} from pg_sleep(0.3)`
  const answer = codeOf(database.query({ ...CHECKED, fencedText }, DEADLINE_MS))
  await until(() => fence.newest !== null)
  fence.note({ system, number: 2 })
  t.equal(await answer, 'FENCED')
  t.equal(fence.refused, 1)
})

t.test('an idle connection to a replaced primary is closed when a newer timeline is met', async (t) => {
  const { fence, ask } = open(t)
  await ask()
  const pids = async () =>
    (await admin`select pid from pg_stat_activity where application_name = 'poweron-gateway'`).length
  t.equal(await pids(), 1)
  fence.note({ system, number: 2 })
  await until(async () => (await pids()) === 0)
  t.equal(await codeOf(ask()), 'FENCED', 'and no other one is opened in its place')
})

t.test('the timelines of another database system say nothing about this one', async (t) => {
  const { fence, ask } = open(t)
  fence.note({ system: '1', number: 99 })
  t.equal(await codeOf(ask()), 'good')
  fence.note({ system: '1', number: 100 })
  t.equal(await codeOf(ask()), 'good')
})

t.test('with one address an answer of an older server is repeated on a new connection', async (t) => {
  const { database, ask } = open(t)
  await ask()
  const older = { ...CHECKED, fencedText: `select '00000000'` }
  await t.rejects(database.query(older, DEADLINE_MS), { code: 'FENCED', stale: true })
  t.equal(await codeOf(ask()), 'good')
})

t.test('an answer of a newer server than the one that the connection began with is none', async (t) => {
  const { database, fence, ask } = open(t)
  await ask()
  const newer = { ...CHECKED, fencedText: `select '0000000F'` }
  await t.rejects(database.query(newer, DEADLINE_MS), { code: 'REPLACED', stale: true })
  t.equal(fence.newest?.number, 1, 'the timeline may be that of another system')
  t.equal(await codeOf(ask()), 'good')
})

t.test('of a checked statement only a timeline is an answer', async (t) => {
  const { database, ask } = open(t)
  await ask()
  for (const [cell, code] of [
    ["'standby'", 'STANDBY'],
    ["''", 'STANDBY'],
    ['true', 'STANDBY'],
    ["'1'", 'STANDBY'],
    ['null', 'CHANGED'],
    ['false', 'good'],
  ] as const) {
    const statement = { ...CHECKED, fencedText: `select ${cell}` }
    t.equal(await codeOf(database.query(statement, DEADLINE_MS)), code, cell)
  }
})

t.test('a role that may not ask for the timeline is served without it', async (t) => {
  const { database, fence } = open(t, as('untold'))
  t.same(await database.query(CHECKED, DEADLINE_MS), [[false]], 'the statement has no timeline')
  t.equal(fence.newest, null)
  fence.note({ system, number: 2 })
  t.equal(await codeOf(database.query(CHECKED, DEADLINE_MS)), 'good')
})

t.test('a role that may not read the system identifier is fenced by the timeline alone', async (t) => {
  const { fence, ask } = open(t, as('unnamed'))
  t.same(await ask(), [['00000001']])
  t.same(fence.newest, { system: '', number: 1 })
  fence.note({ system: '', number: 2 })
  t.equal(await codeOf(ask()), 'FENCED')
})

for (const { role, told, right } of [
  { role: 'granted_later', told: 'false', right: 'pg_walfile_name(pg_lsn)' },
  { role: 'named_later', told: '00000001', right: 'pg_control_system()' },
]) {
  t.test(`a right to call ${right} that is granted later fences connections of before too`, async (t) => {
    const { fence, database, ask } = open(t, as(role))
    t.equal(String((await ask())[0]![0]), told)
    await admin.unsafe(`grant execute on function ${right} to ${role}`)
    const later = createDatabase({ url: as(role), connections: 1, prepare: true, scheduler, fence })
    t.teardown(() => later.close())
    await later.query(CHECKED, DEADLINE_MS)
    t.equal(fence.newest?.number, 1)
    t.same(await ask(), [['00000001']])
    const opened = database.connectionsOpened
    await ask()
    t.equal(database.connectionsOpened, opened, 'they are replaced once')
    fence.note({ system, number: 2 })
    t.equal(await codeOf(ask()), 'FENCED')
  })
}

t.test('one system is one whether a role may read its identifier or not', (t) => {
  const fence = createTimelineFence()
  fence.note({ system: '', number: 2 })
  t.ok(fence.isFenced({ system, number: 1 }))
  fence.note({ system, number: 3 })
  t.ok(fence.isFenced({ system: '', number: 2 }))
  t.notOk(fence.isFenced({ system: '', number: 3 }))
  t.end()
})

t.test('a transaction', async (t) => {
  const note = { text: `insert into notes values ('x')`, parameters: [] }
  const notes = async () => (await admin`select from notes`).length

  await t.test('commits nothing where a newer timeline is met before its end', async (t) => {
    const { fence, database } = open(t)
    const done = database.transaction(async (query) => {
      await query(CHECKED)
      await query(note)
      fence.note({ system, number: 2 })
    }, DEADLINE_MS)
    t.equal(await codeOf(done), 'FENCED')
  })

  await t.test('has no answer where it is met before that of COMMIT', async (t) => {
    await admin.unsafe(`
      create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.4); return null; end $$;
      create constraint trigger slow after insert on notes deferrable initially deferred for each row execute function slow()`)
    const { fence, database } = open(t)
    const before = await notes()
    const done = codeOf(database.transaction((query) => query(note), DEADLINE_MS))
    await until(async () => {
      const rows = await admin`select from pg_stat_activity where query = 'commit' and state = 'active'`
      return rows.length === 1
    })
    fence.note({ system, number: 2 })
    t.equal(await done, 'FENCED')
    t.equal(await notes(), before + 1, 'though the old server has committed it')
  })
})

function watch(t: Test, hosts: readonly string[], by = scheduler) {
  const fence = createTimelineFence()
  const newer: Timeline[] = []
  fence.onNewer((timeline) => newer.push(timeline))
  const url = `postgres://gateway@${hosts.join(',')}/postgres`
  const watching = watchTimelines({ url, prepare: true, scheduler: by, fence })
  t.teardown(() => watching.close())
  return { url, fence, newer, ...watching }
}

const hostOf = ({ port }: { readonly port: number }) => `127.0.0.1:${port}`

const looks = async (sql = admin) =>
  (await sql`select state from pg_stat_activity where application_name = 'poweron-gateway-look'`).length

t.test('of several hosts each has one connection for its looks, and a single host has none', async (t) => {
  const other = postgres(second.url, { max: 1 })
  t.teardown(() => other.end({ timeout: 1 }))
  await watch(t, [hostOf(first)]).first
  await watch(t, [hostOf(first), hostOf(first)]).first
  t.equal(await looks(), 0)
  const { first: looked, fence } = watch(t, [hostOf(first), hostOf(second), hostOf(first)])
  await looked
  t.same(fence.newest?.number, 1)
  for (let n = 0; n < 5; n++) t.same([await looks(), await looks(other)], [1, 1])
})

t.test('a host that is down holds up no start, and is looked at as soon as it is back', async (t) => {
  await second.stop()
  const { first: looked, fence } = watch(t, [hostOf(first), hostOf(second)])
  const began = performance.now()
  await looked
  t.ok(performance.now() - began < 1000)
  t.equal(fence.newest?.number, 1)
  await second.start()
  const back = performance.now()
  const other = postgres(second.url, { max: 1 })
  t.teardown(() => other.end({ timeout: 1 }))
  await until(async () => (await looks(other)) === 1, 5000, 5)
  t.ok(performance.now() - back < 2 * LOOK_MS, `${Math.round(performance.now() - back)} ms`)
})

t.test('a host that was frozen has one connection for its looks when it goes on', async (t) => {
  const other = postgres(second.url, { max: 1 })
  t.teardown(() => other.end({ timeout: 1 }))
  await watch(t, [hostOf(first), hostOf(second)]).first
  t.equal(await looks(other), 1)
  second.freeze()
  // Past the deadline of a look, and until after it was given up.
  await new Promise((resolve) => setTimeout(resolve, 2500))
  second.thaw()
  const seen = new Set<number>()
  const end = performance.now() + 2500
  while (performance.now() < end) seen.add(await looks(other))
  t.notOk(
    [...seen].some((count) => count > 1),
    [...seen].join(),
  )
  t.equal(await looks(other), 1)
})

t.test(
  'behind balancers, whose open connections stay with the old primary, a promotion is met too',
  async (t) => {
    const old = await startPostgres()
    t.teardown(() => old.close())
    const next = await startStandby(old)
    t.teardown(() => next.close())
    const balancers = await Promise.all([old, old].map(({ port }) => startSwitchingRelay(port)))
    t.teardown(() => {
      for (const balancer of balancers) balancer.close()
    })
    // Its clock is fast, or this would take ten seconds.
    const hasty = { ...scheduler, now: () => scheduler.now() * 20 }
    const { first: looked, fence } = watch(t, balancers.map(hostOf), hasty)
    await looked
    const follower = postgres(next.url, { max: 1, onnotice: () => {} })
    t.teardown(() => follower.end({ timeout: 1 }))
    await follower`select pg_promote()`
    for (const balancer of balancers) balancer.switchTo(next.port)
    await until(() => fence.newest?.number === 2)
    await until(async () => (await looks(follower)) === 2)
    for (let n = 0; n < 20; n++) t.ok((await looks(follower)) <= 2, 'each has one connection at most')
  },
)

t.test('with two primaries', async (t) => {
  const old = await startPostgres()
  t.teardown(() => old.close())
  const next = await startStandby(old)
  t.teardown(() => next.close())
  const follower = postgres(next.url, { max: 1, onnotice: () => {} })
  t.teardown(() => follower.end({ timeout: 1 }))
  const relay = await startFreezingRelay(old.port)
  t.teardown(() => relay.close())
  const poolers = pgbouncerIsInstalled()
    ? await Promise.all([old, next].map(({ port }) => startPgbouncer(port)))
    : []
  t.teardown(() => Promise.all(poolers.map((pooler) => pooler.close())))
  const ways = [[old, next], [relay, next], poolers].filter(({ length }) => length > 0)
  const watches = ways.map((servers) => watch(t, servers.map(hostOf)))
  await Promise.all(watches.map(({ first }) => first))
  const databases = watches.map(({ fence, url }) => {
    const prepare = poolers.length === 0 || pgbouncerKeepsStatements()
    const database = createDatabase({ url, connections: 2, prepare, scheduler, fence })
    t.teardown(() => database.close())
    return database
  })
  for (const database of databases) t.equal(await codeOf(database.query(CHECKED, DEADLINE_MS)), 'good')
  t.equal(await looks(follower), ways.length, 'a standby is looked at too')
  relay.freeze()

  await follower`select pg_promote()`
  const promoted = performance.now()
  await until(() => watches.every(({ newer }) => newer.length === 1), 10_000, 5)
  const ms = performance.now() - promoted
  t.ok(ms < LOOK_MS, `the promotion was known after ${Math.round(ms)} ms`)
  t.match(watches[0]!.newer, [{ number: 2 }])
  for (const database of databases) {
    await until(async () => (await codeOf(database.query(CHECKED, DEADLINE_MS))) === 'good')
    t.same(await database.query(CHECKED, DEADLINE_MS), [['00000002']], 'only the new primary decides')
  }
})
