import { once } from 'node:events'
import { request as httpsRequest } from 'node:https'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { createAuthority } from '../support/certificates.ts'
import { answerOf, askHttp2, http2Client } from '../support/http2-client.ts'
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  PING,
  type RawHttp2,
  rawHttp2,
  requestBlock,
  SETTINGS,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts'
import { until } from '../support/plain-gateway.ts'
import { type Stage, startStage } from '../support/stage.ts'

const MAIN = { ':path': '/', ':authority': 'app.example.com' }

let stage: Stage

t.before(async () => {
  const authority = createAuthority(t, 'the edge authority')
  const { certFile, keyFile } = authority.issue('app.example.com', ['DNS:app.example.com', 'IP:127.0.0.1'])
  stage = await startStage({
    upstream: { retries: 0 },
    routes: [
      { path: '/small', auth: 'none', maxBodyBytes: 10 },
      { path: '/cookies', auth: 'none', forwardCookies: true },
    ],
    env: {
      TLS_CERT_FILE: certFile,
      TLS_KEY_FILE: keyFile,
      STREAM_RECHECK_MS: '200',
      DRAIN_TIMEOUT_MS: '20000',
      LOOKUP_TIMEOUT_MS: '10000',
    },
  })
})
t.teardown(() => stage.close())

/** Waits until this text has arrived at the upstream, and returns its connection. */
async function carrying(text: string) {
  const find = () => stage.upstream.connections.find((each) => each.bytes().includes(text))
  await until(() => find() !== undefined)
  return find()!
}

/** The request as the upstream got it. */
async function forwarded(t: Tap, fields: Record<string, string | string[]>, body?: string | Buffer) {
  await askHttp2(http2Client(t, stage.port), fields, body)
  return stage.upstream.requests.at(-1)!
}

type Tap = Parameters<typeof http2Client>[0]

function valuesOf(request: { readonly headers: readonly (readonly [string, string])[] }, name: string) {
  return request.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value)
}

t.test('HTTP/2 is chosen by ALPN; clients that do not offer it get HTTP/1.1 on the same port', async (t) => {
  for (const [offered, chosen] of [
    [['h2', 'http/1.1'], 'h2'],
    [['http/1.1'], 'http/1.1'],
    [['http/1.0', 'http/1.1'], 'http/1.1'],
    [undefined, false],
  ] as const) {
    const socket = connectTls({
      port: stage.port,
      host: '127.0.0.1',
      rejectUnauthorized: false,
      ...(offered === undefined ? {} : { ALPNProtocols: [...offered] }),
    })
    await once(socket, 'secureConnect')
    t.equal(socket.alpnProtocol, chosen)
    socket.destroy()
  }
})

t.test('an authenticated request carries the identity of the row and no spoofed one', async (t) => {
  const request = await forwarded(t, {
    ':path': '/secure/x?y=1',
    cookie: stage.cookie,
    'x-user-id': 'mallory',
    x_user_id: 'mallory',
    'x-gateway-anything': '1',
    'x-forwarded-for': '6.6.6.6',
  })
  t.equal(request.target, '/secure/x?y=1')
  t.same(valuesOf(request, 'host'), ['app.example.com'])
  t.same(valuesOf(request, 'x-user-id'), ['alice'])
  t.same(valuesOf(request, 'x-mandate-id'), ['acme'])
  t.same(valuesOf(request, 'x_user_id'), [])
  t.same(valuesOf(request, 'x-gateway-anything'), [])
  t.same(valuesOf(request, 'x-forwarded-for'), ['127.0.0.1'])
  t.same(valuesOf(request, 'x-forwarded-proto'), ['https'])
  t.same(valuesOf(request, 'x-forwarded-host'), ['app.example.com'])
  t.same(valuesOf(request, 'cookie'), [])
})

t.test('no token is a 401 with its challenge, as problem+json', async (t) => {
  const { status, headers, body } = await askHttp2(http2Client(t, stage.port), { ':path': '/secure' })
  t.equal(status, 401)
  t.match(headers, {
    'content-type': 'application/problem+json',
    'www-authenticate': 'Cookie realm="gateway", cookie-name="auth_token"',
    'cache-control': 'no-store',
  })
  t.match(JSON.parse(body), { code: 'credentials_missing', requestId: headers['x-request-id'] })
})

t.test('a cookie split over several fields is read as one, and forwarded as one', async (t) => {
  const [name, value] = stage.cookie.split('=') as [string, string]
  const request = await forwarded(t, {
    ':path': '/secure',
    cookie: ['theme=dark', `${name}=${value}`, 'lang=en'],
  })
  t.same(valuesOf(request, 'x-user-id'), ['alice'])
  t.same(valuesOf(request, 'cookie'), ['theme=dark; lang=en'])
  const kept = await forwarded(t, { ':path': '/cookies', cookie: ['a=1', 'b=2'] })
  t.same(valuesOf(kept, 'cookie'), ['a=1; b=2'])
})

