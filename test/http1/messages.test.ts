import t from 'tap'
import type { ResponseHead } from '../../gateway/http1/heads.ts'
import type { MessageHandler } from '../../gateway/http1/messages.ts'
import { bytesOf, LIMITS, readRequests, readResponses, wire } from './support.ts'

/** A handler that does nothing but what is given. */
function handler<H>(given: Partial<MessageHandler<H>>): MessageHandler<H> {
  return { onHead: () => 'read', onBody() {}, onEnd() {}, ...given }
}

const GET = 'GET /first HTTP/1.1\r\nHost: a\r\n\r\n'

t.test('the parser stops behind each of several pipelined requests', async (t) => {
  const post = 'POST /second HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc'
  const chunked = 'PUT /third HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n'
  const targets: string[] = []
  const parser = wire.createRequestParser(
    handler({
      onHead({ target }) {
        targets.push(target)
        return 'read'
      },
    }),
    LIMITS,
  )
  const bytes = bytesOf(`${GET}${post}${chunked}${GET}garbage`)
  let at = 0
  for (const [length, target] of [
    [GET.length, '/first'],
    [post.length, '/second'],
    [chunked.length, '/third'],
    [GET.length, '/first'],
  ] as const) {
    t.equal(parser.execute(bytes, at), 'ended')
    at += length
    t.equal(parser.position, at)
    t.equal(targets.pop(), target)
    t.equal(targets.length, 0, 'nothing behind it was read')
  }
  t.equal(parser.execute(bytes, at), 'error', 'garbage behind whole requests is noticed when it is read')
  parser.close()
})

t.test('a handler can pause behind a head, and the body comes with the next bytes', async (t) => {
  for (const [text, body] of [
    ['POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc', 'abc'],
    ['POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n', 'abc'],
    [GET, ''],
  ] as const) {
    let read = ''
    let ended = false
    const parser = wire.createRequestParser(
      handler({
        onHead: () => 'pause',
        onBody: (bytes) => {
          read += bytes
        },
        onEnd: () => {
          ended = true
        },
      }),
      LIMITS,
    )
    const bytes = bytesOf(text + GET)
    t.equal(parser.execute(bytes), 'paused')
    t.equal(parser.position, text.indexOf('\r\n\r\n') + 4)
    t.equal(read, '')
    t.equal(ended, false)
    t.equal(parser.execute(bytes, parser.position), 'ended')
    t.equal(parser.position, text.length)
    t.equal(read, body)
    t.equal(ended, true)
    parser.close()
  }
})

t.test('an upgrade leaves the bytes behind the head alone', async (t) => {
  const request = 'GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
  const upgraded = readRequests(`${request}early data`, { decide: () => 'upgrade' })
  t.match(upgraded, { end: 'upgrade', rest: 'early data', keepAlive: false })
  const response = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
  t.match(readResponses(`${response}\x81\x00`, { decide: () => 'upgrade' }), {
    end: 'upgrade',
    rest: '\x81\x00',
  })
})

t.test('an Upgrade that is not taken is a request like others', async (t) => {
  const request = 'GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nab'
  const { messages, end } = readRequests(request + GET)
  t.equal(end, 'idle')
  t.same(
    messages.map(({ head, body }) => [head.target, body]),
    [
      ['/', 'ab'],
      ['/first', ''],
    ],
  )
})

t.test(
  'an upgrade of a request with a body is refused, since the tunnel would begin within it',
  async (t) => {
    const request =
      'GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nab'
    t.match(readRequests(request, { decide: () => 'upgrade' }).end, { code: 'unexpected_upgrade' })
  },
)

t.test('a CONNECT ends behind its head', async (t) => {
  const { messages, end } = readRequests(`CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n${GET}`)
  t.same(
    messages.map(({ head }) => [head.method, head.target]),
    [
      ['CONNECT', 'a:1'],
      ['GET', '/first'],
    ],
  )
  t.equal(end, 'idle')
})

t.test('informational responses come as heads of their own, and have no end', async (t) => {
  const hints = 'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n'
  const { messages, end } = readResponses(
    `HTTP/1.1 100 Continue\r\n\r\n${hints}${hints}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na`,
  )
  t.equal(end, 'idle')
  t.same(
    messages.map(({ head, body, trailers }) => [head.status, body, trailers]),
    [
      [100, '', null],
      [103, '', null],
      [103, '', null],
      [200, 'a', []],
    ],
  )
})

t.test('a handler can pause behind an informational head', async (t) => {
  const statuses: number[] = []
  const onHead = ({ status }: ResponseHead) => {
    statuses.push(status)
    return 'pause' as const
  }
  const parser = wire.createResponseParser(handler({ onHead }), LIMITS)
  const bytes = bytesOf('HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n')
  t.equal(parser.execute(bytes), 'paused')
  t.same(statuses, [103])
  t.equal(parser.execute(bytes, parser.position), 'paused')
  t.same(statuses, [103, 204])
  t.equal(parser.execute(bytes, parser.position), 'ended')
  parser.close()
})

