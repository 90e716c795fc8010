import t from 'tap'
import { watchEventLoop } from '../../gateway/telemetry/event-loop.ts'

/** A clock whose timers come late by as much as the test says. */
function lateClock() {
  let now = 0
  let timer: { readonly at: number; readonly task: () => void } | null = null
  return {
    now: () => now,
    after(ms: number, task: () => void) {
      timer = { at: now + ms, task }
      return () => {
        timer = null
      }
    },
    /** Runs the timers of so long a time, each late by so much. */
    pass(ms: number, lateMs = 0) {
      const end = now + ms
      while (timer !== null && timer.at <= end) {
        const { at, task } = timer
        now = at + lateMs
        task()
      }
      now = Math.max(now, end)
    },
  }
}

t.test('an event loop that is in time, or late by what nobody notices, was not held up', async (t) => {
  const clock = lateClock()
  const watch = watchEventLoop(clock)
  clock.pass(10_000)
  clock.pass(10_000, 90)
  t.equal(watch.heldUpMs, 0)
})

t.test('one long wait counts by its length, for a minute', async (t) => {
  const clock = lateClock()
  const watch = watchEventLoop(clock)
  clock.pass(200, 7000)
  t.equal(watch.heldUpMs, 7000)
  clock.pass(50_000)
  t.equal(watch.heldUpMs, 7000)
  clock.pass(11_000)
  t.equal(watch.heldUpMs, 0)
})

t.test('a loop that is always late was held up for as long as it was late', async (t) => {
  const clock = lateClock()
  const watch = watchEventLoop(clock)
  clock.pass(100_000, 200)
  t.ok(watch.heldUpMs > 28_000 && watch.heldUpMs < 32_000, `${watch.heldUpMs} of a minute`)
})
