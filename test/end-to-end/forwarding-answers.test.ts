import { gzipSync } from 'node:zlib'
import t from 'tap'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

const stage = await startStage({
  routes: [
    {
      path: '/edit',
      auth: 'none',
      responseHeaders: { set: { 'X-Frame-Options': 'DENY', 'Cache-Control': 'private' }, remove: ['Server'] },
    },
  ],
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

/** Lets the backend answer with these bytes, and returns all answers that the client got. */
async function answered(bytes: Buffer | string, line = 'GET /answer', fields: readonly string[] = []) {
  stage.upstream.respond((_request, socket) => {
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
  return stage.ask(request(line, fields))
}

t.test('fields of an answer keep order, spelling and duplicates (Set-Cookie)', async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 200 Fine Thanks\r\nsEt-CooKie: a=1; Path=/\r\nX-B: \u00e9\r\nSet-Cookie: b=2\r\nX-b: 2\r\nSet-Cookie: a=1; Path=/\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nok',
  )
  const head = responses[0]!
  t.equal(head.reason, 'Fine Thanks')
  t.same(head.headers.slice(0, 7), [
    ['sEt-CooKie', 'a=1; Path=/'],
    ['X-B', '\u00e9'],
    ['Set-Cookie', 'b=2'],
    ['X-b', '2'],
    ['Set-Cookie', 'a=1; Path=/'],
    ['Date', 'Mon, 01 Jan 2024 00:00:00 GMT'],
    ['Content-Length', '2'],
  ])
})

t.test('hop-by-hop fields of an answer, and fields that its Connection names, are removed', async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=77\r\nX-Hop: 1\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n',
  )
  const head = responses[0]!
  t.same(
    ['x-hop', 'proxy-authenticate', 'upgrade'].map((name) => head.header(name)),
    [null, null, null],
  )
  t.not(head.header('keep-alive'), 'timeout=77')
  t.equal(head.header('x-kept'), '1')
})

t.test('responseHeaders of the route set, replace and remove', async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 200 OK\r\nServer: inner/1\r\nCache-Control: public\r\nContent-Length: 0\r\n\r\n',
    'GET /edit',
  )
  t.same(responses[0]!.all('x-frame-options'), ['DENY'])
  t.same(responses[0]!.all('cache-control'), ['private'])
  t.same(responses[0]!.all('server'), [])
})

t.test("the request id of the answer is the gateway's, whatever the backend sends", async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 200 OK\r\nX-Request-Id: backend\r\nContent-Length: 0\r\n\r\n',
  )
  t.same(responses[0]!.all('x-request-id'), stage.upstream.requests.at(-1)!.all('x-request-id'))
})

t.test('a compressed answer passes unchanged', async (t) => {
  const zipped = gzipSync('hello '.repeat(1000))
  const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nETag: "x"\r\nContent-Length: ${zipped.length}\r\n\r\n`
  const { responses } = await answered(Buffer.concat([Buffer.from(head), zipped]), 'GET /z', [
    'Accept-Encoding: gzip',
  ])
  t.ok(responses[0]!.body.equals(zipped))
  t.equal(responses[0]!.header('content-encoding'), 'gzip')
  t.equal(stage.upstream.requests.at(-1)!.header('accept-encoding'), 'gzip')
})

for (const status of [301, 302, 303, 307, 308]) {
  t.test(`a redirect ${status} passes with its Location unchanged, and is not followed`, async (t) => {
    const heard = stage.upstream.requests.length
    const { responses } = await answered(
      `HTTP/1.1 ${status} Go\r\nLocation: http://127.0.0.1:9/inner/../%7e?x#f\r\nContent-Length: 0\r\n\r\n`,
    )
    t.equal(responses[0]!.status, status)
    t.equal(responses[0]!.header('location'), 'http://127.0.0.1:9/inner/../%7e?x#f')
    t.equal(stage.upstream.requests.length, heard + 1)
  })
}

for (const status of [200, 206, 299, 401, 404, 418, 500, 503, 599]) {
  t.test(`the backend's own ${status} passes with its body`, async (t) => {
    const { responses } = await answered(`HTTP/1.1 ${status} Word\r\nContent-Length: 4\r\n\r\nbody`)
    t.equal(responses[0]!.status, status)
    t.equal(responses[0]!.body.toString(), 'body')
  })
}

for (const [title, fields] of [
  ['with Content-Length', 'Content-Length: 1234\r\n'],
  ['in chunks', 'Transfer-Encoding: chunked\r\n'],
  ['without framing', ''],
] as const) {
  t.test(`an answer to HEAD ${title} has no body and leaves the connection usable`, async (t) => {
    stage.upstream.respond((_request, socket) => socket.write(`HTTP/1.1 200 OK\r\n${fields}X-A: 1\r\n\r\n`))
    const client = await openConnection(stage.port)
    client.write(request('HEAD /head'))
    const head = await client.response('HEAD')
    t.equal(head.status, 200)
    t.equal(head.header('content-length'), title === 'with Content-Length' ? '1234' : null)
    stage.upstream.respond(answerOk)
    client.write(request('GET /after'))
    t.equal((await client.response()).body.toString(), 'ok')
    client.destroy()
  })
}