t.test('responses to HEAD, 204 and 304 have no body whatever they say', async (t) => {
  const NEXT = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'
  for (const head of ['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', '']) {
    const found = readResponses(`HTTP/1.1 200 OK\r\n${head}\r\n${NEXT}`, { decide: () => 'skip' })
    t.equal(found.messages.length, 2, `HEAD, ${head}`)
    t.equal(found.end, 'idle')
  }
  for (const status of [204, 304]) {
    const found = readResponses(`HTTP/1.1 ${status} A\r\n\r\n${NEXT}`)
    t.equal(found.messages.length, 2)
  }
  t.equal(readResponses(`HTTP/1.1 304 A\r\nContent-Length: 5\r\n\r\n${NEXT}`).messages.length, 2)
  for (const field of ['Content-Length: 5', 'Transfer-Encoding: chunked']) {
    const found = readResponses(`HTTP/1.1 204 A\r\n${field}\r\n\r\nbytes`)
    t.equal(found.keepAlive, false, 'what follows a 204 that announced a body is not trusted')
    t.equal(found.rest, 'bytes')
  }
})

t.test('the end of the connection ends, cuts or leaves alone', async (t) => {
  t.equal(readRequests('').end, 'idle')
  t.equal(readRequests(GET).end, 'idle')
  t.equal(readRequests('GE').end, 'cut')
  t.equal(readRequests('POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab').end, 'cut')
  t.equal(readRequests('POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n').end, 'cut')
  t.equal(readRequests('POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n').end, 'cut')
  t.equal(readResponses('HTTP/1.1 103 Early Hints\r\n\r\n').end, 'idle')
  t.equal(readResponses('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab').end, 'cut')
  for (const body of ['', 'some bytes']) {
    const { end, messages, keepAlive } = readResponses(`HTTP/1.1 200 OK\r\n\r\n${body}`)
    t.equal(end, 'ended')
    t.same(messages[0]?.trailers, [])
    t.equal(messages[0]?.body, body)
    t.equal(keepAlive, false)
  }
})

/** What Connection and version say, with a body of known length, and of a response to HEAD without one. */
const CONNECTIONS: readonly (readonly [minor: number, fields: string, keepAlive: boolean])[] = [
  [1, '', true],
  [1, 'Connection: close\r\n', false],
  [1, 'Connection: Close\r\n', false],
  [1, 'Connection: x, close\r\n', false],
  [1, 'Connection: x\r\nConnection: close\r\n', false],
  [1, 'Connection: keep-alive\r\n', true],
  [1, 'Connection: keep-alive, close\r\n', false],
  [0, '', false],
  [0, 'Connection: keep-alive\r\n', true],
  [0, 'Connection: Keep-Alive , x\r\n', true],
  [0, 'Connection: close\r\n', false],
]

t.test('version and Connection decide whether another message may follow', async (t) => {
  for (const [minor, fields, keepAlive] of CONNECTIONS) {
    const title = `HTTP/1.${minor} ${fields.trim()}`
    t.equal(readRequests(`GET / HTTP/1.${minor}\r\n${fields}\r\n`).keepAlive, keepAlive, title)
    const response = (length: string) => `HTTP/1.${minor} 200 OK\r\n${fields}${length}\r\n`
    t.equal(readResponses(response('Content-Length: 0\r\n')).keepAlive, keepAlive, title)
    const toHead = readResponses(response(''), { decide: () => 'skip' })
    t.equal(toHead.keepAlive, keepAlive, `HEAD, ${title}`)
  }
  t.equal(
    readResponses('HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')
      .keepAlive,
    false,
    'chunks in HTTP/1.0 (RFC 9112, section 6.1)',
  )
})

t.test('bytes behind a message that ends the connection are an error of their own', async (t) => {
  const parser = wire.createRequestParser(handler({}), LIMITS)
  const bytes = bytesOf(`GET / HTTP/1.1\r\nConnection: close\r\n\r\n${GET}`)
  t.equal(parser.execute(bytes), 'ended')
  t.equal(parser.execute(bytes, parser.position), 'error')
  t.match(parser.error, { code: 'closed' })
  parser.close()
})