t.test('two access cookies in two fields with different values are ambiguous', async (t) => {
  const { status, body } = await askHttp2(http2Client(t, stage.port), {
    ':path': '/secure',
    cookie: [stage.cookie, 'auth_token=other'],
  })
  t.equal(status, 401)
  t.match(JSON.parse(body), { code: 'credentials_ambiguous' })
})

t.test('a body of a megabyte reaches the upstream whole', async (t) => {
  const body = Buffer.alloc(1_048_576, 'x')
  const request = await forwarded(t, { ...MAIN, ':method': 'POST' }, body)
  t.equal(request.method, 'POST')
  t.equal(request.body.length, body.length)
})

t.test('a body longer than the route allows is a 413', async (t) => {
  const { status, body } = await askHttp2(
    http2Client(t, stage.port),
    { ':path': '/small', ':method': 'POST' },
    'x'.repeat(100),
  )
  t.equal(status, 413)
  t.match(JSON.parse(body), { code: 'body_too_large' })
})

t.test(
  'duplicate fields of an answer stay separate, hop-by-hop fields are removed, trailers pass',
  async (t) => {
    stage.upstream.respond((_request, socket) =>
      socket.write(
        'HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n' +
          'Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n',
      ),
    )
    const answer = await askHttp2(http2Client(t, stage.port), MAIN)
    t.same(answer.headers['set-cookie'], ['a=1', 'b=2'])
    for (const name of ['connection', 'x-hop', 'keep-alive', 'transfer-encoding'])
      t.equal(answer.headers[name], undefined)
    t.equal(answer.body, 'ok')
    t.equal(answer.trailers['x-sum'], '42')
  },
)

t.test(
  'denial of service: trailers and hints with names of inherited properties (__proto__) pass like any other',
  async (t) => {
    const named = 'constructor: a\r\nconstructor: b\r\n__proto__: c\r\ntoString: d\r\n'
    stage.upstream.respond((_request, socket) =>
      socket.write(
        `HTTP/1.1 103 Early Hints\r\n${named}\r\nHTTP/1.1 200 OK\r\n${named}` +
          `Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${named}\r\n`,
      ),
    )
    const stream = http2Client(t, stage.port).request(MAIN)
    const raw: string[][] = []
    stream.on('headers', (_headers, _flags, fields) => raw.push(fields as never))
    stream.on('response', (_headers, _flags, fields) => raw.push(fields as never))
    stream.on('trailers', (_headers, _flags, fields) => raw.push(fields as never))
    const { status, body } = await answerOf(stream)
    t.same([status, body], [200, 'ok'])
    t.equal(raw.length, 3, 'the hint, the head and the trailers came')
    for (const fields of raw) t.match(fields.join(' '), /constructor a constructor b __proto__ c tostring d/)
    t.equal((await askHttp2(http2Client(t, stage.port), MAIN)).status, 200, 'the process lives')
  },
)

t.test('early hints reach the client before the answer', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write(
      'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    ),
  )
  const stream = http2Client(t, stage.port).request(MAIN)
  const hints: unknown[] = []
  stream.on('headers', (headers) => hints.push(headers))
  const { status } = await answerOf(stream)
  t.equal(status, 200)
  t.match(hints, [{ ':status': 103, link: '</a.css>; rel=preload' }])
})

t.test('answers to HEAD, 204 and 304 end without a body', async (t) => {
  const session = http2Client(t, stage.port)
  stage.upstream.respond((request, socket) => {
    const status =
      request.target === '/204' ? '204 No Content' : request.target === '/304' ? '304 Not Modified' : '200 OK'
    socket.write(`HTTP/1.1 ${status}\r\n${request.target === '/204' ? '' : 'Content-Length: 5\r\n'}\r\n`)
  })
  for (const [method, path, status] of [
    ['HEAD', '/', 200],
    ['GET', '/204', 204],
    ['GET', '/304', 304],
  ] as const) {
    const answer = await askHttp2(session, { ':path': path, ':method': method })
    t.equal(answer.status, status)
    t.equal(answer.body, '')
  }
})

