import { once } from 'node:events'
import { constants, createServer, type ServerHttp2Stream } from 'node:http2'
import t, { type Test } from 'tap'
import { until } from '../../support/plain-gateway.ts'
import { later } from '../../support/raw-target.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const transport = testTransport()

async function setUp(t: Test, onStream: (stream: ServerHttp2Stream, path: string) => void, limits = {}) {
  const server = createServer()
  const sessions = new Set<{ destroy(): void }>()
  let opened = 0
  server.on('session', (session) => {
    opened++
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
    session.on('error', () => {})
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream as ServerHttp2Stream, String(headers[':path']))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const connections = connectionsTo({ url: `http://127.0.0.1:${port}`, http2: true, ...limits }, transport)
  t.teardown(() => {
    for (const session of sessions) session.destroy()
    server.close()
  })
  return {
    ask: (request?: TestRequest) => exchange(connections, request),
    opened: () => opened,
    connected: () => sessions.size,
    close: () => connections.close(),
    limitConnections(count: number) {
      connections.maxConnections = count
    },
  }
}

t.test('a stream that its target refuses was not processed (RFC 9113, section 8.7)', async (t) => {
  const { ask } = await setUp(t, (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM))
  t.match(await ask({ method: 'POST' }).outcome, {
    kind: 'failed',
    code: 'upstream_reset',
    unprocessed: true,
    unconnected: false,
    bodyTouched: false,
    answerBegan: false,
  })
})

t.test('a stream that its target resets for another reason may have been processed', async (t) => {
  const { ask } = await setUp(t, (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR))
  t.match(await ask().outcome, { kind: 'failed', code: 'upstream_reset', unprocessed: false })
})

t.test(
  'a GOAWAY that leaves a stream out says that it was not processed; the next one has a new connection',
  async (t) => {
    const { ask, opened } = await setUp(t, (stream, path) => {
      if (path === '/last') stream.session!.goaway(constants.NGHTTP2_NO_ERROR, Math.max(0, stream.id! - 2))
      else {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      }
    })
    t.same(await ask().outcome, { kind: 'answered', status: 200 })
    t.match(await ask({ path: '/last' }).outcome, { kind: 'failed', unprocessed: true })
    t.same(await ask().outcome, { kind: 'answered', status: 200 })
    t.equal(opened(), 2)
  },
)

t.test('an answer that comes before the end of its upload arrives, and the stream is closed', async (t) => {
  const closed: Promise<unknown>[] = []
  const { ask } = await setUp(t, (stream) => {
    closed.push(once(stream, 'close'))
    stream.respond({ ':status': 413 })
    stream.end('enough')
  })
  const { client, outcome } = ask({ body: 'pushed' })
  client.push('part')
  t.same(await outcome, { kind: 'answered', status: 413 })
  t.equal(client.body, 'enough')
  await Promise.all(closed)
})

t.test('1xx are bounded, and put the limit of an answer not off', async (t) => {
  const flood = await setUp(t, (stream) => {
    for (let n = 0; n < 200; n++) stream.additionalHeaders({ ':status': 103, link: '<a>' })
  })
  const { client, outcome } = flood.ask()
  t.match(await outcome, { kind: 'failed', code: 'upstream_invalid' })
  t.equal(client.informed.length, 32)
  const drip = await setUp(
    t,
    (stream) => {
      const each = setInterval(() => stream.additionalHeaders({ ':status': 103 }), 50)
      stream.once('close', () => clearInterval(each))
    },
    { responseMs: 400 },
  )
  const startedAt = performance.now()
  t.match(await drip.ask().outcome, { kind: 'failed', code: 'upstream_timeout' })
  t.ok(performance.now() - startedAt < 900)
})

t.test('an answer that stands still is over after its limit', async (t) => {
  const { ask } = await setUp(
    t,
    (stream) => {
      stream.respond({ ':status': 200 })
      stream.write('part')
    },
    { idleMs: 300 },
  )
  const startedAt = performance.now()
  const { client, outcome } = ask()
  t.match(await outcome, { kind: 'failed', code: 'upstream_timeout', answerBegan: true })
  t.equal(client.body, 'part')
  t.ok(performance.now() - startedAt < 800)
})

t.test('a connection that is lost breaks its exchanges off', async (t) => {
  const { ask } = await setUp(t, (stream) => {
    setTimeout(() => stream.session!.destroy(), 20)
  })
  t.match(await ask().outcome, {
    kind: 'failed',
    code: 'upstream_reset',
    unprocessed: false,
    answerBegan: false,
  })
  await later(10)
  t.match(await ask().outcome, { kind: 'failed', code: 'upstream_reset' })
})

t.test('a connection that is opened for an exchange of a target that is closing ends with it', async (t) => {
  const { ask, close, connected, opened } = await setUp(t, (stream) => {
    stream.respond({ ':status': 200 })
    stream.end('ok')
  })
  const { outcome } = ask()
  await close()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(opened(), 1)
  await until(() => connected() === 0, 5000)
})

t.test('answers arrive however much of uploads waits to be taken', async (t) => {
  const streams: ServerHttp2Stream[] = []
  const { ask, opened, limitConnections } = await setUp(t, (stream) => streams.push(stream))
  limitConnections(1)
  const exchanges = Array.from({ length: 200 }, () => ask({ body: 'pushed' }))
  for (const { client } of exchanges) client.push(Buffer.alloc(65_536))
  await until(() => streams.length === exchanges.length, 5000)
  for (const stream of streams) {
    stream.respond({ ':status': 200 })
    stream.end('ok')
  }
  for (const { outcome } of exchanges) t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(opened(), 1)
})

t.test('an upload that its target does not take is over after the limit of idleness', async (t) => {
  const { ask } = await setUp(t, () => {}, { idleMs: 400, responseMs: 10_000 })
  for (const isWhole of [false, true]) {
    const startedAt = performance.now()
    const { client, outcome } = ask({ body: 'pushed' })
    for (let n = 0; n < 10; n++) client.push(Buffer.alloc(60_000))
    if (isWhole) client.push(null)
    t.match(await outcome, {
      kind: 'failed',
      code: 'upstream_timeout',
      bodyTouched: true,
      answerBegan: false,
    })
    const took = performance.now() - startedAt
    t.ok(took >= 390 && took < 2000, `${Math.round(took)} ms`)
  }
})

t.test('a target that takes an upload as it comes is not blamed for the pauses of its client', async (t) => {
  const { ask } = await setUp(
    t,
    (stream) => {
      stream.resume()
      stream.once('end', () => {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      })
    },
    { idleMs: 200, responseMs: 200 },
  )
  const { client, outcome } = ask({ body: 'pushed' })
  for (let n = 0; n < 3; n++) {
    client.push(Buffer.alloc(100_000))
    await later(300)
  }
  client.push(null)
  t.same(await outcome, { kind: 'answered', status: 200 })
})

t.test('an upload that is not taken is over in time, whatever else passes on its connection', async (t) => {
  const { ask, opened } = await setUp(
    t,
    (stream, path) => {
      if (path === '/busy') stream.resume()
    },
    { idleMs: 400 },
  )
  const busy = ask({ body: 'pushed', path: '/busy' })
  const passing = setInterval(() => busy.client.push(Buffer.alloc(100)), 20)
  t.teardown(() => clearInterval(passing))
  const startedAt = performance.now()
  const { client, outcome } = ask({ body: 'pushed' })
  for (let n = 0; n < 10; n++) client.push(Buffer.alloc(60_000))
  t.match(await outcome, { kind: 'failed', code: 'upstream_timeout' })
  const took = performance.now() - startedAt
  t.ok(took < 1500, `${Math.round(took)} ms`)
  busy.client.leave()
  await busy.outcome
  t.equal(opened(), 1)
})
