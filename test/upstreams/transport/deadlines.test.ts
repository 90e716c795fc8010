import t from 'tap'
import { createTimeLimits, Deadline } from '../../../gateway/upstreams/transport/deadlines.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'

function setUp() {
  const scheduler = createFakeScheduler()
  const passed: string[] = []
  const deadline = (name: string) =>
    new Deadline({ onDeadline: () => void passed.push(`${name} ${scheduler.now()}`) })
  return { scheduler, limits: createTimeLimits(scheduler), passed, deadline }
}

t.test('deadlines pass in their order, each at its time', async (t) => {
  const { scheduler, limits, passed, deadline } = setUp()
  const limit = limits.of(100)
  limit.start(deadline('a'))
  await scheduler.advance(30)
  limit.start(deadline('b'))
  limits.of(50).start(deadline('c'))
  await scheduler.advance(300)
  t.same(passed, ['c 80', 'a 100', 'b 130'])
})

t.test('one that is stopped does not pass, and one that is started again passes later', async (t) => {
  const { scheduler, limits, passed, deadline } = setUp()
  const limit = limits.of(100)
  const [a, b, c] = [deadline('a'), deadline('b'), deadline('c')] as const
  for (const each of [a, b, c]) limit.start(each)
  b.stop()
  b.stop()
  await scheduler.advance(60)
  limit.start(a)
  await scheduler.advance(50)
  t.same(passed, ['c 100'])
  await scheduler.advance(200)
  t.same(passed, ['c 100', 'a 160'])
})

t.test('a deadline is under one limit at a time', async (t) => {
  const { scheduler, limits, passed, deadline } = setUp()
  const a = deadline('a')
  limits.of(100).start(a)
  limits.of(500).start(a)
  await scheduler.advance(300)
  t.same(passed, [])
  await scheduler.advance(300)
  t.same(passed, ['a 500'])
})

t.test('a limit that is started from within its own end is a new one', async (t) => {
  const { scheduler, limits, passed } = setUp()
  const again: Deadline = new Deadline({
    onDeadline() {
      passed.push(String(scheduler.now()))
      if (passed.length < 3) limits.of(10).start(again)
    },
  })
  limits.of(10).start(again)
  await scheduler.advance(100)
  t.same(passed, ['10', '20', '30'])
})

t.test('thousands of deadlines that are met cost one timer', async (t) => {
  const { scheduler, limits, passed, deadline } = setUp()
  let timers = 0
  const counted = createTimeLimits({
    now: scheduler.now,
    after(ms, task) {
      timers++
      return scheduler.after(ms, task)
    },
  })
  const a = deadline('a')
  for (let n = 0; n < 5000; n++) {
    counted.of(60_000).start(a)
    await scheduler.advance(1)
    a.stop()
  }
  t.equal(timers, 1)
  t.same(passed, [])
  t.equal(limits.of(7), limits.of(7))
})
