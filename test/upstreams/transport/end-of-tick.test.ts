import { setImmediate as nextTick } from 'node:timers/promises'
import t from 'tap'
import { createEndOfTick, type Deferred } from '../../../gateway/upstreams/transport/end-of-tick.ts'

function deferred(called: () => void): Deferred {
  return { nextDeferred: null, onEndOfTick: called }
}

t.test('all that wait are called once, in their order, at the end of the tick and not before', async (t) => {
  const endOfTick = createEndOfTick()
  const called: string[] = []
  for (const name of ['first', 'second', 'third']) endOfTick.add(deferred(() => called.push(name)))
  await Promise.resolve()
  t.same(called, [])
  await nextTick()
  t.same(called, ['first', 'second', 'third'])
  await nextTick()
  t.equal(called.length, 3)
})

t.test('one that is added while the others are called waits for the next tick', async (t) => {
  const endOfTick = createEndOfTick()
  const called: string[] = []
  const late = deferred(() => called.push('late'))
  endOfTick.add(deferred(() => endOfTick.add(late)))
  endOfTick.add(deferred(() => called.push('second')))
  await nextTick()
  t.same(called, ['second'])
  await nextTick()
  t.same(called, ['second', 'late'])
})

t.test('one that was called may be added again, without those of an earlier tick', async (t) => {
  const endOfTick = createEndOfTick()
  const called: string[] = []
  const [first, second] = [deferred(() => called.push('first')), deferred(() => called.push('second'))]
  endOfTick.add(first)
  endOfTick.add(second)
  await nextTick()
  t.equal(first.nextDeferred, null)
  endOfTick.add(first)
  await nextTick()
  t.same(called, ['first', 'second', 'first'])
})
