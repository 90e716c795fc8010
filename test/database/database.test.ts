import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase, type Database, DatabaseError } from '../../gateway/database/database.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

const DEADLINE_MS = 5000
const PID = { text: 'select pg_backend_pid()', parameters: [] }
const PRIMARY = { text: 'select pg_is_in_recovery(), 1', parameters: [], primaryOnly: true }

const [server, other] = await Promise.all([startPostgres(), startPostgres()])
const admin = postgres(server.url, { max: 1, onnotice: () => {}, backoff: false } as never)
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await Promise.all([server.close(), other.close()])
})

function open(
  t: Test,
  url = server.url,
  options: { connections?: number; prepare?: boolean } = {},
): Database {
  const database = createDatabase({
    url,
    connections: 2,
    prepare: true,
    scheduler: systemScheduler,
    ...options,
  })
  t.teardown(() => database.close())
  return database
}

/** The error of a query that is to fail, and how long it took to. */
async function failure(query: Promise<unknown>): Promise<{ error: DatabaseError; ms: number }> {
  const began = performance.now()
  try {
    await query
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    return { error, ms: performance.now() - began }
  }
  throw new Error('the query was answered')
}

const hostOf = (url: string) => new URL(url).host
const together = (...hosts: string[]) => `postgres://gateway@${hosts.join(',')}/postgres`

async function connectionsOf(name = 'poweron-gateway'): Promise<number> {
  const [row] = await admin`select count(*)::int from pg_stat_activity where application_name = ${name}`
  return row!.count
}

t.test('with more queries than connections each connection carries one query at a time', async (t) => {
  const database = open(t)
  const slow = { text: 'select pg_backend_pid(), pg_sleep(0.05)::text', parameters: [] }
  const began = performance.now()
  const answers = await Promise.all(Array.from({ length: 6 }, () => database.query(slow, DEADLINE_MS)))
  t.equal(new Set(answers.map((rows) => rows[0]![0])).size, 2)
  t.ok(performance.now() - began >= 145, 'three rounds of 50 ms: none was sent behind one that runs')
})

t.test(
  'a query that waits for a connection past its deadline fails with BUSY and costs no connection',
  async (t) => {
    const database = open(t, server.url, { connections: 1 })
    await database.query(PID, DEADLINE_MS)
    const slow = database.query({ text: 'select pg_sleep(0.3)::text', parameters: [] }, DEADLINE_MS)
    const { error, ms } = await failure(database.query(PID, 50))
    t.equal(error.code, 'BUSY')
    t.ok(ms < 250, `${ms}`)
    await slow
    t.equal((await database.query(PID, DEADLINE_MS)).length, 1)
  },
)

t.test('a query past its deadline closes its connection, and the next query has a new one', async (t) => {
  const database = open(t, server.url, { connections: 1 })
  const [[before]] = (await database.query(PID, DEADLINE_MS)) as [[number]]
  const { error, ms } = await failure(
    database.query({ text: 'select pg_sleep(3)::text', parameters: [] }, 80),
  )
  t.equal(error.code, 'DEADLINE')
  t.ok(ms < 500, `${ms}`)
  const [[after]] = (await database.query(PID, DEADLINE_MS)) as [[number]]
  t.not(after, before)
})

t.test('a statement that the server refuses leaves its connection open', async (t) => {
  const database = open(t, server.url, { connections: 1 })
  const [[before]] = (await database.query(PID, DEADLINE_MS)) as [[number]]
  const { error } = await failure(database.query({ text: 'select 1 / 0', parameters: [] }, DEADLINE_MS))
  t.equal(error.code, '22012')
  t.same([error.answered, error.stale], [true, false])
  t.same(await database.query(PID, DEADLINE_MS), [[before]])
})

