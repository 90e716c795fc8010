import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { answerOf, askHttp2, http2Client } from '../support/http2-client.ts'
import {
  CONTINUATION,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  literal,
  PING,
  RST_STREAM,
  rawHttp2,
  requestBlock,
  SETTINGS,
} from '../support/http2-frames.ts'
import { until } from '../support/plain-gateway.ts'
import { type Stage, startStage } from '../support/stage.ts'

const WHOLE = END_HEADERS | END_STREAM
const MIB = 1_048_576

let stage: Stage

t.before(async () => {
  const authority = createAuthority(t, 'the edge authority')
  const { certFile, keyFile } = authority.issue('app.example.com', ['DNS:app.example.com'])
  stage = await startStage({
    env: {
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      REQUEST_TIMEOUT_MS: '1000',
      LOOKUP_TIMEOUT_MS: '10000',
      ACCESS_LOG: 'off',
    },
  })
})
t.teardown(() => stage.close())

t.test('idle connections are closed, whatever their clients do', async (t) => {
  const authority = createAuthority(t, 'the authority of an edge with short patience')
  const { certFile, keyFile } = authority.issue('app.example.com', ['DNS:app.example.com'])
  const own = await startStage({
    env: {
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      KEEP_ALIVE_TIMEOUT_MS: '400',
      HEADERS_TIMEOUT_MS: '400',
      DRAIN_TIMEOUT_MS: '500',
      REQUEST_TIMEOUT_MS: '1000',
    },
  })
  t.teardown(() => own.close())
  const openConnections = () => own.gateway.metric('gateway_client_connections')

  await t.test('a connection that was busy when its idle time ended is closed once it is idle', async (t) => {
    const client = http2Client(t, own.port)
    const closed = new Promise<void>((resolve) => client.once('close', resolve))
    const stream = client.request({ ':method': 'POST', ':path': '/', ':authority': 'app.example.com' })
    stream.on('error', () => {})
    await new Promise((resolve) => setTimeout(resolve, 1000))
    t.notOk(client.closed, 'not while a stream is open')
    stream.close()
    await closed
  })

  await t.test('handshakes that are never finished do not use up MAX_CONNECTIONS', async (t) => {
    for (const bytes of ['', '\x16\x03\x01', '\x16\x03\x01\x02\x00\x01']) {
      const silent = connect(own.port, '127.0.0.1')
      silent.on('error', () => {})
      silent.write(bytes, 'latin1')
      await once(silent.resume(), 'close')
    }
    await until(async () => (await openConnections()) === 0)
    t.equal(await own.gateway.metric('gateway_tls_handshakes_failed_total'), 3)
    t.equal(
      await own.gateway.metric('gateway_requests_total{route="none",status="400"}'),
      0,
      'nobody was answered',
    )
  })

  await t.test('a connection is ended even if the client does not close its side', async (t) => {
    const idle = await stubbornClient(t, own.port)
    await until(async () => (await openConnections()) === 0)
    idle.destroy()
  })

  await t.test('clients that stay connected do not keep a process from exiting', async (t) => {
    const open = [await stubbornClient(t, own.port), connect(own.port, '127.0.0.1')]
    for (const socket of open) socket.on('error', () => {})
    await until(async () => (await openConnections()) === 2)
    own.gateway.signal('SIGTERM')
    t.equal(await own.gateway.exited, 0)
    for (const socket of open) socket.destroy()
  })
})

