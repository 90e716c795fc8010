import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { createTokenLookup, type Lookup } from '../../../gateway/auth/token-store/token-lookup.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { createDatabase } from '../../../gateway/database/database.ts'
import { startPostgres } from '../../support/postgres.ts'

const TIMEOUT_MS = 200

function stall(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

const server = await startPostgres()
t.teardown(() => server.close())

t.test(
  'an answer that arrives while the event loop is blocked counts, though its deadline has passed',
  async (t) => {
    const database = createDatabase({
      url: server.url,
      connections: 1,
      prepare: true,
      scheduler: systemScheduler,
    })
    t.teardown(() => database.close())
    const ask = (deadlineMs: number) =>
      database.query({ text: 'select pg_sleep(0.05)', parameters: [] }, deadlineMs)
    await ask(10_000)
    const lookup = createTokenLookup({
      hosts: 1,
      async findMany(_ids, deadlineMs) {
        await ask(deadlineMs)
        return new Map()
      },
      connections: 1,
      timeoutMs: TIMEOUT_MS,
      queueMax: 10,
      scheduler: systemScheduler,
      onQuery: () => {},
    })
    const answer = new Promise<Lookup>((resolve) => lookup.find('an id', resolve))
    for (let turns = 0; turns < 5; turns++) await turn()
    stall(2 * TIMEOUT_MS)
    t.same(await answer, { kind: 'unknown' })
  },
)

t.test(
  'a scheduled task that is cancelled after it is due, and in the same turn, does not run',
  async (t) => {
    let ran = false
    const cancel = systemScheduler.after(1, () => {
      ran = true
    })
    // Due in the same turn, and after it: timers of one length run in the order in which they were set.
    const cancelled = new Promise<void>((resolve) =>
      setTimeout(() => {
        cancel()
        resolve()
      }, 1),
    )
    stall(20)
    await cancelled
    await turn()
    await turn()
    t.equal(ran, false)
  },
)
