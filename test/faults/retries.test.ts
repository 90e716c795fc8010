import { once } from 'node:events'
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { SWITCHED } from '../support/handshake.ts'
import { ask, keepAliveAgent, many } from '../support/http-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { freePort, OK, type RawRequest, startRawBackend } from '../support/raw-backend.ts'
import { openConnection, rawRequest } from '../support/raw-http.ts'

const gatewayTo = (t: Test, targets: readonly (string | object)[], upstream: Record<string, unknown> = {}) =>
  plainGateway(t, { targets, upstream })

/** The pieces of a chunked body in one. Where they are cut is each sender's own choice (RFC 9112, section 7.1). */
const joinChunks = (body: string) => body.replace(/[0-9a-f]+\r\n([^\r]*)\r\n/g, '$1')

async function backend(t: Test, answer: (request: RawRequest) => void) {
  const started = await startRawBackend(answer)
  t.teardown(() => started.close())
  return started
}

t.test('keep-alive race: no GET fails when a backend closes after every answer', async (t) => {
  const raw = await backend(t, ({ socket }) => socket.end(OK))
  const gateway = await gatewayTo(t, [raw.url], { ejection: { consecutiveFailures: 2 } })

  await t.test('4,000 one after the other', async (t) => {
    const agent = keepAliveAgent(1)
    t.teardown(() => agent.destroy())
    const seen = new Map<number, number>()
    for (let n = 0; n < 4000; n++) {
      const { status } = await ask({ url: `${gateway.url}/${n}`, agent })
      seen.set(status, (seen.get(status) ?? 0) + 1)
    }
    t.same([...seen], [[200, 4000]])
  })

  await t.test('4,000 at once from 200 clients', async (t) => {
    const agent = keepAliveAgent(200)
    t.teardown(() => agent.destroy())
    const seen = new Map<number, number>()
    await many(4000, 200, async (n) => {
      const { status } = await ask({ url: `${gateway.url}/${n}`, agent })
      seen.set(status, (seen.get(status) ?? 0) + 1)
    })
    t.same([...seen], [[200, 4000]])
  })
})

t.test('keep-alive race: no GET fails when idle connections are reset', async (t) => {
  const raw = await backend(t, ({ socket, nth }) => {
    if (nth === 1) socket.write(OK)
    else socket.resetAndDestroy()
  })
  const gateway = await gatewayTo(t, [raw.url])
  const agent = keepAliveAgent(20)
  t.teardown(() => agent.destroy())
  const seen = new Map<number, number>()
  await many(2000, 20, async () => {
    const { status } = await ask({ url: gateway.url, agent })
    seen.set(status, (seen.get(status) ?? 0) + 1)
  })
  t.same([...seen], [[200, 2000]])
})

t.test('a POST is not retried after a reset', async (t) => {
  const raw = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const other = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const gateway = await gatewayTo(t, [raw.url, other.url], { retries: 3 })
  const answer = await ask({ url: gateway.url, method: 'POST', body: 'once' })
  t.equal(answer.status, 502)
  t.equal(JSON.parse(answer.body).code, 'upstream_reset')
  t.equal(raw.requests.length + other.requests.length, 1)
})

t.test('a POST without a body is not retried after a reset', async (t) => {
  const raw = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const other = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const gateway = await gatewayTo(t, [raw.url, other.url], { retries: 3 })
  const answer = await ask({ url: gateway.url, method: 'POST', headers: { 'Content-Length': '0' } })
  t.equal(answer.status, 502)
  t.equal(raw.requests.length + other.requests.length, 1)
})

t.test('a GET whose connection was reset is retried at the other target', async (t) => {
  const bad = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const good = await backend(t, ({ socket }) => socket.write(OK))
  const gateway = await gatewayTo(t, [bad.url, good.url])
  for (let n = 0; n < 10; n++) t.equal((await ask({ url: gateway.url })).status, 200)
  t.ok(bad.requests.length > 0)
  t.equal(good.requests.length, 10)
  const retried = await gateway.metric('gateway_upstream_retries_total{upstream="api"}')
  t.equal(retried, bad.requests.length)
})

t.test('a GET is not retried after the beginning of its answer', async (t) => {
  const half = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'
  const answers = ({ socket }: RawRequest) => {
    socket.write(half, () => socket.resetAndDestroy())
  }
  const raw = await backend(t, answers)
  const other = await backend(t, answers)
  const gateway = await gatewayTo(t, [raw.url, other.url], { retries: 3 })
  await t.rejects(ask({ url: gateway.url }))
  t.equal(raw.requests.length + other.requests.length, 1)
})

t.test("a GET is not retried after a part of the answer's head", async (t) => {
  const answers = ({ socket }: RawRequest) => {
    socket.write('HTTP/1.1 200 OK\r\nX-Half: ', () => setImmediate(() => socket.destroy()))
  }
  const raw = await backend(t, answers)
  const other = await backend(t, answers)
  const gateway = await gatewayTo(t, [raw.url, other.url], { retries: 3 })
  t.equal((await ask({ url: gateway.url })).status, 502)
  t.equal(raw.requests.length + other.requests.length, 1)
})

