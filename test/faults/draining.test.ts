import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { TestGateway } from '../support/gateway.ts'
import { SWITCHED } from '../support/handshake.ts'
import { ask } from '../support/http-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { OK, type RawBackend, type RawRequest, startRawBackend } from '../support/raw-backend.ts'

async function setUp(t: Test, env: Record<string, string>, answer?: (request: RawRequest) => void) {
  const backend = await startRawBackend(answer ?? (({ socket }) => void socket.write(OK)))
  t.teardown(() => backend.close())
  const gateway = await plainGateway(t, { targets: [backend.url], env })
  return { backend, gateway }
}

/** A client's raw connection; `text` is everything that it has received. */
async function client(t: Test, gateway: TestGateway) {
  const socket: Socket = connect(gateway.port, '127.0.0.1')
  const state = { socket, text: '', ended: false, closed: once(socket, 'close') }
  socket.on('data', (data) => {
    state.text += data
  })
  socket.on('error', () => {})
  socket.on('end', () => {
    state.ended = true
  })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return state
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const WEBSOCKET =
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'

const shuttingDown = (gateway: TestGateway) => gateway.line(({ msg }) => msg === 'shutting down')
const arrived = (backend: RawBackend, count: number) => until(() => backend.requests.length >= count)

t.test('until DRAIN_DELAY_MS a drain is not ready, and answers with Connection: close', async (t) => {
  const { gateway } = await setUp(t, { DRAIN_DELAY_MS: '1500' })
  const kept = await client(t, gateway)
  kept.socket.write(GET)
  await until(() => kept.text.endsWith('ok'))
  t.notMatch(kept.text, /connection: close/i)
  gateway.signal('SIGTERM')
  await shuttingDown(gateway)
  const ready = await fetch(`http://127.0.0.1:${gateway.adminPort}/readyz`)
  t.equal(ready.status, 503)
  t.match(await ready.text(), /draining/)
  t.equal((await fetch(`http://127.0.0.1:${gateway.adminPort}/healthz`)).status, 200)
  const anew = await ask({ url: gateway.url, headers: { Connection: 'keep-alive' } })
  t.equal(anew.status, 200)
  t.equal(anew.headers.connection, 'close')
  kept.text = ''
  kept.socket.write(GET)
  await kept.closed
  t.match(kept.text, /^HTTP\/1\.1 200 OK\r\n/)
  t.match(kept.text, /connection: close/i)
  t.equal(await gateway.exited, 0)
})

t.test('a drain closes idle connections, lets exchanges finish, and exits with 0', async (t) => {
  const answers: (() => void)[] = []
  const { backend, gateway } = await setUp(t, {}, ({ socket, head }) => {
    if (head.startsWith('GET /slow ')) answers.push(() => void socket.write(OK))
    else socket.write(OK)
  })
  const idle = await client(t, gateway)
  idle.socket.write(GET)
  await until(() => idle.text.endsWith('ok'))
  const slow = ask({ url: `${gateway.url}/slow` })
  await arrived(backend, 2)
  gateway.signal('SIGTERM')
  await idle.closed
  t.ok(idle.ended, 'in order, without a reset')
  await until(async () => {
    const anew = connect(gateway.port, '127.0.0.1')
    const refused = await once(anew, 'connect').then(
      () => false,
      (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
    )
    anew.destroy()
    return refused
  })
  answers[0]!()
  const { status, headers, body } = await slow
  t.same([status, headers.connection, body], [200, 'close', 'ok'])
  t.equal(await gateway.exited, 0)
})

t.test('a request that is being received when the drain begins is served', async (t) => {
  const { gateway } = await setUp(t, {})
  const late = await client(t, gateway)
  late.socket.write('GET / HTTP/1.1\r\nHo')
  await new Promise((resolve) => setTimeout(resolve, 100))
  gateway.signal('SIGTERM')
  await shuttingDown(gateway)
  await new Promise((resolve) => setTimeout(resolve, 200))
  late.socket.write('st: a\r\n\r\n')
  await late.closed
  t.match(late.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close[\s\S]*ok$/i)
  t.equal(await gateway.exited, 0)
})

t.test('streams continue until DRAIN_TIMEOUT_MS and are ended then', async (t) => {
  const { backend, gateway } = await setUp(t, { DRAIN_TIMEOUT_MS: '1000' }, ({ socket, head }) => {
    if (/upgrade: websocket/i.test(head)) socket.write(SWITCHED)
    else
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
  })
  const ws = await client(t, gateway)
  ws.socket.write(WEBSOCKET)
  const sse = await client(t, gateway)
  sse.socket.write(GET)
  await until(() => /^HTTP\/1\.1 101/.test(ws.text) && /^HTTP\/1\.1 200/.test(sse.text))
  const startedAt = performance.now()
  gateway.signal('SIGTERM')
  await shuttingDown(gateway)
  for (const socket of backend.open) socket.write(socket === [...backend.open][0] ? 'frame' : '')
  await Promise.all([ws.closed, sse.closed])
  const after = performance.now() - startedAt
  t.ok(after > 900 && after < 3000, `closed after ${Math.round(after)} ms`)
  t.equal(await gateway.exited, 0)
})

t.test('a request without an answer at DRAIN_TIMEOUT_MS gets an answer with the reason', async (t) => {
  const { backend, gateway } = await setUp(t, { DRAIN_TIMEOUT_MS: '500', ACCESS_LOG: 'on' }, () => {})
  const slow = ask({ url: gateway.url })
  await arrived(backend, 1)
  gateway.signal('SIGTERM')
  const { status, headers, body } = await slow
  t.same([status, headers.connection, JSON.parse(body).code], [503, 'close', 'draining'])
  t.ok(headers['retry-after'])
  t.equal(await gateway.exited, 0)
  t.match(
    gateway.lines.find(({ msg }) => msg === 'request'),
    { status: 503, code: 'draining' },
  )
})

t.test('a second SIGTERM ends the process at once', async (t) => {
  const { backend, gateway } = await setUp(t, {}, () => {})
  const hung = await client(t, gateway)
  hung.socket.write(GET)
  await arrived(backend, 1)
  gateway.signal('SIGTERM')
  await shuttingDown(gateway)
  const startedAt = performance.now()
  gateway.signal('SIGTERM')
  await gateway.exited
  t.ok(performance.now() - startedAt < 1000)
})
