import t from 'tap'
import type { StoreFault } from '../../gateway/core/store-fault.ts'
import {
  createTokenStoreEvents,
  type FailureKind,
} from '../../gateway/telemetry/logging/token-store-events.ts'
import { createTokenStoreLog } from '../../gateway/telemetry/logging/token-store-log.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'

const fault = (kind: string): StoreFault => ({ kind, code: kind.toUpperCase(), cause: `because of ${kind}` })

/** The log of a primary, with the events of its processes made by the test. */
function setUp() {
  const scheduler = createFakeScheduler()
  const lines: [string, string, object][] = []
  const to = (level: string) => (fields: object, message: string) => void lines.push([level, message, fields])
  const log = createTokenStoreLog({ info: to('info'), warn: to('warn'), error: to('error') }, scheduler)
  const worker = (source: number) =>
    createTokenStoreEvents({
      send: (event) => log.record(source, event),
      describe: (_what: FailureKind, error) => fault(String(error)),
      scheduler,
    })
  return { scheduler, lines, log, worker, messages: () => lines.map(([, message]) => message) }
}

const UNAVAILABLE = 'the token store is unavailable'
const AGAIN = 'the token store is available again'

t.test('an outage is two lines: the cause, and then its duration and the failures', async (t) => {
  const { scheduler, lines, worker } = setUp()
  const store = worker(0)
  store.available()
  lines.length = 0
  store.unavailable(fault('lock'), 250.4)
  for (let i = 0; i < 100; i++) {
    store.failed('lookups', 'lock')
    store.failed('rechecks', 'lock')
    if (i % 2 === 0) store.failed('sessions', 'lock')
    store.failed('notices', 'lock')
    await scheduler.advance(100)
  }
  store.available()
  await scheduler.advance(10_000)
  t.same(lines, [
    ['error', UNAVAILABLE, { code: 'LOCK', cause: 'because of lock' }],
    [
      'info',
      AGAIN,
      { awayMs: 10_250, times: 1, failedLookups: 100, failedRechecks: 100, failedSessionChanges: 50 },
    ],
  ])
})

t.test('failures shortly before and after an outage are counted in its last line', async (t) => {
  const { scheduler, lines, worker, messages } = setUp()
  const store = worker(0)
  store.available()
  for (let i = 0; i < 7; i++) store.failed('lookups', 'late')
  await scheduler.advance(2000)
  store.unavailable(fault('silent'), 0)
  await scheduler.advance(2000)
  store.available()
  store.failed('lookups', 'late')
  await scheduler.advance(60_000)
  t.same(messages(), ['the token store is available', UNAVAILABLE, AGAIN])
  t.match(lines.at(-1), ['info', AGAIN, { awayMs: 2000, failedLookups: 8 }])
})

t.test('another cause during an outage is one more line, after five seconds at the earliest', async (t) => {
  const { scheduler, lines, worker, messages } = setUp()
  const store = worker(0)
  store.unavailable(fault('silent'), 0)
  await scheduler.advance(1000)
  store.unavailable(fault('password'), 0)
  t.equal(lines.length, 1)
  await scheduler.advance(4000)
  t.same(lines[1], [
    'error',
    'the token store is still unavailable, for another cause',
    { code: 'PASSWORD', cause: 'because of password' },
  ])
  store.available()
  await scheduler.advance(2000)
  t.equal(messages().at(-1), AGAIN)
})

t.test('alternating causes make no more than two lines a minute', async (t) => {
  const { scheduler, lines, worker } = setUp()
  const store = worker(0)
  for (let i = 0; i < 300; i++) {
    store.unavailable(fault(i % 2 === 0 ? 'lock' : 'slow'), 0)
    await scheduler.advance(1000)
  }
  t.ok(lines.length <= 11, `${lines.length} lines in five minutes`)
})

t.test('a store that comes and goes makes few lines with the number of outages', async (t) => {
  const { scheduler, lines, worker, messages } = setUp()
  const store = worker(0)
  for (let i = 0; i < 60; i++) {
    store.unavailable(fault('broken'), 0)
    store.failed('lookups', 'broken')
    await scheduler.advance(500)
    store.available()
    await scheduler.advance(500)
  }
  await scheduler.advance(60_000)
  t.same(messages(), [UNAVAILABLE, AGAIN])
  t.match(lines[1]![2], { times: 60, failedLookups: 60, awayMs: 59_500 })
  lines.length = 0
  for (let i = 0; i < 60; i++) {
    store.unavailable(fault('broken'), 0)
    store.available()
    await scheduler.advance(4000)
  }
  t.ok(lines.length < 60, `${lines.length} lines in four minutes`)
})

