import t from 'tap'
import { bytesOf, cutAt, type ReadStream, readRequests, readResponses } from './support.ts'

const REQUESTS: Readonly<Record<string, string>> = {
  'a request without a body':
    'GET /a?b=c HTTP/1.1\r\nHost: a\r\nEmpty:\r\nBlank: \r\nSpaces: \t v w \t\r\n\r\n',
  'a request with a length, and another behind it':
    'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcdePUT /b HTTP/1.1\r\nHost: b\r\n\r\n',
  'empty lines before a request': '\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  'a chunked request with extensions and trailers':
    'POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nB;q="1 2"\r\n01234567890\r\n0\r\nT: v\r\nU:\r\n\r\nGET / HTTP/1.1\r\n\r\n',
  'a query with bytes above ASCII, and a body with them':
    'POST /a?b=\xc3\xa9&c=\xff? HTTP/1.1\r\nHost: a\r\nX: \xe9\r\nContent-Length: 2\r\n\r\n\xc3?\r\n\r\nGET /?\x80\xfe HTTP/1.1\r\n\r\n',
  'a request that is refused behind bytes above ASCII in its query': 'GET /?a\xe9b\x01 HTTP/1.1\r\n\r\n',
  'a request that is refused in its fields behind such a query': 'GET /?\xe9 HTTP/1.1\r\nA\xe9: b\r\n\r\n',
  'a request that is refused in its path': 'GET /\xe9?b HTTP/1.1\r\nHost: a\r\n\r\n',
  'a request that is refused in its fields': 'GET / HTTP/1.1\r\nHost: a\r\nBad : b\r\n\r\n',
  'a request that is refused in its chunks':
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0x1\r\na\r\n',
  'a request of HTTP/1.0': 'GET / HTTP/1.0\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n',
}

const RESPONSES: Readonly<Record<string, string>> = {
  'an informational response before another':
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 204\r\n\r\n',
  'a chunked response with trailers':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nTr: v w \r\nEmpty:\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n',
  'a response that ends with the connection': 'HTTP/1.1 200 Fine\xe9\r\nA: b\xe9\r\n\r\nall of this',
  'a response that is refused': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc',
}

/** What is refused may have been noticed earlier in larger pieces. */
function withoutRest({ messages, end, keepAlive, rest }: ReadStream<unknown>) {
  return { messages, end, keepAlive, rest: typeof end === 'object' ? '' : rest }
}

const sides = [
  ['requests', REQUESTS, readRequests],
  ['responses', RESPONSES, readResponses],
] as const

for (const [side, cases, read] of sides) {
  for (const [name, text] of Object.entries(cases)) {
    t.test(`${side}: ${name} is read alike wherever its bytes are split`, async (t) => {
      const bytes = bytesOf(text)
      const expected = JSON.stringify(withoutRest(read([bytes])))
      for (let first = 1; first < bytes.length; first++) {
        for (const places of [[first], [first, Math.min(first + 1, bytes.length)]]) {
          const found = JSON.stringify(withoutRest(read(cutAt(bytes, places))))
          if (found !== expected) t.equal(found, expected, `split at ${places}`)
        }
      }
      const single = cutAt(
        bytes,
        Array.from({ length: bytes.length - 1 }, (_, i) => i + 1),
      )
      t.equal(JSON.stringify(withoutRest(read(single))), expected, 'byte by byte')
    })
  }
}

t.test(
  'a head and a chunked body that are longer than the pieces copied to llhttp are read whole',
  async (t) => {
    const value = 'v'.repeat(6000)
    const head = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: ${value}\r\nB: ${value}\r\n\r\n`
    const body = 'b'.repeat(200_000)
    const { messages, end } = readResponses(
      `${head}${body.length.toString(16)}\r\n${body}\r\n0\r\nT: ${value}\r\n\r\n`,
    )
    t.equal(end, 'idle')
    t.same(messages[0]?.head.fields, ['Transfer-Encoding', 'chunked', 'A', value, 'B', value])
    t.equal(messages[0]?.body, body)
    t.same(messages[0]?.trailers, ['T', value])
  },
)
