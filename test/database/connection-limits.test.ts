import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase, type DatabaseError } from '../../gateway/database/database.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres, startStandby, type TestPostgres } from '../support/postgres.ts'

const DEADLINE_MS = 300
const CONNECTIONS = 4
const ADDRESS = { text: 'select inet_server_port(), pg_backend_pid()', parameters: [] }
const SLEEP = { text: 'select pg_sleep(60)::text', parameters: [] }
const PRIMARY = { text: 'select pg_is_in_recovery()', parameters: [], primaryOnly: true }

const [server, other] = await Promise.all([startPostgres(), startPostgres()])
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await Promise.all([server.close(), other.close()])
})

function open(t: Test, url = server.url, connections = CONNECTIONS) {
  const database = createDatabase({
    url,
    connections,
    prepare: true,
    scheduler: systemScheduler,
    statementTimeoutMs: 30_000,
  })
  t.teardown(() => database.close())
  return database
}

type Opened = ReturnType<typeof open>

const sessions = async () =>
  await admin`select pid, state, query from pg_stat_activity where application_name = 'poweron-gateway'`

/** The most sessions that the server holds while `task` runs. */
async function mostSessions(task: () => Promise<unknown>): Promise<number> {
  let most = 0
  let running = true
  const counting = (async () => {
    while (running) most = Math.max(most, (await sessions()).length)
  })()
  await task()
  running = false
  await counting
  return most
}

const codeOf = (query: Promise<unknown>) =>
  query.then(
    () => 'good',
    (error: DatabaseError) => error.code,
  )
const all = (database: Opened, count = CONNECTIONS) =>
  Promise.all(Array.from({ length: count }, () => codeOf(database.query(PRIMARY, DEADLINE_MS))))

t.test('a statement past its deadline is cancelled at the server', async (t) => {
  const database = open(t)
  t.equal(await codeOf(database.query(SLEEP, DEADLINE_MS)), 'DEADLINE')
  await until(async () => !(await sessions()).some(({ query }) => String(query).includes('pg_sleep(60)')))
})

t.test(
  'statements past their deadlines never make more sessions than the pool has connections',
  async (t) => {
    const database = open(t)
    const most = await mostSessions(async () => {
      for (let round = 0; round < 5; round++)
        await Promise.all(Array.from({ length: 8 }, () => codeOf(database.query(SLEEP, DEADLINE_MS))))
    })
    t.ok(most <= CONNECTIONS, `${most}`)
    t.equal(await codeOf(database.query(PRIMARY, 5000)), 'good')
  },
)

t.test('a transaction past its deadline releases its lock at the server', async (t) => {
  const database = open(t)
  const waiting = database.transaction(async (ask) => {
    await ask({ text: 'select pg_advisory_xact_lock(7)', parameters: [] })
    await ask(SLEEP)
  }, DEADLINE_MS)
  t.equal(await codeOf(waiting), 'DEADLINE')
  await until(async () => {
    const [row] = await admin`select pg_try_advisory_xact_lock(7) as free`
    return row!.free === true
  })
})

t.test('idle connections are closed after half a minute, and the one in use stays', async (t) => {
  let ahead = 0
  // Real time, in which half a minute passes at once.
  const scheduler = {
    now: () => systemScheduler.now() + ahead,
    after: (ms: number, task: () => void) => systemScheduler.after(ms >= 20_000 ? 50 : ms, task),
  }
  const database = createDatabase({ url: server.url, connections: CONNECTIONS, prepare: true, scheduler })
  t.teardown(() => database.close())
  const nap = { text: 'select pg_sleep(0.5)::text', parameters: [] }
  await Promise.all(Array.from({ length: CONNECTIONS }, () => database.query(nap, 5000)))
  t.equal((await sessions()).length, CONNECTIONS)
  ahead += 29_900
  await database.query(PRIMARY, 5000)
  ahead += 1000
  await until(async () => (await sessions()).length === 1)
})