t.test('with "retries": 0 no request is retried', async (t) => {
  const raw = await backend(t, ({ socket, nth }) => {
    if (nth === 1) socket.write(OK)
    else socket.resetAndDestroy()
  })
  const gateway = await gatewayTo(t, [raw.url], { retries: 0 })
  t.equal((await ask({ url: gateway.url })).status, 200)
  t.equal((await ask({ url: gateway.url })).status, 502)
  t.equal(raw.requests.length, 2)
})

t.test('after a refused connection any method goes to the other target, with its body', async (t) => {
  const port = await freePort()
  const bodies: string[] = []
  const { createServer } = await import('node:http')
  const server = createServer(async (req, res) => {
    let body = ''
    for await (const part of req) body += part
    bodies.push(`${req.method} ${body.length}`)
    res.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const { port: goodPort } = server.address() as { port: number }
  const gateway = await gatewayTo(t, [`http://127.0.0.1:${port}`, `http://127.0.0.1:${goodPort}`])
  const body = 'x'.repeat(300_000)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'POST', 'PATCH']) {
    t.equal((await ask({ url: gateway.url, method, body })).status, 200)
  }
  t.same(
    bodies,
    ['POST', 'PUT', 'PATCH', 'DELETE', 'POST', 'PATCH'].map((method) => `${method} 300000`),
  )
  t.ok((await gateway.metric('gateway_upstream_retries_total{upstream="api"}')) >= 3)
})

t.test('after a refused connection a WebSocket handshake goes to the other target', async (t) => {
  const port = await freePort()
  const good = await backend(t, ({ socket }) => {
    socket.write(SWITCHED)
  })
  const gateway = await gatewayTo(t, [`http://127.0.0.1:${port}`, good.url])
  for (let n = 0; n < 4; n++) {
    const socket = connect(gateway.port, '127.0.0.1')
    socket.write(
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    )
    const [data] = await once(socket, 'data')
    t.match(String(data), /^HTTP\/1\.1 101 /)
    socket.destroy()
  }
  t.equal(good.requests.length, 4)
})

t.test('retries stop at the budget, so that they cannot double the load of a failing upstream', async (t) => {
  const raw = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const other = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const gateway = await gatewayTo(t, [raw.url, other.url])
  await many(500, 10, async () => {
    t.equal((await ask({ url: gateway.url })).status, 502)
  })
  const sent = raw.requests.length + other.requests.length
  t.ok(sent > 550, `${sent} requests were sent: some were retried`)
  t.ok(sent <= 500 * 1.2 + 20, `${sent} requests were sent: a fifth more and the reserve at the most`)
})

t.test('a body that arrives while an attempt fails reaches the next attempt completely', async (t) => {
  const bodies: string[] = []
  const idle: Socket[] = []
  const raw = createNetServer((socket) => {
    idle.push(socket)
    let text = ''
    socket.on('error', () => {})
    socket.on('data', (data) => {
      text += data
      const [head = '', body = ''] = text.split(/\r\n\r\n(.*)/s)
      if (!/chunked/i.test(head) || body.endsWith('0\r\n\r\n')) {
        bodies.push(body)
        text = ''
        socket.write(OK)
      }
    })
  })
  raw.listen(0, '127.0.0.1')
  await once(raw, 'listening')
  t.teardown(() => {
    for (const each of idle) each.destroy()
    raw.close()
  })
  const gateway = await gatewayTo(t, [`http://127.0.0.1:${(raw.address() as AddressInfo).port}`])
  for (let n = 0; n < 5; n++) {
    t.equal((await ask({ url: gateway.url })).status, 200)
    bodies.length = 0
    const connection = await openConnection(gateway.port)
    connection.write('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 1)
    // The connection of the attempt, which still waits for the body, ends now.
    for (const each of idle.splice(0)) each.destroy()
    connection.write('5\r\nhello\r\n')
    setImmediate(() => connection.write('6\r\n world\r\n0\r\n\r\n'))
    const { status } = await connection.response()
    connection.destroy()
    if (status === 200) t.same(bodies.map(joinChunks), ['hello world'])
    else t.equal(status, 502, 'or a part of it was gone with the first try')
  }
})

t.test('a body that turns out to be empty is empty for the next target, too', async (t) => {
  const bad = await backend(t, ({ socket }) => socket.resetAndDestroy())
  const good = await backend(t, ({ socket }) => socket.write(OK))
  const gateway = await gatewayTo(t, [bad.url, good.url], { timeouts: { response: '2s' } })
  for (let n = 0; n < 4; n++) {
    const { responses } = await rawRequest(
      gateway.port,
      'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    )
    t.equal(responses[0]?.status, 200)
  }
  t.ok(bad.requests.length > 0)
})
