import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createLateAnswerDiagnosis } from '../../../gateway/auth/token-store/late-answer-diagnosis.ts'
import type { MappingReport } from '../../../gateway/auth/token-store/mapping-watch.ts'
import { DEFAULT_COLUMNS } from '../../../gateway/auth/token-store/token-columns.ts'
import { DEFAULT_STATUSES } from '../../../gateway/auth/token-store/token-statuses.ts'
import { describeFault } from '../../../gateway/auth/token-store/token-store-faults.ts'
import { createTokenStoreMonitor } from '../../../gateway/auth/token-store/token-store-monitor.ts'
import { createTokenTable, type TokenRow } from '../../../gateway/auth/token-store/token-table.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { createDatabase, DatabaseError } from '../../../gateway/database/database.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { until } from '../../support/plain-gateway.ts'
import { startPostgres, TOKEN_DDL } from '../../support/postgres.ts'

const FITS: MappingReport = { problems: [], warnings: [] }

const FAULT = (code: string) => Object.assign(new Error(`${code}!`), { code })
const describe = (error: unknown) => describeFault(error, { table: '"Token"', timeoutMs: 500 })

/** A monitor of a table that answers as the test says, in time that the test holds. */
function held(t: Test, hosts = 1) {
  const scheduler = createFakeScheduler()
  const table = {
    asked: [] as string[],
    ids: [] as (readonly string[])[],
    opened: 1,
    report: FITS,
    findMany: async (): Promise<Map<string, TokenRow>> => new Map(),
  }
  const changes: (string | null)[] = []
  const warned: string[] = []
  const monitor = createTokenStoreMonitor({
    table: {
      async checkMapping() {
        table.asked.push('mapping')
        return table.report
      },
      findMany(ids) {
        table.asked.push('probe')
        table.ids.push(ids)
        return table.findMany()
      },
    },
    hosts,
    scheduler,
    timeoutMs: 500,
    describe,
    diagnoseLateAnswer: async (fault) => ({ ...fault, kind: 'slow', cause: 'explained' }),
    connectionsOpened: () => table.opened,
    onState: (up) => changes.push(up ? 'up' : 'down'),
    onUnavailable: (fault) => changes.push(fault.kind),
    onAvailable: () => changes.push('available'),
    onWarnings: (warnings) => warned.push(...warnings),
  })
  t.teardown(() => monitor.close())
  return { scheduler, table, changes, warned, monitor }
}

t.test('the store is probed at once and then each second, and the mapping checked once', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  t.equal(monitor.up, false)
  await monitor.first
  t.equal(monitor.up, true)
  t.equal(monitor.fault, null)
  await scheduler.advance(3000)
  t.same(table.asked, ['mapping', 'probe', 'probe', 'probe', 'probe'])
  t.same(changes, ['up', 'available'], 'reported once')
})

t.test('a probe asks each host, and an old primary is the fault whichever comes first', async (t) => {
  const gone = (code: string) => new DatabaseError(code, code, { stale: true })
  for (const codes of [
    ['FENCED', 'ECONNREFUSED'],
    ['ECONNREFUSED', 'FENCED'],
  ]) {
    const { table, monitor } = held(t, 2)
    table.findMany = async () => {
      throw gone(codes[(table.asked.length - 2) % 2]!)
    }
    await monitor.first
    t.equal(monitor.fault?.code, 'FENCED', codes.join())
    t.same(table.asked, ['mapping', 'probe', 'probe'])
  }
  const { table, monitor } = held(t, 2)
  table.findMany = async () => {
    if (table.asked.length === 2) throw gone('FENCED')
    return new Map()
  }
  await monitor.first
  t.equal(monitor.fault, null, 'the other host is the primary')
})

t.test('the mapping is checked every half minute, and after a connection was opened', async (t) => {
  const { scheduler, table, monitor } = held(t)
  await monitor.first
  const checks = () => table.asked.filter((each) => each === 'mapping').length
  await scheduler.advance(29_000)
  t.equal(checks(), 1)
  await scheduler.advance(2000)
  t.equal(checks(), 2, 'half a minute is over')
  table.opened++
  await scheduler.advance(1000)
  t.equal(checks(), 3, 'behind a new connection the table may be another')
  await scheduler.advance(3000)
  t.equal(checks(), 3)
})