t.test(
  'a session whose process is stopped counts against the limit, and the other connections answer',
  async (t) => {
    const database = open(t)
    await Promise.all(
      Array.from({ length: CONNECTIONS }, () =>
        database.query({ text: 'select pg_sleep(0.3)::text', parameters: [] }, 5000),
      ),
    )
    const [stopped] = await sessions()
    process.kill(stopped!.pid, 'SIGSTOP')
    t.teardown(() => process.kill(stopped!.pid, 'SIGCONT'))
    const most = await mostSessions(async () => {
      await until(async () => (await all(database)).includes('DEADLINE'))
      await until(async () => !(await all(database)).includes('DEADLINE'))
      for (let round = 0; round < 20; round++) await all(database)
    })
    t.ok(most <= CONNECTIONS, `${most}`)
  },
)

t.test('a frozen server that goes on never holds more sessions than the pool has connections', async (t) => {
  const database = open(t)
  await all(database)
  server.freeze()
  try {
    for (let round = 0; round < 4; round++) await all(database)
  } finally {
    server.thaw()
  }
  const woken = performance.now()
  const most = await mostSessions(() =>
    until(async () => (await all(database)).every((code) => code === 'good')),
  )
  t.ok(most <= CONNECTIONS, `${most}`)
  t.ok(performance.now() - woken < 3000)
})

/** One address that leads to one server, and then to another, while what is open stays with the first. */
async function startAddress(t: Test, first: TestPostgres) {
  let target = first.port
  const sockets = new Set<Socket>()
  const relay = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {})
    }
    client.pipe(upstream).pipe(client)
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  t.teardown(() => {
    relay.close()
    for (const socket of sockets) socket.destroy()
  })
  return {
    url: `postgres://gateway@127.0.0.1:${(relay.address() as AddressInfo).port}/postgres`,
    leadTo: (next: TestPostgres) => {
      target = next.port
    },
  }
}

for (const connections of [CONNECTIONS, 40])
  t.test(
    `of ${connections} idle connections to a frozen server none is used once its address leads to another server`,
    async (t) => {
      const address = await startAddress(t, server)
      const database = open(t, address.url, connections)
      const before = await Promise.all(
        Array.from({ length: connections }, () => database.query(ADDRESS, 5000)),
      )
      t.equal(before[0]![0]![0], server.port)
      server.freeze()
      try {
        await until(async () => (await codeOf(database.query(PRIMARY, DEADLINE_MS))) === 'DEADLINE')
        address.leadTo(other)
        const moved = performance.now()
        await until(async () => (await codeOf(database.query(PRIMARY, DEADLINE_MS))) === 'good')
        t.ok(performance.now() - moved < 4000, `${performance.now() - moved}`)
      } finally {
        server.thaw()
      }
      for (let i = 0; i < 20; i++) t.equal((await database.query(ADDRESS, 5000))[0]![0], other.port)
    },
  )

t.test('a replaced primary is refused with FENCED, though it is the only host that answers', async (t) => {
  const primary = await startPostgres()
  t.teardown(() => primary.close())
  const standby = await startStandby(primary)
  t.teardown(() => standby.close())
  const database = open(t, `postgres://gateway@127.0.0.1:${primary.port},127.0.0.1:${standby.port}/postgres`)
  const ask = () => codeOf(database.query(PRIMARY, 2000))
  t.equal(await ask(), 'good')
  primary.freeze()
  const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
  try {
    await follower`select pg_promote()`
    await until(async () => (await ask()) === 'good')
  } finally {
    primary.thaw()
    await follower.end()
  }
  await standby.stop()
  const codes = new Set<string>()
  await until(async () => codes.add(await ask()).has('FENCED'))
  for (let i = 0; i < 10; i++) codes.add(await ask())
  t.notOk(codes.has('good'), [...codes].join())
  await standby.start()
  await until(async () => (await ask()) === 'good')
})

t.test('after a host was frozen no query goes to it on its old connections', async (t) => {
  const hosts = [server, other].map(({ port }) => `127.0.0.1:${port}`).join()
  const database = open(t, `postgres://gateway@${hosts}/postgres`)
  const portOf = async (deadlineMs = DEADLINE_MS) =>
    Number((await database.query(ADDRESS, deadlineMs))[0]![0])
  await Promise.all(Array.from({ length: CONNECTIONS }, () => portOf(5000)))
  server.freeze()
  try {
    await until(async () => (await portOf().catch(() => 0)) === other.port)
  } finally {
    server.thaw()
  }
  for (let i = 0; i < 20; i++) t.equal(await portOf(5000), other.port)
})
