import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { CloseReason } from '../../gateway/core/stream-kinds.ts'
import {
  createStreamGuard,
  type OpenExchange,
  type StreamGuardParts,
} from '../../gateway/streams/stream-guard.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { tokenRow } from '../support/token-rows.ts'

const MANY = 10_000
const RECHECK_MS = 5000

/** A guard over a table in memory; time passes when the test says so. */
function stage(t: Test, options: Partial<StreamGuardParts> = {}) {
  const fake = createFakeScheduler()
  let turn = 0
  const scheduler = {
    ...fake,
    after: (ms: number, task: () => void) =>
      fake.after(ms, () => {
        turn++
        task()
      }),
  }
  const gone = new Set<string>()
  const queries: number[] = []
  const closed: { id: string; reason: CloseReason; at: number; turn: number }[] = []
  const guard = createStreamGuard({
    async findMany(ids) {
      queries.push(ids.length)
      return new Map(ids.map((id) => [id, tokenRow(id, gone.has(id) ? 'REVOKED' : 'ACTIVE')]))
    },
    scheduler,
    wallClock: () => scheduler.now(),
    recheckMs: RECHECK_MS,
    faultGraceMs: 0,
    clockToleranceMs: 0,
    onClose: () => {},
    onFault: () => {},
    ...options,
  })
  t.teardown(() => guard.stop())
  function exchange(id: string): OpenExchange {
    const { userId, mandateId, sessionId } = tokenRow(id, 'ACTIVE')
    return {
      identity: { tokenId: id, userId, mandateId, sessionId },
      tokenExpiresAt: Number.POSITIVE_INFINITY,
      kind: () => 'websocket',
      awaitedUpstream: () => null,
      close: (reason) => void closed.push({ id, reason, at: scheduler.now(), turn }),
    }
  }
  const open = (count: number) => Array.from({ length: count }, (_, i) => guard.watch(exchange(`t${i}`)))
  return { scheduler, guard, gone, queries, closed, exchange, open }
}

t.test('ten thousand streams cost ten queries a round, in which each token is asked for once', async (t) => {
  const { scheduler, guard, queries, exchange, open } = stage(t)
  open(MANY)
  for (let n = 0; n < 100; n++) guard.watch(exchange('t0'))
  await scheduler.advance(RECHECK_MS)
  await scheduler.advance(1)
  t.same(
    queries,
    Array.from({ length: 10 }, () => 1000),
  )
})

t.test('thousands of streams that end at once are closed over several turns of the event loop', async (t) => {
  const { scheduler, guard, closed, open } = stage(t)
  open(1000)
  for (let n = 0; n < 1000; n++) guard.closeByToken(`t${n}`)
  await scheduler.advance(1000)
  t.equal(closed.length, 1000)
  const perTurn = new Map<number, number>()
  for (const { turn } of closed) perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1)
  const most = Math.max(...perTurn.values())
  t.ok(most < 100, `${most} in one turn`)
  t.ok(closed.every(({ reason }) => reason === 'revoked'))
  t.ok(
    closed.every(({ at }) => at < RECHECK_MS),
    'no recheck was needed',
  )
})

t.test('a stream that ends by itself before it is closed is not closed', async (t) => {
  const { scheduler, guard, closed, exchange } = stage(t)
  const unwatch: (() => void)[] = []
  const leave = () => {
    for (const each of unwatch) each()
  }
  for (let n = 0; n < 200; n++) {
    const one = exchange(`t${n}`)
    const close = (reason: CloseReason) => {
      one.close(reason)
      leave()
    }
    unwatch.push(guard.watch({ ...one, close }))
    guard.closeByToken(`t${n}`)
  }
  await scheduler.advance(1000)
  t.equal(closed.length, 1)
})

t.test('a notification between the look-up and the watch closes the stream', async (t) => {
  const { scheduler, guard, gone, closed, exchange } = stage(t)
  gone.add('late')
  guard.closeByToken('late')
  await scheduler.advance(2)
  guard.watch(exchange('late'))
  await scheduler.advance(2)
  t.same(
    closed.map(({ id, reason }) => [id, reason]),
    [['late', 'revoked']],
  )
})

t.test('a token that is active again after its notification keeps its streams', async (t) => {
  const { scheduler, guard, closed, exchange, queries } = stage(t)
  guard.closeByToken('back')
  await scheduler.advance(2)
  guard.watch(exchange('back'))
  await scheduler.advance(10)
  t.same(closed, [])
  t.same(queries, [1], 'it was looked up again')
})

t.test('a flood of notifications for other tokens takes at most a twentieth of the time', async (t) => {
  // Each comparison with what is open takes 2 ms of this clock.
  let spent = 0
  const fake = createFakeScheduler()
  let comparisons = 0
  const { guard, exchange } = stage(t, {
    scheduler: { now: () => fake.now() + spent, after: (ms, task) => fake.after(ms, task) },
  })
  guard.watch({
    ...exchange('mine'),
    get identity() {
      comparisons++
      spent += 2
      return null
    },
  })
  comparisons = 0
  for (let ms = 0; ms < 1000; ms++) {
    guard.closeByToken(`other-${ms}`)
    await fake.advance(1)
  }
  t.ok(comparisons > 0)
  t.ok(comparisons <= 60, `${comparisons} comparisons in a second`)
})

t.test('a recheck that was asked for is repeated until the table answers, and then no more', async (t) => {
  let down = true
  let rounds = 0
  const { scheduler, guard, open } = stage(t, {
    async findMany(ids) {
      rounds++
      if (down) throw new Error('down')
      return new Map(ids.map((id) => [id, tokenRow(id, 'ACTIVE')]))
    },
  })
  open(1)
  const quarters = async (count: number) => {
    for (let n = 0; n < count; n++) {
      await scheduler.advance(250)
      await turn()
    }
  }
  guard.recheck()
  await turn()
  await quarters(4)
  t.equal(rounds, 5, 'at once, and each quarter of a second')
  down = false
  await quarters(4)
  t.equal(rounds, 6)
})

t.test('a periodic recheck without an answer waits for the next one', async (t) => {
  let rounds = 0
  const { scheduler, open } = stage(t, {
    async findMany() {
      rounds++
      throw new Error('down')
    },
  })
  open(1)
  await scheduler.advance(RECHECK_MS + 2000)
  t.equal(rounds, 1)
})

t.test('exchanges whose answer is late are counted by upstream, those that stream are not', async (t) => {
  const { scheduler, guard, exchange } = stage(t)
  const waiting = (upstream: string | null) => ({ ...exchange('t0'), awaitedUpstream: () => upstream })
  guard.watch(waiting('api'))
  guard.watch(waiting(null))
  await scheduler.advance(4000)
  const end = guard.watch(waiting('api'))
  guard.watch(waiting('files'))
  await scheduler.advance(2000)
  t.same(guard.lateAnswers(5000), new Map([['api', { count: 1, longestMs: 6000 }]]))
  await scheduler.advance(4000)
  t.same(
    guard.lateAnswers(5000),
    new Map([
      ['files', { count: 1, longestMs: 6000 }],
      ['api', { count: 2, longestMs: 10_000 }],
    ]),
  )
  end()
  t.equal(guard.lateAnswers(5000).get('api')?.count, 1)
})