for (const [status, fields] of [
  [204, ''],
  [304, 'ETag: "x"\r\n'],
  [304, 'ETag: "x"\r\nContent-Length: 1234\r\n'],
] as const) {
  const has = fields.includes('Length') ? 'with' : 'without'
  t.test(
    `${status} ${has} Content-Length passes without one and leaves the connection usable (RFC 9110, section 8.6)`,
    async (t) => {
      stage.upstream.respond((_request, socket) => socket.write(`HTTP/1.1 ${status} X\r\n${fields}\r\n`))
      const client = await openConnection(stage.port)
      client.write(request('GET /none'))
      const head = await client.response()
      t.equal(head.status, status)
      t.equal(head.header('content-length'), null)
      t.equal(head.header('transfer-encoding'), null)
      stage.upstream.respond(answerOk)
      client.write(request('GET /after'))
      t.equal((await client.response()).body.toString(), 'ok')
      client.destroy()
    },
  )
}

t.test('an empty answer passes as Content-Length: 0', async (t) => {
  const { responses } = await answered('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
  t.same(responses[0]!.all('content-length'), ['0'])
  t.equal(responses[0]!.header('transfer-encoding'), null)
})

t.test('a chunked answer arrives whole with its trailers', async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Two\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nX-Two: 2\r\n\r\n',
  )
  const answer = responses[0]!
  t.equal(answer.body.toString(), 'abcde')
  t.equal(answer.header('trailer'), 'X-Sum, X-Two')
  t.same(answer.trailers, [
    ['X-Sum', '5'],
    ['X-Two', '2'],
  ])
})

t.test('an answer that ends with its connection arrives whole, and delimited', async (t) => {
  stage.upstream.respond((_request, socket) => socket.end('HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end'))
  const { responses, cut } = await stage.ask(request('GET /close'))
  t.equal(responses[0]!.body.toString(), 'until the end')
  t.equal(responses[0]!.header('transfer-encoding'), 'chunked')
  t.notOk(cut)
})

t.test('an HTTP/1.0 backend is served', async (t) => {
  stage.upstream.respond((_request, socket) => socket.end('HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold'))
  const { responses } = await stage.ask(request('GET /old'))
  t.equal(responses[0]!.body.toString(), 'old')
})

t.test('103 Early Hints passes before the answer', async (t) => {
  let finish = () => {}
  stage.upstream.respond((_request, socket) => {
    socket.write(
      'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n',
    )
    finish = () => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
  })
  const client = await openConnection(stage.port)
  client.write(request('GET /hints'))
  const hints = await client.response()
  t.equal(hints.status, 103)
  t.same(hints.all('link'), ['</a.css>; rel=preload', '</b.js>; rel=preload'])
  finish()
  t.equal((await client.response()).status, 200)
  client.destroy()
})

t.test('102 and several consecutive 1xx pass', async (t) => {
  const { responses } = await answered(
    'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <y>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
  )
  t.same(
    responses.map(({ status }) => status),
    [102, 103, 103, 200],
  )
})

t.test('an HTTP/1.0 client gets no 1xx and no chunks; its answer ends with the connection', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write(
      'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
    ),
  )
  const { responses, closed, cut } = await stage.ask('GET /old HTTP/1.0\r\nHost: app.example.com\r\n\r\n')
  t.same(
    responses.map(({ status }) => status),
    [200],
  )
  t.equal(responses[0]!.header('transfer-encoding'), null)
  t.equal(responses[0]!.body.toString(), 'abc')
  t.ok(closed)
  t.notOk(cut)
})

t.test('pipelined requests reach the backend one after the other (RFC 9112, section 9.3.2)', async (t) => {
  let underWay = 0
  let most = 0
  stage.upstream.respond((asked, socket) => {
    most = Math.max(most, ++underWay)
    setTimeout(
      () => {
        underWay--
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${asked.target.length}\r\n\r\n${asked.target}`)
      },
      asked.target === '/one' ? 200 : 0,
    )
  })
  const { responses } = await stage.ask(
    Buffer.concat([
      request('PUT /one', ['Content-Length: 3'], 'abc'),
      request('POST /two', ['Content-Length: 3'], 'abc'),
      request('GET /three'),
    ]),
    { until: 3 },
  )
  t.same(
    responses.map(({ body }) => body.toString()),
    ['/one', '/two', '/three'],
  )
  t.equal(most, 1)
})

t.test('the connections to client and backend are kept from one request to the next', async (t) => {
  const client = await openConnection(stage.port)
  client.write(request('GET /first'))
  await client.response()
  const open = stage.upstream.connections.length
  for (let i = 0; i < 5; i++) {
    client.write(request('POST /again', ['Content-Length: 2'], 'hi'))
    t.equal((await client.response()).status, 200)
  }
  t.equal(stage.upstream.connections.length, open)
  client.destroy()
})

t.test('Connection: close of the client ends only its own connection', async (t) => {
  await stage.ask(request('GET /warm'))
  const open = stage.upstream.connections.length
  const { responses, closed } = await stage.ask(request('GET /bye', ['Connection: close']), { until: 2 })
  t.equal(responses[0]!.status, 200)
  t.ok(closed)
  await stage.ask(request('GET /next'))
  t.equal(stage.upstream.connections.length, open)
})

t.test("Connection: close of the backend leaves the client's connection open", async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'),
  )
  const client = await openConnection(stage.port)
  for (let i = 0; i < 3; i++) {
    client.write(request('GET /close'))
    t.equal((await client.response()).status, 200)
  }
  client.destroy()
})