t.test(
  'an answer that the upstream cuts off is reset for the client and does not look complete',
  async (t) => {
    for (const head of ['Content-Length: 1000', 'Transfer-Encoding: chunked']) {
      stage.upstream.respond((_request, socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${head.startsWith('C') ? 'part' : '4\r\npart\r\n'}`)
        setTimeout(() => socket.resetAndDestroy(), 50)
      })
      const failed = await askHttp2(http2Client(t, stage.port), MAIN).then(
        () => null,
        (error) => error,
      )
      t.match(failed, { rstCode: 2 }, `${head}: INTERNAL_ERROR`)
      t.equal(failed?.body, 'part')
    }
  },
)

t.test('a client that resets its stream ends the upstream exchange', async (t) => {
  stage.upstream.respond(() => {})
  const stream = http2Client(t, stage.port).request({ ...MAIN, 'x-mark': 'reset me' })
  stream.on('error', () => {})
  const connection = await carrying('reset me')
  stream.close(8)
  await connection.closed
  t.pass('the upstream connection is closed')
})

t.test('a client that resets its upload ends the upstream exchange', async (t) => {
  stage.upstream.respond(() => {}, 'head')
  const stream = http2Client(t, stage.port).request({ ...MAIN, ':method': 'POST' })
  stream.on('error', () => {})
  stream.write('part of an upload')
  const connection = await carrying('part of an upload')
  stream.close(8)
  await connection.closed
  t.pass('the upstream connection is closed')
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
})

t.test('a thousand streams at once are all answered', async (t) => {
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
  const session = http2Client(t, stage.port)
  const answers = await Promise.all(
    Array.from({ length: 1000 }, () => askHttp2(session, { ':path': '/secure', cookie: stage.cookie })),
  )
  t.equal(answers.filter(({ status, body }) => status === 200 && body === 'ok').length, 1000)
})

t.test(
  'backpressure: a slow client slows the upstream, memory does not grow, and every byte arrives',
  async (t) => {
    const size = 8 * 1_048_576
    stage.upstream.respond((_request, socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      socket.write(Buffer.alloc(size, 'x'))
    })
    const stream = http2Client(t, stage.port).request({ ...MAIN, 'x-mark': 'slow client' })
    await once(stream, 'response')
    const connection = await carrying('slow client')
    // Two HTTP/2 windows and the kernel's buffers hold well below 8 MiB.
    let held = 0
    await until(() => {
      const before = held
      held = connection.socket.writableLength
      return held > 0 && held === before
    })
    t.ok(held > size / 4, `the upstream still holds ${held} bytes`)
    let bytes = 0
    stream.on('data', (chunk) => {
      bytes += chunk.length
    })
    await once(stream, 'end')
    t.equal(bytes, size)
  },
)

t.test('a revoked token ends its event stream', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n'),
  )
  const stream = http2Client(t, stage.port).request({ ':path': '/secure', cookie: stage.cookie })
  stream.on('error', () => {})
  await once(stream, 'data')
  await stage.sql`update "Token" set "status" = 'REVOKED' where "id" = ${stage.tokenId}`
  await new Promise((resolve) => stream.once('close', resolve))
  t.equal(stream.rstCode, 2)
  await stage.sql`update "Token" set "status" = 'ACTIVE' where "id" = ${stage.tokenId}`
})

t.test('refused uploads all get their answer, and their connection stays usable', async (t) => {
  const session = http2Client(t, stage.port)
  const upload = () => askHttp2(session, { ':path': '/secure', ':method': 'POST' }, Buffer.alloc(100_000))
  for (let n = 0; n < 4; n++) {
    const answers = await Promise.all(Array.from({ length: 10 }, upload))
    t.same(new Set(answers.map(({ status }) => status)), new Set([401]))
  }
  t.notOk(session.closed)
})

t.test('CONNECT and TRACE are 405, with Allow; extended CONNECT is not offered', async (t) => {
  const session = http2Client(t, stage.port)
  for (const fields of [
    { ':method': 'CONNECT', ':authority': 'app.example.com' },
    { ':method': 'TRACE', ':path': '/' },
  ]) {
    const stream = session.request(fields)
    const { status, headers } = await answerOf(stream)
    t.equal(status, 405)
    t.match(headers.allow, /GET/)
  }
  t.equal(session.remoteSettings.enableConnectProtocol, false)
})

t.test('WebSocket works over HTTP/1.1 on the same port', async (t) => {
  const server = new WebSocketServer({ noServer: true })
  stage.upstream.respond((request, socket) => {
    const key = request.headers.find(([name]) => name.toLowerCase() === 'sec-websocket-key')![1]
    const req = {
      headers: { upgrade: 'websocket', 'sec-websocket-key': key, 'sec-websocket-version': '13' },
      method: 'GET',
    }
    socket.removeAllListeners('data')
    server.handleUpgrade(req as never, socket, Buffer.alloc(0), (ws) =>
      ws.on('message', (data) => ws.send(`${data}!`)),
    )
  })
  const socket = new WebSocket(`wss://127.0.0.1:${stage.port}/secure`, {
    rejectUnauthorized: false,
    headers: { cookie: stage.cookie },
  })
  await once(socket, 'open')
  socket.send('hello')
  const [data] = await once(socket, 'message')
  t.equal(String(data), 'hello!')
  socket.close()
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'))
})

t.test('100-continue holds the body back until the request is admitted', async (t) => {
  const session = http2Client(t, stage.port)
  const refused = session.request({ ':path': '/secure', ':method': 'POST', expect: '100-continue' })
  let continued = false
  refused.on('continue', () => {
    continued = true
  })
  const answer = answerOf(refused)
  t.equal((await once(refused, 'response'))[0][':status'], 401)
  refused.end()
  await answer
  t.notOk(continued)
  const admitted = session.request({ ...MAIN, ':method': 'POST', expect: '100-continue' })
  await once(admitted, 'continue')
  admitted.end('body')
  t.equal((await answerOf(admitted)).status, 200)
})

t.test('requests over HTTP/2 are in the access log and the metrics like any other', async (t) => {
  const { headers } = await askHttp2(http2Client(t, stage.port), { ':path': '/secure', cookie: stage.cookie })
  const line = await stage.gateway.line(({ requestId }) => requestId === headers['x-request-id'])
  t.match(line, { method: 'GET', host: 'app.example.com', path: '/secure', status: 200, userId: 'alice' })
})

t.test('HTTP/1.1 over TLS is served on the same port', async (t) => {
  const status = await new Promise((resolve, reject) => {
    httpsRequest({ port: stage.port, host: '127.0.0.1', rejectUnauthorized: false }, (res) => {
      res.resume()
      resolve(res.statusCode)
    })
      .on('error', reject)
      .end()
  })
  t.equal(status, 200)
})

const DOWNLOAD_BYTES = 1_000_000

/** A client with room for any answer. */
async function roomyClient(): Promise<RawHttp2> {
  const client = await rawHttp2(stage.port)
  await client.frame(SETTINGS)
  client.send(
    { type: SETTINGS, payload: Buffer.from([0, 4, 0x7f, 0xff, 0xff, 0xff]) },
    { type: WINDOW_UPDATE, payload: Buffer.from([0x7f, 0, 0, 0]) },
  )
  return client
}

const plainRequest = (stream: number) => ({
  type: HEADERS,
  flags: END_HEADERS | END_STREAM,
  stream,
  payload: requestBlock(),
})

/** Sends a request and reads nothing of the answer until the gateway has, in its own view, sent all of it. */
async function unreadDownload(client: RawHttp2, stream: number) {
  const count = () => stage.gateway.metric('gateway_requests_total{route="/",status="200"}')
  const before = await count()
  stage.upstream.respond((_request, socket) => {
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${DOWNLOAD_BYTES}\r\n\r\n${'x'.repeat(DOWNLOAD_BYTES)}`)
  })
  client.socket.pause()
  client.send(plainRequest(stream))
  await until(async () => (await count()) === before + 1)
  return {
    /** Reads it, and says something meanwhile, as any client does. @returns the bytes of its body */
    async rest(): Promise<number> {
      const bytes = () =>
        client.frames.reduce(
          (sum, each) => sum + (each.type === DATA && each.stream === stream ? each.payload.length : 0),
          0,
        )
      client.send({ type: PING, payload: Buffer.alloc(8) })
      client.socket.resume()
      while (bytes() < DOWNLOAD_BYTES) {
        const over = await Promise.race([
          once(client.socket, 'data').then(() => false),
          client.ended.then(() => true),
        ])
        if (over) break
      }
      client.socket.destroy()
      return bytes()
    },
  }
}

t.test('a drain sends GOAWAY, lets open streams finish, and the process ends with 0', async (t) => {
  const slow = await unreadDownload(await roomyClient(), 1)
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 204 No Content\r\n\r\n'))
  const idle = await roomyClient()
  idle.send(plainRequest(1))
  await idle.frame(HEADERS)
  let finish = () => {}
  stage.upstream.respond((_request, socket) => {
    finish = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const session = http2Client(t, stage.port)
  const answer = askHttp2(session, { ...MAIN, 'x-mark': 'last one' })
  await carrying('last one')
  const goaway = once(session, 'goaway')
  stage.gateway.signal('SIGTERM')
  await goaway
  finish()
  t.equal((await answer).body, 'ok')
  await until(() => session.destroyed)
  // The idle client sends a new request before it replies to the gateway's ping.
  const asked = await idle.frame(PING)
  const late = await unreadDownload(idle, 3)
  idle.send({ type: PING, flags: ACK, payload: asked!.payload })
  // Longer than a client is given that has received everything.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(await slow.rest(), DOWNLOAD_BYTES, 'what was on its way to a slow client arrives whole')
  t.equal(await late.rest(), DOWNLOAD_BYTES, 'and what it was sent after the question')
  const gone = performance.now()
  t.equal(await stage.gateway.exited, 0)
  t.ok(performance.now() - gone < 5000, 'nobody is waited for who has left')
  await until(() => session.destroyed)
})
