import type { ServerHttp2Stream } from 'node:http2'
import t, { type Test } from 'tap'
import { startHttp2Backend } from '../../support/http2-backend.ts'
import { until } from '../../support/plain-gateway.ts'
import { connectionsTo, type Exchange, exchange } from '../../support/target-client.ts'

/** A target without a limit of streams that answers once the test has it do so. */
async function setUp(t: Test) {
  const streams: ServerHttp2Stream[] = []
  const sessions: unknown[] = []
  const { url, connections: opened } = await startHttp2Backend(t, (stream) => {
    streams.push(stream)
    sessions.push(stream.session)
  })
  const connections = connectionsTo({ url, http2: true })
  const ask = (count: number) => Array.from({ length: count }, () => exchange(connections))
  return {
    connections,
    ask,
    streams,
    opened,
    begun: (count: number) => until(() => streams.length === count, 10_000, 5),
    async leave(exchanges: readonly Exchange[]) {
      for (const { client } of exchanges) client.leave()
      for (const { outcome } of exchanges) t.same(await outcome, { kind: 'client-gone' })
    },
    async answerAll(exchanges: readonly Exchange[]) {
      for (const stream of streams) {
        if (stream.destroyed) continue
        stream.respond({ ':status': 200 })
        stream.end()
      }
      for (const { outcome } of exchanges) t.same(await outcome, { kind: 'answered', status: 200 })
    },
    /** How many streams each connection has carried. */
    shares: () => [...new Set(sessions)].map((session) => sessions.filter((each) => each === session).length),
  }
}

t.test('a connection with fifty resets carries what is under way on it, and nothing new', async (t) => {
  const { ask, begun, leave, answerAll, opened, shares } = await setUp(t)
  const others = ask(3)
  for (let left = 10; left <= 50; left += 10) {
    const leaving = ask(10)
    await begun(3 + left)
    await leave(leaving)
  }
  const next = ask(2)
  await begun(55)
  t.same(shares(), [53, 2])
  await answerAll([...others, ...next])
  await until(() => opened.size === 1)
})

t.test('no more can be reset on a connection at once than any server expects', async (t) => {
  const { ask, begun, leave, answerAll, opened } = await setUp(t)
  const first = ask(100)
  await begun(100)
  t.equal(opened.size, 1)
  const second = ask(100)
  await begun(200)
  t.equal(opened.size, 2)
  await leave([...first, ...second.slice(0, 40)])
  // The second connection has room for the resets of 40 and for 60 that are under way.
  await until(() => opened.size === 1)
  const third = ask(1)
  await begun(201)
  t.equal(opened.size, 2)
  await answerAll([...second.slice(40), ...third])
})

t.test('within `maxConnections` a connection with resets is used as long as it lasts', async (t) => {
  const { connections, ask, begun, leave, answerAll, opened } = await setUp(t)
  connections.maxConnections = 1
  const leaving = ask(150)
  await begun(150)
  const staying = ask(1)
  await begun(151)
  await leave(leaving)
  const last = ask(1)
  await begun(152)
  t.equal(opened.size, 1)
  await answerAll([...staying, ...last])
})

t.test('streams that their target has ended itself are no resets', async (t) => {
  const { ask, begun, streams, opened } = await setUp(t)
  for (let count = 50; count <= 200; count += 50) {
    const refused = ask(50)
    await begun(count)
    for (const stream of streams.slice(-50)) stream.close(7)
    for (const { outcome } of refused) t.match(await outcome, { kind: 'failed', unprocessed: true })
  }
  t.equal(opened.size, 1)
})
