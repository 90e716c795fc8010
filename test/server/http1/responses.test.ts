import t, { type Test } from 'tap'
import type { InboundResponse } from '../../../gateway/exchange/inbound.ts'
import { answerTarget, GET, get, pause, startStage, TRANSPORTS, type Transport, until } from './stage.ts'

const DATE = 'Date: Thu, 01 Jan 2026 00:00:00 GMT'
const KEPT = 'Connection: keep-alive\r\nKeep-Alive: timeout=65'

const get10 = (...fields: string[]) =>
  `GET / HTTP/1.0\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`

interface Answer {
  readonly text: string
  /** The connection has ended behind it. */
  readonly ended: boolean
}

/** What a client gets for its request; waits for as much as is expected, and a little longer. */
async function answerTo(
  t: Test,
  request: string,
  answer: (response: InboundResponse) => void,
  { transport, expected }: { readonly transport: Transport; readonly expected: Answer },
): Promise<Answer> {
  const stage = await startStage(t, { transport, handle: ({ response }) => answer(response) })
  const client = await stage.connect()
  client.write(request)
  const late = performance.now() + 5000
  await until(() => client.text.length >= expected.text.length || performance.now() > late)
  if (expected.ended) await client.ended
  await pause(20)
  return { text: client.text, ended: client.end !== null }
}