t.test(
  'a frozen server fails queries by their deadlines, and keeps no extra connections when it goes on',
  async (t) => {
    await until(async () => (await connectionsOf()) === 0)
    const database = open(t)
    await Promise.all([database.query(PID, DEADLINE_MS), database.query(PID, DEADLINE_MS)])
    server.freeze()
    try {
      for (let round = 0; round < 5; round++) {
        const failures = await Promise.all([1, 2].map(() => failure(database.query(PID, 60))))
        t.same(
          failures.map(({ error }) => error.code),
          ['DEADLINE', 'DEADLINE'],
        )
      }
    } finally {
      server.thaw()
    }
    await database.query(PID, DEADLINE_MS)
    await until(async () => (await connectionsOf()) <= 2)
    t.ok((await connectionsOf()) <= 2)
  },
)

t.test('a stopped server fails queries at once, and a restarted one is used at once', async (t) => {
  const database = open(t)
  await database.query(PID, DEADLINE_MS)
  await server.stop()
  await failure(database.query(PID, DEADLINE_MS))
  const { error, ms } = await failure(database.query(PID, DEADLINE_MS))
  t.equal(error.code, 'ECONNREFUSED')
  t.equal(error.stale, false)
  t.ok(ms < 500, `${ms}`)
  for (let i = 0; i < 30; i++) await failure(database.query(PID, DEADLINE_MS))
  await server.start()
  const began = performance.now()
  t.equal((await database.query(PID, DEADLINE_MS)).length, 1)
  t.ok(performance.now() - began < 1000, 'thirty failures lead to no back-off')
})

t.test('idle connections that were lost are replaced, and no query fails', async (t) => {
  const database = open(t)
  await database.query(PID, DEADLINE_MS)
  for (const end of [() => server.stop(), () => server.kill9()]) {
    await end()
    await server.start()
    t.equal((await database.query(PID, DEADLINE_MS)).length, 1)
  }
})

t.test('a query whose connection is terminated fails as stale, and a second try succeeds', async (t) => {
  const database = open(t)
  await database.query(PID, DEADLINE_MS)
  const sleeping = failure(database.query({ text: 'select pg_sleep(20)::text', parameters: [] }, DEADLINE_MS))
  const terminate = () => admin`
    select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'poweron-gateway' and query like '%pg_sleep(20)%'`
  await until(async () => (await terminate()).length > 0)
  const { error } = await sleeping
  t.equal(error.stale, true)
  t.equal((await database.query(PID, DEADLINE_MS)).length, 1)
})

t.test(
  'a listener that closes connections at once (a balancer without servers) is tried once for each query',
  async (t) => {
    let connections = 0
    const balancer = createServer((socket) => {
      connections++
      socket.on('error', () => {})
      socket.destroy()
    })
    balancer.listen(0, '127.0.0.1')
    await once(balancer, 'listening')
    t.teardown(() => balancer.close())
    const database = open(t, together(`127.0.0.1:${(balancer.address() as AddressInfo).port}`))
    for (let i = 1; i <= 5; i++) {
      const { ms } = await failure(database.query(PID, DEADLINE_MS))
      t.ok(ms < 1000, 'without waiting for the deadline')
      t.equal(connections, i)
    }
  },
)

t.test(
  'a listener that sends nothing, or no PostgreSQL, fails a query by its deadline at the latest',
  async (t) => {
    for (const reply of [null, 'HTTP/1.1 400 Bad Request\r\n\r\n']) {
      const strange = createServer((socket) => {
        socket.on('error', () => {})
        if (reply !== null) socket.end(reply)
      })
      strange.listen(0, '127.0.0.1')
      await once(strange, 'listening')
      t.teardown(() => strange.close())
      const database = open(t, together(`127.0.0.1:${(strange.address() as AddressInfo).port}`))
      const { ms } = await failure(database.query(PID, 200))
      t.ok(ms < 600, `${ms}`)
      await database.close()
    }
  },
)

t.test('a database that is created after failures is used at once', async (t) => {
  const database = open(t, server.url.replace(/\/postgres$/, '/later'))
  for (let i = 0; i < 10; i++) {
    const { error, ms } = await failure(database.query(PID, DEADLINE_MS))
    t.equal(error.code, '3D000')
    t.ok(ms < 1000, `${ms}`)
  }
  await admin`create database later`
  t.equal((await database.query(PID, DEADLINE_MS)).length, 1)
})

