import type { Socket } from 'node:net'
import t from 'tap'
import { createStallSweep, type WatchedConnection } from '../../gateway/server/stall-sweep.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'

function setUp(stallMs: number) {
  const scheduler = createFakeScheduler()
  const open = new Set<WatchedConnection>()
  const watch = createStallSweep(open, { stallMs, scheduler })
  function connect() {
    const socket = {
      writableLength: 0,
      _handle: { writeQueueSize: 0 },
      destroyedAt: -1,
      destroy() {
        socket.destroyedAt = scheduler.now()
        open.delete(connection)
      },
    }
    const connection = { socket: socket as unknown as Socket, stuckSince: 0, buffered: 0, queued: 0 }
    open.add(connection)
    watch()
    return socket
  }
  return { scheduler, connect }
}

for (const [stallMs, within] of [
  [1000, 50],
  [4999, 50],
  [5000, 1000],
  [300_000, 1000],
] as const) {
  t.test(
    `a client that takes nothing for ${stallMs} ms is disconnected within ${within} ms of that`,
    async (t) => {
      for (const offset of [0, 7, 19, 130, 449]) {
        const { scheduler, connect } = setUp(stallMs)
        connect()
        await scheduler.advance(offset)
        const socket = connect()
        await scheduler.advance(33)
        socket.writableLength = 10
        const since = scheduler.now()
        await scheduler.advance(stallMs + within)
        const late = socket.destroyedAt - since - stallMs
        t.ok(late >= 0 && late <= within, `${late} ms`)
      }
    },
  )
}

t.test('one that takes a little again and again is not, nor is one for whom nothing is ready', async (t) => {
  const { scheduler, connect } = setUp(1000)
  const [slow, idle] = [connect(), connect()]
  slow.writableLength = 1000
  slow._handle.writeQueueSize = 1000
  for (let n = 0; n < 20; n++) {
    await scheduler.advance(900)
    slow._handle.writeQueueSize--
  }
  t.same([slow.destroyedAt, idle.destroyedAt], [-1, -1])
})
