import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { createEndOfTick, type Deferred } from '../../../gateway/upstreams/transport/end-of-tick.ts'

function deferred(told: () => void): Deferred {
  return { nextDeferred: null, onEndOfTick: told }
}

t.test('all that wait are told once, in their order, when the turn ends and not before', async (t) => {
  const endOfTick = createEndOfTick()
  const told: string[] = []
  for (const name of ['first', 'second', 'third']) endOfTick.add(deferred(() => told.push(name)))
  await Promise.resolve()
  t.same(told, [])
  await nextTurn()
  t.same(told, ['first', 'second', 'third'])
  await nextTurn()
  t.equal(told.length, 3)
})

t.test('one that comes while the others are told waits for the next turn', async (t) => {
  const endOfTick = createEndOfTick()
  const told: string[] = []
  const late = deferred(() => told.push('late'))
  endOfTick.add(deferred(() => endOfTick.add(late)))
  endOfTick.add(deferred(() => told.push('second')))
  await nextTurn()
  t.same(told, ['second'])
  await nextTurn()
  t.same(told, ['second', 'late'])
})

t.test('one that was told may wait again, and nothing of an earlier turn hangs on it', async (t) => {
  const endOfTick = createEndOfTick()
  const told: string[] = []
  const [first, second] = [deferred(() => told.push('first')), deferred(() => told.push('second'))]
  endOfTick.add(first)
  endOfTick.add(second)
  await nextTurn()
  t.equal(first.nextDeferred, null)
  endOfTick.add(first)
  await nextTurn()
  t.same(told, ['first', 'second', 'first'])
})
