import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createDatabase } from '../../gateway/auth/database.ts'
import type { CatalogueReport } from '../../gateway/auth/token-catalogue.ts'
import { DEFAULT_COLUMNS } from '../../gateway/auth/token-columns.ts'
import { createTokenStoreMonitor } from '../../gateway/auth/token-store-monitor.ts'
import { createTokenTable } from '../../gateway/auth/token-table.ts'
import { systemScheduler } from '../../gateway/scheduler.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres, TOKEN_DDL } from '../support/postgres.ts'

const FITS: CatalogueReport = {
  kinds: { id: 'text', expiresAt: 'timestamptz' },
  problems: [],
  warnings: [],
}

/** A monitor of a table that answers as the test says, in time that the test holds. */
function held(t: Test) {
  const scheduler = createFakeScheduler()
  const table = {
    asked: [] as string[],
    report: FITS,
    probe: async (): Promise<void> => {},
  }
  const changes: [boolean, string | null][] = []
  const warned: string[] = []
  const monitor = createTokenStoreMonitor({
    table: {
      async checkMapping() {
        table.asked.push('mapping')
        return table.report
      },
      probe() {
        table.asked.push('probe')
        return table.probe()
      },
    },
    scheduler,
    timeoutMs: 500,
    onChange: (up, reason) => changes.push([up, reason]),
    onWarnings: (warnings) => warned.push(...warnings),
  })
  t.teardown(() => monitor.close())
  return { scheduler, table, changes, warned, monitor }
}

t.test('it probes at once, then each second; the mapping once', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  t.equal(monitor.up, false)
  await monitor.first
  t.equal(monitor.up, true)
  t.equal(monitor.reason, null)
  await scheduler.advance(3000)
  t.same(table.asked, ['mapping', 'probe', 'probe', 'probe', 'probe'])
  t.same(changes, [[true, null]], 'told once')
})

t.test(
  'while the store is away it probes four times a second, and checks the mapping when it is back',
  async (t) => {
    const { scheduler, table, changes, monitor } = held(t)
    await monitor.first
    table.probe = () => Promise.reject(new Error('gone'))
    await scheduler.advance(1000)
    t.same([monitor.up, monitor.reason], [false, 'gone'])
    table.asked.length = 0
    await scheduler.advance(1000)
    t.equal(table.asked.filter((each) => each === 'probe').length, 4)
    table.probe = async () => {}
    await scheduler.advance(250)
    t.equal(monitor.up, true)
    t.same(changes, [
      [true, null],
      [false, 'gone'],
      [true, null],
    ])
  },
)

t.test('one probe at a time, however long it takes', async (t) => {
  const { scheduler, table, monitor } = held(t)
  await monitor.first
  const { promise, resolve } = Promise.withResolvers<void>()
  table.probe = () => promise
  await scheduler.advance(10_000)
  t.same(table.asked, ['mapping', 'probe', 'probe'])
  resolve()
  await turn()
  await scheduler.advance(1000)
  t.equal(table.asked.length, 4)
})

t.test('a table that does not fit is why it is not ready, until it fits', async (t) => {
  const { scheduler, table, monitor, warned } = held(t)
  table.report = { kinds: null, problems: ['no column "a"', 'no column "b"'], warnings: ['slow'] }
  table.probe = () => Promise.reject(new Error('away'))
  // The first check has the good report already.
  await monitor.first
  await scheduler.advance(250)
  t.same([monitor.up, monitor.reason], [false, 'no column "a"; no column "b"'])
  t.same(monitor.mappingProblems, ['no column "a"', 'no column "b"'])
  t.same(warned, [])
  table.report = { ...FITS, warnings: ['slow'] }
  table.probe = async () => {}
  await scheduler.advance(250)
  t.equal(monitor.up, true)
  t.same(monitor.mappingProblems, [])
  await scheduler.advance(2000)
  t.same(warned, ['slow'], 'warned once')
})

t.test('after close nothing is asked and nothing is told', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  await monitor.first
  const { promise, reject } = Promise.withResolvers<void>()
  table.probe = () => promise
  await scheduler.advance(1000)
  monitor.close()
  reject(new Error('gone'))
  await turn()
  await scheduler.advance(5000)
  t.same(table.asked, ['mapping', 'probe', 'probe'])
  t.same(changes, [[true, null]])
})

t.test('against a server', async (t) => {
  const server = await startPostgres()
  const url = await server.createDatabase('SELECT 1')
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler: systemScheduler })
  const table = createTokenTable({
    database,
    table: { schema: null, name: 'Token' },
    columns: DEFAULT_COLUMNS,
  })
  const reasons: (string | null)[] = []
  const monitor = createTokenStoreMonitor({
    table,
    scheduler: systemScheduler,
    timeoutMs: 300,
    onChange: (_up, reason) => reasons.push(reason),
    onWarnings: () => {},
  })
  t.teardown(async () => {
    monitor.close()
    await database.close()
    await server.close()
  })
  const becomes = (up: boolean, reason: RegExp) =>
    until(() => monitor.up === up && reason.test(String(monitor.reason)))

  await t.test('a table that is made later is found', async () => {
    await monitor.first
    await becomes(false, /the table "Token" does not exist/)
    const sql = postgres(url, { max: 1, onnotice: () => {} })
    await sql.unsafe(TOKEN_DDL)
    await sql.end()
    await becomes(true, /null/)
  })

  await t.test('a server that stops, and starts', async () => {
    await server.stop()
    await becomes(false, /ECONNREFUSED|CONNECTION_CLOSED/)
    await server.start()
    await becomes(true, /null/)
  })

  await t.test('a server that freezes, and thaws', async () => {
    server.freeze()
    await becomes(false, /no answer within/)
    server.thaw()
    await becomes(true, /null/)
  })

  await t.test('a server that comes back as a standby is no primary', async () => {
    const signal = join(server.cluster, 'standby.signal')
    await server.stop()
    await writeFile(signal, '')
    await server.start()
    await becomes(false, /in recovery \(a standby\)/)
    await server.stop()
    await rm(signal)
    await server.start()
    await becomes(true, /null/)
  })

  t.ok(reasons.length < 30, 'told of changes, not of probes')
  t.notMatch(reasons.join(), 'postgres://')
})
