import type { ServerHttp2Stream } from 'node:http2'
import t, { type Test } from 'tap'
import { ask } from '../support/http-client.ts'
import { startHttp2Backend } from '../support/http2-backend.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'

/** A gateway before a target that allows so many streams on a connection. */
async function setUp(t: Test, maxConcurrentStreams: number, upstream: Record<string, unknown>) {
  const streams: ServerHttp2Stream[] = []
  const { url, connections } = await startHttp2Backend(
    t,
    (stream, path) => {
      streams.push(stream)
      stream.respond({ ':status': 200 })
      if (path === '/events') stream.write('data: first\n\n')
      else stream.end('ok')
    },
    { maxConcurrentStreams },
  )
  const gateway = await plainGateway(t, { targets: [url], upstream: { protocol: 'http2', ...upstream } })
  /** So many event streams, each from a client of its own. */
  async function openEvents(count: number) {
    for (let n = 0; n < count; n++) {
      const client = await openConnection(gateway.port)
      t.teardown(() => client.destroy())
      client.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
      await client.sees('first')
    }
  }
  return { gateway, streams, connections, openEvents }
}

const codeOf = (body: string) => JSON.parse(body).code

t.test('where event streams take all streams, another connection carries what follows', async (t) => {
  const { gateway, connections, openEvents } = await setUp(t, 5, { timeouts: { response: '2s' } })
  await openEvents(5)
  t.equal(connections.size, 1)
  for (let n = 0; n < 3; n++) t.equal((await ask({ url: gateway.url })).status, 200)
  t.equal(connections.size, 2)
  await openEvents(7)
  t.equal(connections.size, 3)
})

t.test('what waits for a stream counts as `maxPending`, and is served once one is free', async (t) => {
  const { gateway, streams, connections, openEvents } = await setUp(t, 3, {
    maxConnections: 2,
    maxPending: 2,
  })
  await openEvents(6)
  const waiting = [ask({ url: gateway.url }), ask({ url: gateway.url })]
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 8)
  const refused = await ask({ url: gateway.url })
  t.same([refused.status, codeOf(refused.body)], [503, 'upstream_overloaded'])
  t.equal(streams.length, 6)
  streams[0]!.end()
  for (const { status } of await Promise.all(waiting)) t.equal(status, 200)
  t.equal(connections.size, 2)
})

t.test('what waits for a stream as long as `timeouts.response` is answered with 504', async (t) => {
  const upstream = { maxConnections: 1, timeouts: { response: '300ms' } }
  const { gateway, openEvents } = await setUp(t, 1, upstream)
  await openEvents(1)
  const { status, body } = await ask({ url: gateway.url })
  t.same([status, codeOf(body)], [504, 'upstream_timeout'])
})

t.test('of a burst before the limit is known no more wait than `maxPending`', async (t) => {
  const { gateway, streams } = await setUp(t, 4, { maxConnections: 1, maxPending: 3 })
  const clients = await Promise.all(Array.from({ length: 20 }, () => openConnection(gateway.port)))
  t.teardown(() => {
    for (const client of clients) client.destroy()
  })
  for (const client of clients) client.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
  const refused = () => clients.filter((client) => client.raw().includes('upstream_overloaded'))
  await until(() => refused().length === 13)
  t.equal(streams.length, 4)
})