t.test('a table that stops fitting takes the store down, and is reported once', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  await monitor.first
  changes.length = 0
  table.report = { ...FITS, problems: ['no column "a"', 'no column "b"'] }
  await scheduler.advance(31_000)
  t.same([monitor.up, monitor.fault?.cause], [false, 'no column "a"; no column "b"'])
  table.report = FITS
  await scheduler.advance(250)
  t.equal(monitor.up, true)
  t.same(changes, ['down', 'mapping', 'up', 'available'])
})

t.test(
  'a store that is down is probed four times a second, and its mapping checked at recovery',
  async (t) => {
    const { scheduler, table, changes, monitor } = held(t)
    await monitor.first
    table.findMany = () => Promise.reject(FAULT('ECONNREFUSED'))
    await scheduler.advance(1000)
    t.match(monitor, { up: false, fault: { kind: 'refused', code: 'ECONNREFUSED' } })
    table.asked.length = 0
    await scheduler.advance(1000)
    t.equal(table.asked.filter((each) => each === 'probe').length, 4)
    table.findMany = async () => new Map()
    await scheduler.advance(250)
    t.equal(monitor.up, true)
    t.same(changes, ['up', 'available', 'down', 'refused', 'up', 'available'])
  },
)

t.test('a store whose probes each open a connection is probed once a second', async (t) => {
  const { scheduler, table, monitor } = held(t)
  await monitor.first
  table.findMany = () => {
    table.opened++
    return Promise.reject(FAULT('53300'))
  }
  await scheduler.advance(3000)
  table.asked.length = 0
  await scheduler.advance(10_000)
  t.equal(table.asked.filter((each) => each === 'probe').length, 10)
})

t.test('a probe begins only after the one before has ended', async (t) => {
  const { scheduler, table, monitor } = held(t)
  await monitor.first
  const { promise, resolve } = Promise.withResolvers<Map<string, TokenRow>>()
  table.findMany = () => promise
  await scheduler.advance(10_000)
  t.same(table.asked, ['mapping', 'probe', 'probe'])
  resolve(new Map())
  await turn()
  await scheduler.advance(1000)
  t.equal(table.asked.length, 4)
})

t.test('a fault of another kind is reported, and one of the same kind is not', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  await monitor.first
  changes.length = 0
  table.findMany = () => Promise.reject(FAULT('DEADLINE'))
  await scheduler.advance(3000)
  table.findMany = () => Promise.reject(FAULT('28P01'))
  await scheduler.advance(3000)
  t.same(changes, ['down', 'slow', 'password'], 'a late answer is reported once it is diagnosed')
  t.match(monitor.fault, { code: '28P01' })
})

t.test('a table that does not fit keeps the store down until it fits', async (t) => {
  const { scheduler, table, monitor, warned } = held(t)
  table.report = {
    problems: ['no column "a"', 'no column "b"'],
    warnings: ['slow'],
    mayHeal: true,
  }
  table.findMany = () => Promise.reject(FAULT('ECONNRESET'))
  // The first check has the good report already.
  await monitor.first
  await scheduler.advance(250)
  t.match(monitor, { up: false, fault: { kind: 'mapping', cause: 'no column "a"; no column "b"' } })
  t.same(monitor.mappingProblems, ['no column "a"', 'no column "b"'])
  t.equal(monitor.mayHeal, true)
  t.same(warned, [])
  table.report = { ...FITS, warnings: ['slow'] }
  table.findMany = async () => new Map()
  await scheduler.advance(250)
  t.equal(monitor.up, true)
  t.same(monitor.mappingProblems, [])
  await scheduler.advance(60_000)
  t.same(warned, ['slow'], 'warned once')
})

t.test('consecutive failed look-ups take the store down though its probe is answered', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  await monitor.first
  changes.length = 0
  table.findMany = () =>
    table.ids.at(-1)!.includes('slow-token') ? Promise.reject(FAULT('DEADLINE')) : Promise.resolve(new Map())
  for (let i = 0; i < 4; i++) monitor.lookupFailed(FAULT('DEADLINE'), 'slow-token')
  await scheduler.advance(2000)
  t.equal(monitor.up, true, 'four are no evidence')
  monitor.lookupFailed(FAULT('DEADLINE'), 'slow-token')
  t.equal(monitor.up, false)
  await turn()
  await scheduler.advance(3000)
  t.equal(monitor.up, false, 'probes ask for that token and fail like the look-ups')
  t.same(changes, ['down', 'slow'])
  table.findMany = async () => new Map()
  await scheduler.advance(250)
  t.equal(monitor.up, true)
  await scheduler.advance(1000)
  t.notOk(table.ids.at(-1)!.includes('slow-token'), 'and it is asked for no longer')
})

