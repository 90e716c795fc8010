import t from 'tap'
import { createTargetFailureLog, type TargetFailure } from '../../gateway/pipeline/target-failure-log.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'

function stage() {
  const scheduler = createFakeScheduler()
  const lines: object[] = []
  const write = (fields: object) => void lines.push(fields)
  const log = createTargetFailureLog({ info: write, warn: write, error: write }, scheduler)
  let requests = 0
  const fail = (more: Partial<TargetFailure> = {}) =>
    log.add({
      requestId: `r${++requests}`,
      upstream: 'api',
      target: 'http://a',
      code: 'upstream_unreachable',
      err: new Error('refused'),
      ...more,
    })
  return { scheduler, lines, fail, close: () => log.close() }
}

t.test('a target that begins to fail has one line at once, however many requests fail', async (t) => {
  const { scheduler, lines, fail } = stage()
  for (let n = 0; n < 1000; n++) fail()
  t.match(lines, [{ requestId: 'r1', target: 'http://a', code: 'upstream_unreachable', err: Error }])
  t.equal(lines.length, 1)
  await scheduler.advance(5000)
  t.match(lines[1], { failed: 999, withinMs: 5000, requestId: 'r1000', target: 'http://a' })
})

t.test('while it goes on there are fewer and fewer lines, a minute apart at most', async (t) => {
  const { scheduler, lines, fail } = stage()
  for (let second = 0; second < 600; second++) {
    fail()
    await scheduler.advance(1000)
  }
  t.same(
    lines.slice(1, 7).map((line) => 'withinMs' in line && line.withinMs),
    [5000, 10_000, 20_000, 40_000, 60_000, 60_000],
  )
})

t.test('each target, upstream and code has a line of its own', async (t) => {
  const { lines, fail } = stage()
  for (const more of [
    {},
    { target: 'http://b' },
    { upstream: 'files' },
    { code: 'upstream_reset' },
  ] as const) {
    fail(more)
    fail(more)
  }
  t.equal(lines.length, 4)
})

t.test('a target that was well for a while has a line at once when it fails again', async (t) => {
  const { scheduler, lines, fail } = stage()
  fail()
  await scheduler.advance(5000)
  t.equal(lines.length, 1, 'none for no failures')
  t.same(scheduler.due, [], 'and nothing waits for it')
  fail()
  t.equal(lines.length, 2)
})

t.test('what has no line yet when the gateway ends gets one then', async (t) => {
  const { scheduler, lines, fail, close } = stage()
  for (let n = 0; n < 3; n++) fail()
  await scheduler.advance(2000)
  close()
  t.match(lines[1], { failed: 2, withinMs: 2000, requestId: 'r3' })
  t.same(scheduler.due, [], 'no timer is left')
})