t.test('after an error every call says so, until the parser is reset', async (t) => {
  const parser = wire.createRequestParser(handler({}), LIMITS)
  t.equal(parser.execute(bytesOf('x')), 'error')
  t.equal(parser.execute(bytesOf(GET)), 'error')
  t.equal(parser.finish(), 'cut')
  parser.reset()
  t.equal(parser.error, null)
  t.equal(parser.execute(bytesOf(GET)), 'ended')
  parser.execute(bytesOf('GET / HT'))
  parser.reset()
  t.equal(parser.execute(bytesOf(GET)), 'ended')
  parser.close()
})

t.test('a handler may close its parser in any of its calls', async (t) => {
  const text = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'
  for (const moment of ['onHead', 'onBody', 'onEnd'] as const) {
    const calls: string[] = []
    const at = (name: string) => {
      calls.push(name)
      if (name === moment) parser.close()
      return 'read' as const
    }
    const parser = wire.createRequestParser(
      { onHead: () => at('onHead'), onBody: () => void at('onBody'), onEnd: () => void at('onEnd') },
      LIMITS,
    )
    t.equal(parser.execute(bytesOf(text + GET)), 'closed')
    t.equal(calls.at(-1), moment)
    t.equal(parser.execute(bytesOf(GET)), 'closed')
    parser.close()
  }
})

t.test('a handler may run another parser of the same wire, and throw', async (t) => {
  const inner = wire.createRequestParser(handler({}), LIMITS)
  let body = ''
  const outer = wire.createRequestParser(
    handler({
      onHead() {
        inner.execute(bytesOf(GET.repeat(2)))
        return 'read'
      },
      onBody(bytes) {
        inner.execute(
          bytesOf('POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nX\r\n0\r\nA: b\r\n\r\n'),
        )
        body += bytes
      },
    }),
    LIMITS,
  )
  const text = `POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n${'a'.repeat(2048)}\r\n800\r\n${'b'.repeat(2048)}\r\n0\r\n\r\n`
  t.equal(outer.execute(bytesOf(text)), 'ended')
  t.equal(body, 'a'.repeat(2048) + 'b'.repeat(2048))
  const throwing = wire.createRequestParser(
    handler({
      onHead() {
        throw new Error('of the handler')
      },
    }),
    LIMITS,
  )
  t.throws(() => throwing.execute(bytesOf(GET)), { message: 'of the handler' })
  t.equal(inner.execute(bytesOf(GET)), 'ended', 'other parsers go on')
  for (const parser of [inner, outer, throwing]) parser.close()
})

t.test('a byte a chunk comes as one piece of body for one read', async (t) => {
  let calls = 0
  const parser = wire.createRequestParser(handler({ onBody: () => void calls++ }), LIMITS)
  const text = `POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\na\r\n'.repeat(5000)}0\r\n\r\n`
  t.equal(parser.execute(bytesOf(text)), 'ended')
  t.equal(calls, 1)
  parser.close()
})

t.test('a body of known length is handed on without a copy', async (t) => {
  const chunk = bytesOf('abc')
  let given: Buffer | null = null
  const onBody = (bytes: Buffer) => {
    given = bytes
  }
  const parser = wire.createRequestParser(handler({ onBody }), LIMITS)
  parser.execute(bytesOf('POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n'))
  t.equal(parser.execute(chunk), 'more')
  t.equal(given, chunk)
  parser.close()
})

t.test('names keep their spelling, and values are latin1', async (t) => {
  const { messages } = readRequests(
    'GET / HTTP/1.1\r\nhOST: a\r\nX-Odd!: \xe9\xff\r\ncookie: b\r\nCookie: c\r\n\r\n',
  )
  t.same(messages[0]?.head.fields, ['hOST', 'a', 'X-Odd!', '\xe9\xff', 'cookie', 'b', 'Cookie', 'c'])
})

t.test('a target is as it was sent, with bytes above ASCII in its query', async (t) => {
  const target = 'http://a/b?c=\xc3\xa9&\x80=\xff?/\xe9'
  const bytes = bytesOf(`\r\nPUT ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n?\xe9 `)
  const before = Buffer.from(bytes)
  const { messages } = readRequests([bytes])
  t.match(messages, [{ head: { method: 'PUT', target, fields: ['Host', 'a', 'Content-Length', '3'] } }])
  t.equal(messages[0]?.body, '?\xe9 ')
  t.ok(bytes.equals(before), 'the bytes that came are not changed')
})

t.test('thousands of parsers grow the memory, and none of them loses its place', async (t) => {
  const parsers = Array.from({ length: 5000 }, () => wire.createRequestParser(handler({}), LIMITS))
  const begun = parsers.filter((parser) => parser.execute(bytesOf('GET / HTTP/1.1\r\nHo')) === 'more')
  const ended = parsers.filter((parser) => parser.execute(bytesOf('st: a\r\n\r\n')) === 'ended')
  t.equal(begun.length, 5000)
  t.equal(ended.length, 5000)
  for (const parser of parsers) parser.close()
})
