import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createTokenLookup, type Lookup } from '../../../gateway/auth/token-store/token-lookup.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { DatabaseError } from '../../../gateway/database/database.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { tokenRow } from '../../support/token-rows.ts'

interface Query {
  readonly ids: readonly string[]
  answer(status?: string): void
  fail(error: Error): void
}

/** A table whose answers the test gives, so that it can hold a query under way. */
function setUp(more: Partial<Parameters<typeof createTokenLookup>[0]> = {}) {
  const queries: Query[] = []
  const lookup = createTokenLookup({
    hosts: 1,
    findMany: (ids) =>
      new Promise((resolve, reject) => {
        queries.push({
          ids,
          answer: (status = 'ACTIVE') => resolve(new Map(ids.map((id) => [id, tokenRow(id, status)]))),
          fail: reject,
        })
      }),
    connections: 4,
    timeoutMs: 1000,
    queueMax: 100,
    scheduler: systemScheduler,
    onQuery: () => {},
    ...more,
  })
  const find = (id: string) => new Promise<Lookup>((resolve) => lookup.find(id, resolve))
  return { lookup, find, queries }
}

t.test('a look-up asks each of several servers until one is the primary', async (t) => {
  const { find, queries } = setUp({ hosts: 3 })
  const standby = new DatabaseError('STANDBY', 'a standby', { stale: true })
  const found = find('a')
  for (let n = 0; n < 3; n++) {
    await turn()
    queries[n]!.fail(standby)
  }
  await turn()
  queries[3]!.answer()
  t.match(await found, { kind: 'found' })
  t.equal(queries.length, 4)
})

t.test('look-ups of one turn share a query, which has each id once', async (t) => {
  const { lookup, find, queries } = setUp()
  const found = Promise.all(['a', 'b', 'a', 'c', 'b'].map((id) => find(id)))
  await turn()
  t.same(
    queries.map(({ ids }) => ids),
    [['a', 'b', 'c']],
  )
  t.equal(lookup.pending, 5)
  queries[0]!.answer()
  t.same(
    (await found).map((each) => each.kind === 'found' && each.row.id),
    ['a', 'b', 'a', 'c', 'b'],
  )
  t.equal(lookup.pending, 0)
})

t.test(
  'a look-up never joins a query that was sent, whose answer may be from before a revocation',
  async (t) => {
    const { find, queries } = setUp({ scheduler: createFakeScheduler() })
    const before = find('a')
    await turn()
    const after = find('a')
    await turn()
    t.equal(queries.length, 1, 'it waits')
    queries[0]!.answer('ACTIVE')
    t.match(await before, { row: { status: 'ACTIVE' } })
    await turn()
    t.equal(queries.length, 2, 'and is asked for by a query of its own')
    queries[1]!.answer('REVOKED')
    t.match(await after, { row: { status: 'REVOKED' } })
  },
)

t.test('look-ups during a query wait for its end, and then share one query', async (t) => {
  const { find, queries } = setUp({ scheduler: createFakeScheduler() })
  void find('a')
  await turn()
  for (const id of ['b', 'c', 'd']) {
    void find(id)
    await turn()
  }
  t.equal(queries.length, 1)
  queries[0]!.answer()
  await turn()
  await turn()
  t.same(queries[1]?.ids, ['b', 'c', 'd'])
  queries[1]!.answer()
})

t.test('a late query does not hold up look-ups, as long as connections are free', async (t) => {
  const scheduler = createFakeScheduler()
  const { find, queries } = setUp({ scheduler, connections: 2 })
  const late = find('late')
  await turn()
  const next = find('next')
  await scheduler.advance(6)
  t.same(queries[1]?.ids, ['next'])
  queries[1]!.answer()
  t.match(await next, { kind: 'found' })
  void find('third')
  await scheduler.advance(6)
  t.equal(queries.length, 3)
  void find('fourth')
  await scheduler.advance(20)
  t.equal(queries.length, 3, 'both connections are taken')
  queries[0]!.answer()
  await late
})

t.test('a look-up without an answer by its deadline fails, and the deadline includes its wait', async (t) => {
  const scheduler = createFakeScheduler()
  const { lookup, find } = setUp({ scheduler, connections: 1 })
  const faults = Promise.all([find('a'), find('b')])
  await scheduler.advance(1000)
  for (const fault of await faults)
    t.match(fault, { kind: 'failed', error: { code: 'token_store_unavailable' } })
  t.equal(lookup.pending, 0)
})

t.test('a look-up past the bound of pending ones fails with overloaded at once', async (t) => {
  const { find, queries } = setUp({ queueMax: 2 })
  const kept = Promise.all([find('a'), find('a')])
  t.match(await find('b'), { kind: 'failed', error: { code: 'overloaded' } })
  await turn()
  t.match(await find('b'), { kind: 'failed', error: { code: 'overloaded' } }, 'sent ones count too')
  queries[0]!.answer()
  await kept
  const again = find('b')
  await turn()
  queries[1]!.answer()
  t.match(await again, { kind: 'found' })
})

t.test(
  'a stale connection is retried without a failure, and another fault fails the whole batch',
  async (t) => {
    const { find, queries } = setUp()
    const found = find('a')
    await turn()
    queries[0]!.fail(new DatabaseError('CONNECTION_CLOSED', 'gone', { stale: true }))
    await turn()
    queries[1]!.answer()
    t.match(await found, { kind: 'found' })
    const failed = Promise.all([find('a'), find('b')])
    await turn()
    queries[2]!.fail(new DatabaseError('ECONNREFUSED', 'refused', { stale: false }))
    for (const each of await failed) t.match(each, { error: { code: 'token_store_unavailable' } })
    t.equal(queries.length, 3)
  },
)

t.test('an id without a row is unknown', async (t) => {
  const { find } = setUp({ findMany: async () => new Map() })
  t.same(await find('a'), { kind: 'unknown' })
})

t.test('one connection does not fill the queue of look-ups: another one still has a place', async (t) => {
  const { lookup, queries } = setUp({ queueMax: 8, scheduler: createFakeScheduler() })
  const answers: Lookup[] = []
  for (let held = 0; held < 8; held++) lookup.find(`a${held}`, (found) => answers.push(found), held)
  t.match(answers, [{ kind: 'failed', error: { code: 'overloaded' } }], 'its eighth is refused at once')
  lookup.find('b', (found) => answers.push(found), 0)
  await turn()
  queries[0]!.answer()
  await turn()
  t.match(answers.at(-1), { kind: 'found', row: { id: 'b' } })
})
