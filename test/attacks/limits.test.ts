import { connect, type Socket } from 'node:net'
import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'
import {
  AUTHS,
  answerAll,
  expectMalformed,
  FORMS,
  shot,
  startRange,
  TRANSPORT,
  testOverHttp1,
  valuesOf,
} from './support.ts'

const MAX_CONNECTIONS = 40

const range = await startRange(t, {
  routes: [{ path: '/small', auth: 'none', maxBodyBytes: 100 }],
  env: {
    HEADERS_TIMEOUT_MS: '400',
    REQUEST_TIMEOUT_MS: '1200',
    KEEP_ALIVE_TIMEOUT_MS: '300',
    MAX_HEADER_BYTES: '16384',
    MAX_CONNECTIONS: String(MAX_CONNECTIONS),
  },
})

const arrivals = () => range.upstream.requests.length

t.test('headers over the limit of bytes: 431, never a silent cut', async (t) => {
  for (const auth of AUTHS) {
    const hit = await range.fire(shot('request', `/${auth}`, [`X-Big: ${'a'.repeat(17_000)}`]), {
      until: 2,
    })
    expectMalformed(t, hit, 'headers_too_large', auth)
    t.ok(hit.closed || TRANSPORT === 'http2')
  }
  const many = Array.from({ length: 1500 }, (_, n) => `X-${n}: aaaaaaaaaa`)
  const hit = await range.fire(shot('request', '/public', many))
  expectMalformed(t, hit, 'headers_too_large', 'many small fields')
  const line = await range.fire(shot('request', `/public/${'a'.repeat(17_000)}`, []))
  expectMalformed(t, line, 'headers_too_large', 'a long target')
  const fits = await range.fire(shot('request', '/public', [`X-Big: ${'a'.repeat(15_000)}`]))
  t.equal(valuesOf(fits.arrived[0]!, 'x-big')[0]!.length, 15_000)
})

t.test('headers named __proto__ and constructor pass like any other', async (t) => {
  const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', '__defineGetter__']
  for (const form of FORMS) {
    const hit = await range.fire(
      shot(
        form,
        '/public',
        names.map((name) => `${name}: x`),
      ),
    )
    t.equal(hit.arrived.length, 1)
    for (const name of names) t.same(valuesOf(hit.arrived[0]!, name.toLowerCase()), ['x'], name)
  }
})

testOverHttp1(
  'slow headers (slowloris): 408 at HEADERS_TIMEOUT_MS and closed, even if bytes keep coming',
  async (t) => {
    const before = arrivals()
    const client = await openConnection(range.port)
    client.write('GET /public HTTP/1.1\r\nHost: app.example.com\r\n')
    const drip = setInterval(() => client.write('X-A: b\r\n'), 50)
    const response = await client.response()
    clearInterval(drip)
    await client.closed
    t.equal(response.status, 408)
    t.equal(JSON.parse(response.body.toString()).code, 'request_timeout')
    t.equal(arrivals(), before)
  },
)

testOverHttp1('a slow body: the request and the upstream’s exchange end at REQUEST_TIMEOUT_MS', async (t) => {
  const before = range.upstream.connections.length
  const client = await openConnection(range.port)
  client.write('POST /public HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 1000\r\n\r\n')
  const drip = setInterval(() => client.write('a'), 50)
  const response = await client.maybeResponse()
  clearInterval(drip)
  await client.closed
  t.equal(response?.status, 408)
  const { requestId } = JSON.parse(response!.body.toString())
  t.match(
    await range.gateway.line((line) => line.msg === 'request' && line.requestId === requestId),
    { status: 408, code: 'request_timeout', route: '/public' },
    'the log tells it as the client was told',
  )
  await Promise.all(range.upstream.connections.slice(before).map(({ closed }) => closed))
  t.notOk(range.upstream.requests.some(({ method, target }) => method === 'POST' && target === '/public'))
})

testOverHttp1(
  'a whole request is answered though garbage follows it, and then the garbage with 400',
  async (t) => {
    let finish = () => {}
    range.upstream.respond((request, socket) => {
      finish = () => answerAll(request, socket)
    })
    const before = arrivals()
    const client = await openConnection(range.port)
    client.write(`${shot('request', '/public', [])}GARBAGE\r\n\r\n`)
    await until(() => arrivals() === before + 1)
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.equal(client.raw().length, 0, 'nothing is answered ahead of the request')
    finish()
    t.equal((await client.response()).status, 200)
    const response = await client.response()
    await client.closed
    t.equal(response.status, 400)
    t.equal(response.header('connection'), 'close')
    t.equal(await client.maybeResponse(), null, 'nothing else was asked')
    range.upstream.respond(answerAll)
  },
)

testOverHttp1(
  'bytes that a client sends behind a request with Connection: close do not cut the answer off',
  async (t) => {
    let finish = () => {}
    range.upstream.respond((_request, socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234')
      finish = () => void socket.write('56789')
    })
    const before = arrivals()
    const client = await openConnection(range.port)
    client.write(shot('request', '/public', ['Connection: close']))
    await client.sees('01234')
    client.write(shot('request', '/public/next', []))
    await new Promise((resolve) => setTimeout(resolve, 100))
    finish()
    t.equal((await client.response()).body.toString(), '0123456789')
    await client.closed
    t.equal(arrivals(), before + 1, 'and is not done')
    range.upstream.respond(answerAll)
  },
)