t.test(
  'failures while the store is available are logged with their count, and less and less often',
  async (t) => {
    const { scheduler, lines, worker } = setUp()
    const store = worker(0)
    store.available()
    lines.length = 0
    for (let i = 0; i < 3000; i++) {
      store.failed('lookups', 'slow')
      store.failed('overload', 'overloaded')
      await scheduler.advance(100)
    }
    const of = (message: string) => lines.filter(([, each]) => each === message)
    const lookups = of('tokens could not be looked up')
    t.match(lookups[0], [
      'warn',
      String,
      { failed: Number, withinMs: 5000, code: 'SLOW', cause: 'because of slow' },
    ])
    t.ok(lookups.length <= 9, `${lookups.length} lines in five minutes`)
    t.equal(of('look-ups were refused: too many are pending').length, lookups.length)
    await scheduler.advance(120_000)
    const counted = of('tokens could not be looked up').reduce(
      (sum, [, , fields]) => sum + (fields as { failed: number }).failed,
      0,
    )
    t.equal(counted, 3000, 'none is lost')
  },
)

t.test(
  'an outage of several workers is logged once, from the first fault to the last recovery',
  async (t) => {
    const { scheduler, lines, worker, messages } = setUp()
    const [one, other] = [worker(1), worker(2)]
    one.available()
    other.available()
    t.same(messages(), ['the token store is available'])
    one.unavailable(fault('refused'), 0)
    await scheduler.advance(300)
    other.unavailable(fault('refused'), 0)
    one.failed('lookups', 'refused')
    other.failed('lookups', 'refused')
    await scheduler.advance(700)
    one.available()
    await scheduler.advance(5000)
    other.available()
    await scheduler.advance(2000)
    t.same(messages().slice(1), [UNAVAILABLE, AGAIN])
    t.match(lines.at(-1)![2], { awayMs: 6000, times: 1, failedLookups: 2 })
  },
)

t.test(
  'a worker that dies in an outage does not end it, and its successor reports its own state',
  async (t) => {
    const { scheduler, log, worker, messages } = setUp()
    worker(1).unavailable(fault('refused'), 0)
    log.forget(1)
    await scheduler.advance(10_000)
    t.same(messages(), [UNAVAILABLE])
    worker(2).unavailable(fault('refused'), 0)
    await scheduler.advance(10_000)
    worker(2).available()
    await scheduler.advance(2000)
    t.same(messages(), [UNAVAILABLE, AGAIN])
  },
)

t.test('tokens that cannot be verified are not part of an outage', async (t) => {
  const { scheduler, lines, worker } = setUp()
  const store = worker(0)
  store.failed('verifications', 'keys')
  store.unavailable(fault('refused'), 0)
  await scheduler.advance(5000)
  t.match(lines.at(-1), ['warn', 'tokens could not be verified', { failed: 1 }])
})

t.test('a failed LISTEN while the store is available is logged, and so is its recovery', async (t) => {
  const { scheduler, worker, messages } = setUp()
  const store = worker(0)
  store.listening()
  store.available()
  for (let i = 0; i < 20; i++) {
    store.failed('notices', 'pooler')
    await scheduler.advance(500)
  }
  store.listening()
  await scheduler.advance(60_000)
  t.same(messages().slice(1), [
    'revocation notifications cannot be received',
    'revocation notifications are received again',
  ])
})

t.test('the same warnings of several workers are logged once', async (t) => {
  const { lines, worker } = setUp()
  for (const source of [1, 2]) worker(source).warn(['no index'])
  t.same(lines, [['warn', 'the token store is available, with warnings', { warnings: ['no index'] }]])
})

t.test('a newer timeline and an old primary that goes on are logged once for several workers', async (t) => {
  const { lines, worker } = setUp()
  const workers = [1, 2].map(worker)
  for (const each of workers) each.timeline(2)
  for (const each of workers) each.oldPrimaries(['db-a:5432'])
  for (const each of workers) each.oldPrimaries([])
  for (const each of workers) each.timeline(3)
  t.same(lines, [
    ['info', 'the database has a newer timeline', { timeline: 2 }],
    ['error', 'a replaced primary goes on, and is refused', { hosts: ['db-a:5432'] }],
    ['info', 'no replaced primary goes on any more', {}],
    ['info', 'the database has a newer timeline', { timeline: 3 }],
  ])
})

t.test('close writes the pending lines', async (t) => {
  const { scheduler, log, worker, messages } = setUp()
  const store = worker(0)
  store.unavailable(fault('refused'), 0)
  await scheduler.advance(100)
  store.available()
  log.close()
  t.same(messages(), [UNAVAILABLE, AGAIN])
  store.failed('lookups', 'late')
  store.close()
  log.close()
  t.equal(messages().at(-1), 'tokens could not be looked up')
})