/** A client that has negotiated HTTP/2 and sent its preface, and never closes its side. */
async function stubbornClient(t: Test, port: number): Promise<Socket> {
  const { socket } = await rawHttp2(port, { allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  return socket
}

function residentBytes(): number {
  const pages = readFileSync(`/proc/${stage.gateway.pid}/statm`, 'utf8').split(' ')[1]
  return Number(pages) * 4096
}

/** The process is alive, has not grown much, and serves others. */
async function unharmed(t: Parameters<typeof http2Client>[0], before: number) {
  const { status } = await askHttp2(http2Client(t, stage.port), { ':path': '/secure', cookie: stage.cookie })
  t.equal(status, 200, 'a good client on another connection is served')
  t.ok(residentBytes() < before + 100 * MIB, 'memory is bounded')
}

t.test('rapid reset (CVE-2023-44487): streams opened and reset at once end the connection', async (t) => {
  const before = residentBytes()
  const attacker = await rawHttp2(stage.port)
  const block = requestBlock()
  let stream = 1
  while (!attacker.socket.destroyed && stream < 40_000) {
    const burst = []
    for (let n = 0; n < 200; n++, stream += 2) {
      burst.push({ type: HEADERS, flags: WHOLE, stream, payload: block })
      burst.push({ type: RST_STREAM, stream, payload: Buffer.from([0, 0, 0, 8]) })
    }
    attacker.send(...burst)
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.ok(await attacker.frame(GOAWAY), 'the gateway says that it has enough')
  await attacker.ended
  await unharmed(t, before)
})

t.test('CONTINUATION flood (CVE-2024-27316): a head without an end ends the connection', async (t) => {
  const before = residentBytes()
  const attacker = await rawHttp2(stage.port)
  attacker.send({ type: HEADERS, flags: END_STREAM, stream: 1, payload: requestBlock() })
  const payload = literal('x-filler', 'x'.repeat(8000))
  for (let n = 0; n < 2000 && !attacker.socket.destroyed; n++) {
    attacker.send({ type: CONTINUATION, stream: 1, payload })
    await new Promise((resolve) => setImmediate(resolve))
  }
  await attacker.ended
  t.pass('the connection was ended')
  await unharmed(t, before)
})

t.test('a flood of GOAWAY while a stream is open does not grow memory', async (t) => {
  const before = residentBytes()
  stage.upstream.respond(() => {}, 'head')
  const attacker = await rawHttp2(stage.port)
  attacker.send({ type: HEADERS, flags: WHOLE, stream: 1, payload: requestBlock() })
  const goaway = { type: GOAWAY, payload: Buffer.alloc(8) }
  for (let n = 0; n < 300 && !attacker.socket.destroyed; n++) {
    if (!attacker.send(...Array.from({ length: 1000 }, () => goaway))) {
      await Promise.race([once(attacker.socket, 'drain').catch(() => {}), attacker.ended])
    }
  }
  attacker.send({ type: PING, payload: Buffer.alloc(8) })
  t.ok(await attacker.frame(PING), 'they have all been read')
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  await unharmed(t, before)
  attacker.socket.destroy()
})

t.test('SETTINGS and PING floods: replies that the client does not read do not pile up', async (t) => {
  for (const type of [SETTINGS, PING]) {
    const before = residentBytes()
    const attacker = await rawHttp2(stage.port)
    attacker.socket.pause()
    const payload = type === PING ? Buffer.alloc(8) : Buffer.alloc(0)
    const burst = Array.from({ length: 1000 }, () => ({ type, payload }))
    for (let n = 0; n < 300 && !attacker.socket.destroyed; n++) {
      attacker.send(...burst)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await unharmed(t, before)
    attacker.socket.destroy()
  }
})

t.test('a header bomb: a small block that HPACK unfolds into megabytes is refused', async (t) => {
  const before = residentBytes()
  const attacker = await rawHttp2(stage.port)
  // One entry of the dynamic table, and four thousand references of one byte to it.
  const bomb = Buffer.concat([literal('x-bomb', 'x'.repeat(3000), 0x40), Buffer.alloc(4000, 0xbe)])
  attacker.send({ type: HEADERS, flags: WHOLE, stream: 1, payload: Buffer.concat([requestBlock(), bomb]) })
  const refused = await Promise.race([attacker.frame(RST_STREAM), attacker.frame(GOAWAY)])
  t.ok(refused, 'the stream or the connection is refused')
  attacker.socket.destroy()
  await unharmed(t, before)
})

t.test('a zero window: answers that the client never takes are ended in time', async (t) => {
  const before = residentBytes()
  stage.upstream.respond((_request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${MIB}\r\n\r\n`)
    socket.write(Buffer.alloc(MIB))
  })
  const session = http2Client(t, stage.port, { settings: { initialWindowSize: 0 } })
  const held = await Promise.all(
    Array.from({ length: 50 }, () =>
      askHttp2(session, { ':path': '/' }).then(
        () => 0,
        ({ rstCode }) => rstCode,
      ),
    ),
  )
  t.same(new Set(held), new Set([8]), 'each was cancelled within REQUEST_TIMEOUT_MS')
  await until(() =>
    stage.upstream.connections.every(({ socket }) => socket.destroyed || socket.writableLength === 0),
  )
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  await unharmed(t, before)
})

t.test('a zero window: answers that are not taken are ended in time beside others that are', async (t) => {
  stage.upstream.respond(({ target }, socket) => {
    const length = target === '/taken' ? 0 : MIB
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`)
    socket.write(Buffer.alloc(length))
  })
  const session = http2Client(t, stage.port, { settings: { initialWindowSize: 0 } })
  let ended = 0
  for (let n = 0; n < 40; n++) {
    askHttp2(session, { ':path': '/' }).catch(() => ended++)
    await askHttp2(session, { ':path': '/taken' })
  }
  const end = performance.now() + 4000
  while (ended < 40 && performance.now() < end) {
    await askHttp2(session, { ':path': '/taken' })
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  t.equal(ended, 40)
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
})

t.test('an upload that never ends is ended in time', async (t) => {
  stage.upstream.respond(() => {}, 'head')
  const session = http2Client(t, stage.port)
  const stream = session.request({ ':path': '/', ':method': 'POST', ':authority': 'app.example.com' })
  stream.on('error', () => {})
  stream.write('x')
  const { status, body } = await answerOf(stream)
  t.equal(status, 408)
  t.match(JSON.parse(body), { code: 'request_timeout' })
  t.equal(await stage.gateway.metric('gateway_requests_total{route="/",status="408"}'), 1)
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
})

for (const [what, fields] of [
  ['CR LF in a value (request splitting)', [['x-a', 'b\r\nX-User-Id: mallory']]],
  ['NUL in a value', [['x-a', 'b\0c']]],
  ['an upper-case name', [['X-User-Id', 'mallory']]],
  ['a connection field (Connection: cookie)', [['connection', 'cookie']]],
  ['Transfer-Encoding beside the frames (request smuggling)', [['transfer-encoding', 'chunked']]],
  ['a pseudo-header field that is not known', [[':status', '200']]],
] as const) {
  t.test(`${what} never reaches the upstream`, async (t) => {
    const before = stage.upstream.requests.length
    const attacker = await rawHttp2(stage.port)
    attacker.send({ type: HEADERS, flags: WHOLE, stream: 1, payload: requestBlock(fields) })
    // Malformed fields are refused with their stream or left out, and never forwarded.
    t.ok(
      await Promise.race([RST_STREAM, GOAWAY, HEADERS].map((type) => attacker.frame(type))),
      'it is answered',
    )
    attacker.socket.destroy()
    const forwarded = stage.upstream.requests.slice(before).flatMap(({ headers }) => headers)
    const names = new Set(['x-a', 'x-user-id', 'transfer-encoding', ':status'])
    t.same(
      forwarded.filter(([name, value]) => names.has(name.toLowerCase()) || value === 'cookie'),
      [],
      'nothing of it was forwarded',
    )
    await unharmed(t, residentBytes())
  })
}

for (const [what, fields] of [
  ['Host that says otherwise than :authority', { ':path': '/', host: 'evil.example.com' }],
  ['OPTIONS *', { ':path': '*', ':method': 'OPTIONS' }],
  ['a method in lower case, which some backends read as GET', { ':path': '/secure', ':method': 'get' }],
  ['trace in lower case', { ':path': '/', ':method': 'trace' }],
  ['a method that HTTP/1.1 does not know', { ':path': '/', ':method': 'FOO' }],
  ['a raw byte above ASCII in the path', { ':path': '/\xfc' }],
  ['overlong dots in raw bytes', { ':path': '/\xc0\xae\xc0\xae/secure' }],
  ['a :scheme that is not the connection’s', { ':path': '/', ':scheme': 'http' }],
] as const) {
  t.test(`${what} is a 400`, async (t) => {
    const before = stage.upstream.requests.length
    const { status, body } = await askHttp2(http2Client(t, stage.port), fields)
    t.equal(status, 400)
    t.match(JSON.parse(body), { code: 'bad_request' })
    t.equal(stage.upstream.requests.length, before)
  })
}

t.test('a head over MAX_HEADER_BYTES is a 431, also before the client has confirmed the limit', async (t) => {
  const before = stage.upstream.requests.length
  const attacker = await rawHttp2(stage.port)
  const block = requestBlock([['x-big', 'a'.repeat(20_000)]])
  attacker.send(
    { type: HEADERS, flags: END_STREAM, stream: 1, payload: block.subarray(0, 16_000) },
    { type: CONTINUATION, flags: END_HEADERS, stream: 1, payload: block.subarray(16_000) },
  )
  t.ok(await attacker.frame(HEADERS))
  attacker.socket.destroy()
  t.equal(await stage.gateway.metric('gateway_requests_total{route="none",status="431"}'), 1)
  t.equal(stage.upstream.requests.length, before)
})

for (const [what, path] of [
  ['a :path in absolute form', 'http://evil.example.com/'],
  ['a :path without a leading slash', 'secure'],
] as const) {
  t.test(`${what} is reset as malformed`, async (t) => {
    const before = stage.upstream.requests.length
    await t.rejects(askHttp2(http2Client(t, stage.port), { ':path': path }), { message: 'reset with 1' })
    t.equal(stage.upstream.requests.length, before)
  })
}
