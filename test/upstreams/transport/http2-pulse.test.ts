import t from 'tap'
import { Deadlines } from '../../../gateway/core/deadlines.ts'
import { Http2Pulse } from '../../../gateway/upstreams/transport/http2-pulse.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'

/** Bytes of an answered PING. */
const ACK_BYTES = 17

function setUp() {
  const scheduler = createFakeScheduler()
  const state = { bytes: 0, doubts: [] as boolean[], lost: 0, askedAt: [] as number[] }
  let onAnswer = () => {}
  const pulse = new Http2Pulse({
    deadlines: new Deadlines(scheduler),
    bytesRead: () => state.bytes,
    ping(answer) {
      state.askedAt.push(scheduler.now())
      onAnswer = answer
    },
    onDoubt: (isDoubtful) => state.doubts.push(isDoubtful),
    onLost: () => {
      state.lost++
      pulse.close()
    },
  })
  return {
    pulse,
    state,
    advance: scheduler.advance,
    answer() {
      state.bytes += ACK_BYTES
      onAnswer()
    },
  }
}

t.test('silence of 5 s is followed by a PING, 1 s without an answer by doubt, 5 s by the end', async (t) => {
  const { pulse, state, advance } = setUp()
  pulse.listen()
  await advance(4999)
  t.same(state.askedAt, [])
  await advance(1)
  t.same(state.askedAt, [5000])
  await advance(999)
  t.same(state.doubts, [])
  await advance(1)
  t.same(state.doubts, [true])
  await advance(3999)
  t.equal(state.lost, 0)
  await advance(1)
  t.equal(state.lost, 1)
})

t.test('a connection on which something comes is not asked', async (t) => {
  const { pulse, state, advance } = setUp()
  pulse.listen()
  for (let n = 0; n < 100; n++) {
    state.bytes++
    await advance(4000)
  }
  t.same(state.askedAt, [])
})

t.test('a connection without exchanges is not asked', async (t) => {
  const { pulse, state, advance } = setUp()
  pulse.listen()
  pulse.rest()
  await advance(3_600_000)
  t.same(state.askedAt, [])
})

t.test('silence that goes on is asked about three times, then every five minutes', async (t) => {
  const { pulse, state, advance, answer } = setUp()
  pulse.listen()
  for (let n = 0; n < 4000; n++) {
    const before = state.askedAt.length
    await advance(250)
    if (state.askedAt.length > before) answer()
  }
  const gaps = state.askedAt.map((at, i) => at - (state.askedAt[i - 1] ?? 0))
  t.same(
    gaps.slice(0, 3).map((ms) => Math.round(ms / 1000)),
    [5, 5, 5],
  )
  t.ok(gaps.length > 4)
  t.ok(
    gaps.slice(3).every((ms) => ms >= 300_000),
    gaps.join(),
  )
  t.equal(state.lost, 0)
  state.bytes += 100
  await advance(5000)
  await advance(5000)
  t.equal(state.askedAt.length, gaps.length + 1, 'a new silence is asked about at once')
})

t.test('an answer that is behind other bytes is waited for', async (t) => {
  const { pulse, state, advance, answer } = setUp()
  pulse.listen()
  await advance(5000)
  t.equal(state.askedAt.length, 1)
  for (let n = 0; n < 50; n++) {
    state.bytes += 1000
    await advance(900)
  }
  t.same([state.doubts, state.lost], [[], 0])
  answer()
  await advance(4000)
  t.same([state.doubts, state.lost], [[], 0])
})

t.test('a time-out in which nothing came is doubt at once; an answer ends it', async (t) => {
  const { pulse, state, answer, advance } = setUp()
  pulse.listen()
  pulse.onTimeout(false)
  t.same(state.doubts, [true])
  t.equal(state.askedAt.length, 1)
  answer()
  t.same(state.doubts, [true, false])
  pulse.rest()
  await advance(60_000)
  t.equal(state.lost, 0)
})

t.test('a time-out in which something came is a PING, and no doubt', async (t) => {
  const { pulse, state, advance } = setUp()
  pulse.listen()
  pulse.onTimeout(true)
  t.same([state.askedAt.length, state.doubts], [1, []])
  pulse.onTimeout(true)
  t.equal(state.askedAt.length, 1)
  pulse.rest()
  await advance(5000)
  t.equal(state.lost, 1, 'though no exchange is left')
})