t.test('no error contains the password or the URL', async (t) => {
  const secret = 'correct-horse-battery'
  const unreachable = open(t, `postgres://gateway:${secret}@127.0.0.1:1/postgres`)
  const wrongName = open(t, server.url.replace('gateway@', `nobody:${secret}@`))
  for (const database of [unreachable, wrongName]) {
    const { error } = await failure(database.query(PID, DEADLINE_MS))
    const shown = [error.message, error.stack, JSON.stringify(error), String(error.cause)].join()
    t.notMatch(shown, secret)
    t.notMatch(shown, 'postgres://')
  }
})

t.test('a statement is prepared once for each connection, and never with prepare=false', async (t) => {
  const count = { text: "select count(*)::int from pg_prepared_statements where $1 <> ''", parameters: ['x'] }
  for (const [prepare, expected] of [
    [true, 1],
    [false, 0],
  ] as const) {
    const database = open(t, server.url, { connections: 1, prepare })
    for (let i = 0; i < 3; i++) await database.query(count, DEADLINE_MS)
    t.equal((await database.query(count, DEADLINE_MS))[0]?.[0], expected)
  }
})

t.test('after close a query fails with CLOSED', async (t) => {
  const database = open(t)
  await database.query(PID, DEADLINE_MS)
  await database.close()
  t.equal((await failure(database.query(PID, DEADLINE_MS))).error.code, 'CLOSED')
})

t.test('a standby', async (t) => {
  const signal = join(other.cluster, 'standby.signal')
  await other.stop()
  await writeFile(signal, '')
  await other.start()

  await t.test('fails every primary-only query with STANDBY', async (t) => {
    const database = open(t, other.url)
    for (let i = 0; i < 5; i++) {
      const { error, ms } = await failure(database.query(PRIMARY, DEADLINE_MS))
      t.equal(error.code, 'STANDBY')
      t.equal(error.stale, false)
      t.ok(ms < 1000)
    }
  })

  await t.test(
    'listed before the primary, it fails one query and the next one reaches the primary',
    async (t) => {
      const database = open(t, together(hostOf(other.url), hostOf(server.url)))
      const { error } = await failure(database.query(PRIMARY, DEADLINE_MS))
      t.equal(error.code, 'STANDBY')
      t.equal(error.stale, true, 'another host may be the primary')
      t.same(await database.query(PRIMARY, DEADLINE_MS), [[false, 1]])
      t.same(await database.query(PRIMARY, DEADLINE_MS), [[false, 1]])
    },
  )

  await t.test('that refuses all connections at once is left for the primary', async (t) => {
    const database = open(t, together(hostOf(other.url), hostOf(server.url)), { connections: 4 })
    const four = () => Promise.allSettled([1, 2, 3, 4].map(() => database.query(PRIMARY, DEADLINE_MS)))
    await four()
    t.same(
      (await four()).map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'fulfilled', 'fulfilled'],
    )
  })

  await t.test('that is promoted after the primary has stopped is used within two seconds', async (t) => {
    const database = open(t, together(hostOf(server.url), hostOf(other.url)))
    t.same(await database.query(PRIMARY, DEADLINE_MS), [[false, 1]])
    await server.stop('immediate')
    await failure(database.query(PRIMARY, DEADLINE_MS))
    await other.stop()
    await rm(signal)
    await other.start()
    const began = performance.now()
    await until(() => database.query(PRIMARY, DEADLINE_MS).then(Boolean, () => false))
    t.ok(performance.now() - began < 2000)
    await server.start()
  })
})

t.test('a host that is down fails one query, and the next one reaches the other host', async (t) => {
  const database = open(t, together('127.0.0.1:1', hostOf(server.url)))
  const { error } = await failure(database.query(PRIMARY, DEADLINE_MS))
  t.equal(error.stale, true)
  t.same(await database.query(PRIMARY, DEADLINE_MS), [[false, 1]])
})

t.test('a primary whose transactions are read-only by default answers primary-only queries', async (t) => {
  const database = open(t, `${server.url}?default_transaction_read_only=on`)
  t.same(await database.query(PRIMARY, DEADLINE_MS), [[false, 1]])
})