const CASES: readonly [
  what: string,
  request: string,
  answer: (response: InboundResponse) => void,
  text: string,
  ended: boolean,
][] = [
  [
    'a whole answer',
    GET,
    (response) => response.sendWhole(200, ['X-A', 'b', 'Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n${DATE}\r\n${KEPT}\r\n\r\nok`,
    false,
  ],
  [
    'an answer with a Date and a reason of its own',
    GET,
    (response) => {
      response.writeHead(200, 'Fine', ['date', 'today', 'Content-Length', '2'])
      response.end('ok', 'latin1')
    },
    `HTTP/1.1 200 Fine\r\ndate: today\r\nContent-Length: 2\r\n${KEPT}\r\n\r\nok`,
    false,
  ],
  [
    'an answer without a length',
    GET,
    (response) => {
      response.writeHead(200, undefined, [])
      response.write(Buffer.from('abc'))
      response.write(Buffer.from('d'))
      response.addTrailers([['X-T', 'v']])
      response.end()
    },
    `HTTP/1.1 200 OK\r\n${DATE}\r\nTransfer-Encoding: chunked\r\n${KEPT}\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nX-T: v\r\n\r\n`,
    false,
  ],
  [
    'an answer without a length that comes whole',
    GET,
    (response) => {
      response.writeHead(200, undefined, [])
      response.end('ok')
    },
    `HTTP/1.1 200 OK\r\n${DATE}\r\nTransfer-Encoding: chunked\r\n${KEPT}\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
    false,
  ],
  [
    'an answer to HEAD, whose body is not sent',
    GET.replace('GET', 'HEAD'),
    (response) => response.sendWhole(200, ['Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${DATE}\r\n${KEPT}\r\n\r\n`,
    false,
  ],
  [
    'an answer to HEAD without a length',
    GET.replace('GET', 'HEAD'),
    (response) => {
      response.writeHead(200, undefined, [])
      response.end()
    },
    `HTTP/1.1 200 OK\r\n${DATE}\r\n${KEPT}\r\n\r\n`,
    false,
  ],
  [
    'a 204, which has no length',
    GET,
    (response) => response.sendWhole(204, ['Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 204 No Content\r\n${DATE}\r\n${KEPT}\r\n\r\n`,
    false,
  ],
  [
    'a 304 with the length that 200 would have',
    GET,
    (response) => response.sendWhole(304, ['Content-Length', '2'], null),
    `HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n${DATE}\r\n${KEPT}\r\n\r\n`,
    false,
  ],
  [
    'an answer to Connection: close',
    get('/', 'Connection: close'),
    (response) => response.sendWhole(200, ['Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${DATE}\r\nConnection: close\r\n\r\nok`,
    true,
  ],
  [
    'an answer over HTTP/1.0',
    get10(),
    (response) => response.sendWhole(200, ['Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${DATE}\r\nConnection: close\r\n\r\nok`,
    true,
  ],
  [
    'an answer over HTTP/1.0 that asks for the connection to be kept',
    get10('Connection: keep-alive'),
    (response) => response.sendWhole(200, ['Content-Length', '2'], Buffer.from('ok')),
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${DATE}\r\n${KEPT}\r\n\r\nok`,
    false,
  ],
  [
    'an answer without a length over HTTP/1.0, to the end of the connection, though that was to be kept',
    get10('Connection: keep-alive', 'TE: chunked'),
    (response) => {
      t.notOk(response.carriesTrailers)
      response.inform(103, ['Link', '<x>'])
      response.writeHead(200, undefined, [])
      response.write(Buffer.from('ab'))
      response.addTrailers([['X-T', 'v']])
      response.end('c')
    },
    `HTTP/1.1 200 OK\r\n${DATE}\r\nConnection: close\r\n\r\nabc`,
    true,
  ],
  [
    'interim answers before the answer',
    GET,
    (response) => {
      response.inform(103, ['Link', '<x>', 'Link', '<y>'])
      response.inform(102, [])
      response.sendWhole(200, ['Content-Length', '0'], null)
      response.inform(103, ['Link', '<late>'])
    },
    `HTTP/1.1 103 Early Hints\r\nLink: <x>\r\nLink: <y>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n${DATE}\r\n${KEPT}\r\n\r\n`,
    false,
  ],
  [
    'an answer to CONNECT, behind which nothing is read as a request',
    `CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n${GET}`,
    (response) => response.sendWhole(405, ['Content-Length', '0'], null),
    `HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n${DATE}\r\nConnection: close\r\n\r\n`,
    true,
  ],
]

for (const [what, request, answer, text, ended] of CASES) {
  for (const transport of TRANSPORTS) {
    t.test(`${transport}: ${what} has these bytes`, async (t) => {
      const expected = { text, ended }
      t.same(await answerTo(t, request, answer, { transport, expected }), expected)
    })
  }
}

t.test('head and a body that came whole leave in one write, and so do the pieces of one tick', async (t) => {
  const stage = await startStage(t, {
    handle({ request, response }) {
      if (request.target === '/whole') answerTarget({ request, response } as never)
      else {
        response.writeHead(200, undefined, [])
        response.write(Buffer.from('abc'))
        response.write(Buffer.from('def'))
        response.end()
      }
    },
  })
  for (const target of ['/whole', '/pieces']) {
    const client = await stage.connect()
    let pieces = 0
    client.socket.on('data', () => pieces++)
    for (let n = 1; n <= 10; n++) {
      client.write(get(target))
      await client.sees(target === '/whole' ? '\r\n\r\n/whole' : '0\r\n\r\n')
      t.equal(pieces, n, target)
    }
  }
})

t.test('a head alone goes out when it is flushed, and a piece at the end of its tick', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write(GET)
  await until(() => stage.handed.length === 1)
  const { response } = stage.handed[0]!
  response.writeHead(200, 'OK', [])
  await pause(30)
  t.equal(client.text, '')
  response.flushHeaders()
  await client.sees('\r\n\r\n')
  response.write(Buffer.from('piece'))
  await client.sees('piece')
})

t.test('large bodies pass in any framing, whole and in pieces', async (t) => {
  const body = Buffer.alloc(300_000, 'x')
  for (const fields of [['Content-Length', String(body.length)], []]) {
    for (const whole of [true, false]) {
      const stage = await startStage(t, {
        handle({ response }) {
          response.writeHead(200, 'OK', fields)
          if (whole) response.end(body)
          else {
            response.write(body.subarray(0, 100_000))
            response.write(body.subarray(100_000))
            response.end()
          }
        },
      })
      const client = await stage.connect()
      client.write(get('/', 'Connection: close'))
      await client.ended
      const got = client.text
        .slice(client.text.indexOf('\r\n\r\n') + 4)
        .replace(/^[0-9a-f]+\r\n|\r\n[0-9a-f]+\r\n|\r\n/g, '')
      t.equal(got.replace(/0$/, '').length, body.length)
      t.ok(stage.handed[0]!.response.writableFinished)
    }
  }
})

t.test(
  'a body longer or shorter than announced is broken off: the next answer would be read amid it',
  async (t) => {
    for (const body of ['abcdefg', 'abc']) {
      const stage = await startStage(t, {
        handle({ response }) {
          response.writeHead(200, 'OK', ['Content-Length', '5'])
          response.end(body)
        },
      })
      const client = await stage.connect()
      client.write(GET)
      await client.ended
      t.notOk(client.text.includes('abcdef'))
      await until(() => stage.handed[0]!.closed)
      t.notOk(stage.handed[0]!.response.writableFinished)
    }
  },
)

t.test(
  'a field that would break its line is refused before anything is sent (response splitting)',
  async (t) => {
    for (const fields of [
      ['X-A', 'a\r\nSet-Cookie: b=c'],
      ['X-A\r\nSet-Cookie', 'b'],
      ['Content-Length', '5, 5'],
      ['X-A', '\u010a'],
    ]) {
      const stage = await startStage(t)
      const client = await stage.connect()
      client.write(GET)
      await until(() => stage.handed.length === 1)
      const { response } = stage.handed[0]!
      t.throws(() => response.writeHead(200, 'OK', fields))
      t.throws(() => response.writeHead(200, 'OK\r\nX: y', []))
      t.throws(() => response.writeHead(999, 'OK', []))
      t.notOk(response.headersSent)
      answerTarget(stage.handed[0]!)
      await client.sees('200 OK')
    }
  },
)

t.test(
  'a slow reader is told by backpressure, and the exchange lasts until all was handed over',
  async (t) => {
    for (const transport of TRANSPORTS) {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      client.socket.pause()
      client.write(GET + GET)
      await until(() => stage.handed.length === 1)
      const [handed] = stage.handed
      const { response } = handed!
      response.writeHead(200, 'OK', [])
      const piece = Buffer.alloc(1024 * 1024)
      let told = 0
      for (let n = 0; n < 32; n++) if (!response.write(piece)) told++
      t.ok(told > 0)
      let drained = false
      response.onDrain(() => {
        drained = true
      })
      response.end()
      await pause(100)
      t.same(
        [response.writableFinished, handed!.closed, drained, stage.handed.length],
        [false, false, false, 1],
      )
      client.socket.resume()
      await until(() => handed!.closed)
      t.ok(drained)
      t.ok(response.writableFinished)
      await until(() => stage.handed.length === 2)
    }
  },
)

t.test('interim answers that nobody reads end the exchange', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.socket.pause()
  client.write(GET)
  await until(() => stage.handed.length === 1)
  const [handed] = stage.handed
  const field = ['X-A', 'a'.repeat(10_000)]
  let sent = 0
  while (!handed!.closed && sent < 10_000) {
    for (let n = 0; n < 100; n++) handed!.response.inform(103, field)
    sent += 100
    await pause(0)
  }
  t.ok(handed!.closed, `after ${sent}`)
})

t.test('Expect: 100-continue is answered when the gateway says so, and only then', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n')
  await until(() => stage.handed.length === 1)
  await pause(30)
  t.equal(client.text, '')
  stage.handed[0]!.response.sendContinue()
  stage.handed[0]!.response.sendContinue()
  await client.sees('HTTP/1.1 100 Continue\r\n\r\n')
  client.write('abc')
  await pause(30)
  answerTarget(stage.handed[0]!)
  await client.sees('Connection: keep-alive')
  t.equal(client.text.split('100 Continue').length, 2, 'once')
})

t.test(
  'a refusal while the client waits for 100 ends the connection, and what follows is not read',
  async (t) => {
    for (const transport of TRANSPORTS) {
      const stage = await startStage(t, { transport, handle: answerTarget })
      const client = await stage.connect()
      client.write('PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n')
      await client.ended
      t.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close/)
      client.write(get('/smuggled'))
      await until(() => stage.sockets[0]!.destroyed)
      t.equal(stage.handed.length, 1)
    }
  },
)

t.test('another expectation is refused, over HTTP/1.0 ignored', async (t) => {
  const stage = await startStage(t, { handle: answerTarget })
  for (const [request, arrival] of [
    [get('/', 'Expect: 200-maybe'), { refusal: 'expectation_failed' }],
    [get('/', 'Expect: 100-continue, 200-maybe'), { refusal: 'expectation_failed' }],
    [get('/', 'Expect: 100-continue'), {}],
    [get10('Expect: 200-maybe'), {}],
  ] as const) {
    const client = await stage.connect()
    client.write(request)
    await client.sees('200 OK')
    t.notMatch(client.text, '100 Continue')
    t.same(stage.handed.at(-1)!.arrival, arrival)
  }
})