t.test('failed look-ups with answered ones in between leave the store up', async (t) => {
  const { scheduler, monitor } = held(t)
  await monitor.first
  for (let i = 0; i < 20; i++) {
    monitor.lookupFailed(FAULT('DEADLINE'), 'a')
    if (i % 4 === 3) monitor.lookupSucceeded()
    await scheduler.advance(400)
  }
  t.equal(monitor.up, true)
})

t.test('a hundred look-ups that one late query fails leave the store up', async (t) => {
  const { monitor } = held(t)
  await monitor.first
  for (let i = 0; i < 100; i++) monitor.lookupFailed(FAULT('DEADLINE'), 'a')
  t.equal(monitor.up, true)
})

t.test('a probe from before look-ups began to fail does not keep the store up', async (t) => {
  const { scheduler, table, monitor } = held(t)
  await monitor.first
  const { promise, resolve } = Promise.withResolvers<Map<string, TokenRow>>()
  table.findMany = () => promise
  await scheduler.advance(1000)
  monitor.lookupFailed(FAULT('DEADLINE'), 'a')
  await scheduler.advance(501)
  for (let i = 0; i < 5; i++) monitor.lookupFailed(FAULT('DEADLINE'), 'a')
  table.findMany = () => Promise.reject(FAULT('DEADLINE'))
  resolve(new Map())
  await turn()
  t.equal(monitor.up, false)
  await scheduler.advance(250)
  t.equal(monitor.up, false)
})

t.test('after close nothing is probed and nothing reported', async (t) => {
  const { scheduler, table, changes, monitor } = held(t)
  await monitor.first
  const { promise, reject } = Promise.withResolvers<Map<string, TokenRow>>()
  table.findMany = () => promise
  await scheduler.advance(1000)
  monitor.close()
  reject(FAULT('ECONNRESET'))
  await turn()
  await scheduler.advance(5000)
  t.same(table.asked, ['mapping', 'probe', 'probe'])
  t.same(changes, ['up', 'available'])
})

t.test('against a server', async (t) => {
  const server = await startPostgres()
  const url = await server.createDatabase('SELECT 1')
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler: systemScheduler })
  const table = createTokenTable({
    database,
    table: { schema: null, name: 'Token' },
    columns: DEFAULT_COLUMNS,
    statuses: DEFAULT_STATUSES,
    written: false,
    now: systemScheduler.now,
  })
  const causes: string[] = []
  const context = { table: '"Token"', timeoutMs: 300 }
  const monitor = createTokenStoreMonitor({
    table,
    scheduler: systemScheduler,
    timeoutMs: 300,
    describe: (error) => describeFault(error, context),
    diagnoseLateAnswer: createLateAnswerDiagnosis(database, context),
    connectionsOpened: () => 0,
    onState: () => {},
    onUnavailable: ({ cause }) => causes.push(cause),
    onAvailable: () => causes.push('available'),
    onWarnings: () => {},
  })
  t.teardown(async () => {
    monitor.close()
    await database.close()
    await server.close()
  })
  const waitForState = (up: boolean, cause: RegExp) =>
    until(() => monitor.up === up && cause.test(String(monitor.fault?.cause ?? null)))

  await t.test('a table that is created later takes the store up', async () => {
    await monitor.first
    await waitForState(false, /the table "Token" does not exist/)
    const sql = postgres(url, { max: 1, onnotice: () => {} })
    await sql.unsafe(TOKEN_DDL)
    await sql.end()
    await waitForState(true, /null/)
  })

  await t.test('a server that stops takes the store down, and one that starts takes it up', async () => {
    await server.stop()
    await waitForState(false, /ECONNREFUSED|CONNECTION_CLOSED|57P01/)
    await server.start()
    await waitForState(true, /null/)
  })

  await t.test('a frozen server takes the store down, and takes it up when it goes on', async () => {
    server.freeze()
    await waitForState(false, /does not answer at all .*no answer within 300 ms/)
    server.thaw()
    await waitForState(true, /null/)
  })

  await t.test('a server that restarts as a standby takes the store down', async () => {
    const signal = join(server.cluster, 'standby.signal')
    await server.stop()
    await writeFile(signal, '')
    await server.start()
    await waitForState(false, /in recovery \(a standby\)/)
    await server.stop()
    await rm(signal)
    await server.start()
    await waitForState(true, /null/)
  })

  t.ok(causes.length < 30, 'changes are reported, and probes are not')
  t.notMatch(causes.join(), 'postgres://')
})