testOverHttp1(
  'a request behind a refused upload whose answer ends the connection is not handled',
  async (t) => {
    const handled = () => range.gateway.metric('gateway_request_duration_seconds_count{route="/public"}')
    const before = await handled()
    const client = await openConnection(range.port)
    client.write('POST /small HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 101\r\n\r\n')
    t.equal((await client.response()).status, 413)
    client.write(`${'a'.repeat(101)}${shot('request', '/public/next', [])}`)
    await client.closed
    t.equal(await handled(), before)
  },
)

testOverHttp1('an idle connection is closed at KEEP_ALIVE_TIMEOUT_MS', async (t) => {
  const client = await openConnection(range.port)
  client.write(shot('request', '/public', []))
  await client.response()
  const since = performance.now()
  await client.closed
  const took = performance.now() - since
  t.ok(took > 200 && took < 3000, `${took} ms`)
})

testOverHttp1('a connection that never sends a byte is closed', async () => {
  const client = await openConnection(range.port)
  await client.closed
})

t.test('a chunked body past maxBodyBytes: 413, and the upstream gets no whole request', async (t) => {
  const announced = await range.fire(
    `POST /small HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 101\r\n\r\n${'a'.repeat(101)}`,
  )
  t.same([announced.status, announced.code, announced.arrived], [413, 'body_too_large', []])
  const chunked = await range.fire(
    `POST /small HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n${'a'.repeat(101)}\r\n0\r\n\r\n`,
  )
  t.same([chunked.status, chunked.code, chunked.arrived], [413, 'body_too_large', []])
})

testOverHttp1(
  'a client that does not read its answer is disconnected, and its upstream connection is freed',
  async (t) => {
    const size = 64 * 1024 * 1024
    range.upstream.respond((_request, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      socket.write(Buffer.alloc(size))
    })
    const before = range.upstream.connections.length
    const socket = connect(range.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    socket.write(shot('request', '/public/large', []))
    await range.gateway.line(({ msg, path }) => msg === 'request' && path === '/public/large')
    await Promise.all(range.upstream.connections.slice(before).map(({ closed }) => closed))
    t.equal(await range.gateway.metric('gateway_requests_in_flight'), 0)
    socket.destroy()
    range.upstream.respond(answerAll)
    t.equal((await range.fire(shot('request', '/public', []))).status, 200)
  },
)

testOverHttp1('a client that reads slowly but steadily gets all of its answer', async (t) => {
  const size = 24 * 1024 * 1024
  range.upstream.respond((_request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\nConnection: close\r\n\r\n`)
    socket.write(Buffer.alloc(size))
  })
  const socket = connect(range.port, '127.0.0.1')
  socket.write(shot('request', '/public', ['Connection: close']))
  let got = 0
  socket.on('data', (chunk: Buffer) => {
    const before = Math.floor(got / (4 * 1024 * 1024))
    got += chunk.length
    if (Math.floor(got / (4 * 1024 * 1024)) === before) return
    socket.pause()
    setTimeout(() => socket.resume(), 400)
  })
  await new Promise((resolve) => socket.once('close', resolve))
  t.ok(got > size, `${got} bytes`)
  range.upstream.respond(answerAll)
})

// A client of TLS cannot be told anything before its handshake.
if (range.scheme === 'http')
  t.test('past MAX_CONNECTIONS a new client gets 503 overloaded until another one has left', async (t) => {
    const idle: Socket[] = []
    // Idle within an exchange; connections without one would be closed by the time limits.
    range.upstream.respond(() => {})
    const before = arrivals()
    for (let n = 0; n < MAX_CONNECTIONS; n++) {
      const socket = connect(range.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write(shot('request', '/public', []))
      idle.push(socket)
    }
    await until(() => arrivals() === before + MAX_CONNECTIONS)
    const turnedAway = await Promise.all(
      Array.from({ length: 20 }, () => range.ask(shot('request', '/public', [`Cookie: ${range.cookie}`]))),
    )
    for (const { responses, closed } of turnedAway) {
      t.equal(responses[0]?.status, 503)
      t.equal(responses[0]?.header('content-type'), 'application/problem+json')
      t.equal(responses[0]?.header('connection'), 'close')
      t.ok(responses[0]?.header('retry-after'))
      t.equal(JSON.parse(responses[0]!.body.toString()).code, 'overloaded')
      t.ok(closed || responses.length === 1)
    }
    const silent = await openConnection(range.port)
    t.equal((await silent.response()).status, 503, 'one that says nothing is answered and closed, too')
    await silent.closed
    t.equal(arrivals(), before + MAX_CONNECTIONS, 'none of them arrived')
    t.equal(await range.gateway.metric('gateway_client_connections'), MAX_CONNECTIONS)
    t.equal(await range.gateway.metric('gateway_client_connections_refused_total'), 21)
    await range.gateway.line(({ msg }) => msg === 'new clients are turned away at MAX_CONNECTIONS')
    for (const socket of idle) socket.destroy()
    range.upstream.respond(answerAll)
    await until(async () => (await range.ask(shot('request', '/public', []))).responses[0]?.status === 200)
    await until(async () => (await range.gateway.metric('gateway_client_connections')) === 0)
  })
