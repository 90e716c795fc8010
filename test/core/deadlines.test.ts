import t from 'tap'
import { Deadline, Deadlines, type Timed } from '../../gateway/core/deadlines.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'

function setUp() {
  const scheduler = createFakeScheduler()
  const deadlines = new Deadlines(scheduler)
  const passed: [name: string, at: number][] = []
  const timed = (name: string): Timed => ({
    deadline: new Deadline(),
    onDeadline: () => void passed.push([name, scheduler.now()]),
  })
  return { scheduler, deadlines, passed, timed }
}

t.test('deadlines pass in the order of their times, each at its own', async (t) => {
  const { scheduler, deadlines, passed, timed } = setUp()
  for (const at of [300, 100, 200, 100, 250]) deadlines.set(timed(String(at)), at)
  await scheduler.advance(1000)
  t.same(passed, [
    ['100', 100],
    ['100', 100],
    ['200', 200],
    ['250', 250],
    ['300', 300],
  ])
  t.same(scheduler.due, [], 'no timer is left')
})

t.test('a deadline can be put off, brought forward, cleared and removed', async (t) => {
  const { scheduler, deadlines, passed, timed } = setUp()
  const [later, sooner, cleared, removed] = ['later', 'sooner', 'cleared', 'removed'].map(timed) as Timed[]
  deadlines.set(later!, 100)
  deadlines.set(sooner!, 500)
  deadlines.set(cleared!, 100)
  deadlines.set(removed!, 100)
  await scheduler.advance(50)
  deadlines.set(later!, 400)
  deadlines.set(sooner!, 80)
  deadlines.clear(cleared!)
  deadlines.remove(removed!)
  await scheduler.advance(1000)
  t.same(passed, [
    ['sooner', 80],
    ['later', 400],
  ])
  deadlines.set(cleared!, 1100)
  await scheduler.advance(100)
  t.same(passed.at(-1), ['cleared', 1100], 'and used again')
})

t.test('what is put off again and again needs no new timer', async (t) => {
  const { scheduler, deadlines, passed, timed } = setUp()
  const one = timed('one')
  for (let at = 0; at < 90; at++) {
    deadlines.set(one, scheduler.now() + 100)
    await scheduler.advance(1)
    t.equal(scheduler.due.length, 1)
  }
  await scheduler.advance(1000)
  t.same(passed, [['one', 189]])
})

t.test('a thousand deadlines in any order pass as sorted, also where many are changed', async (t) => {
  const { scheduler, deadlines, timed } = setUp()
  const order: number[] = []
  let seed = 7
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    return seed % below
  }
  const all = Array.from({ length: 1000 }, (_, n) => {
    const one = timed(String(n))
    return Object.assign(one, { onDeadline: () => void order.push(scheduler.now()) })
  })
  for (const one of all) deadlines.set(one, random(10_000))
  for (let n = 0; n < 3000; n++) {
    const one = all[random(1000)]!
    if (random(3) === 0) deadlines.remove(one)
    else deadlines.set(one, random(10_000))
  }
  const expected = all.map(({ deadline }) => deadline.at).filter(Number.isFinite)
  await scheduler.advance(20_000)
  t.same(
    order,
    expected.sort((a, b) => a - b),
  )
})

t.test('an owner may change deadlines, its own too, while one passes', async (t) => {
  const { scheduler, deadlines, passed, timed } = setUp()
  const other = timed('other')
  let times = 0
  const again: Timed = {
    deadline: new Deadline(),
    onDeadline() {
      if (times++ < 3) deadlines.set(again, scheduler.now() + 10)
      deadlines.remove(other)
    },
  }
  deadlines.set(other, 10)
  deadlines.set(again, 10)
  await scheduler.advance(100)
  t.equal(times, 4)
  t.ok(passed.length <= 1)
})
