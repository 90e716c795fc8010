import t from 'tap'
import { AUTHS, expectedIdentity, identityOf, startRange, testOverHttp1, valuesOf } from './support.ts'

const range = await startRange(t)

/** The request that the attacker tries to smuggle to the backend. */
const SMUGGLED = 'GET /admin/smuggled HTTP/1.1\r\nHost: app.example.com\r\nX-User-Id: admin\r\n\r\n'
const LENGTH = SMUGGLED.length

/** Header fields and the bytes behind the head: framings that two servers could read differently. */
const FRAMINGS: Record<string, readonly [fields: string, behind: string]> = {
  'TE and CL': ['Transfer-Encoding: chunked\r\nContent-Length: 4', `0\r\n\r\n${SMUGGLED}`],
  'CL and TE': [`Content-Length: ${LENGTH + 5}\r\nTransfer-Encoding: chunked`, `0\r\n\r\n${SMUGGLED}`],
  'CL twice, different': [`Content-Length: 0\r\nContent-Length: ${LENGTH}`, SMUGGLED],
  'CL twice, equal': [`Content-Length: ${LENGTH}\r\nContent-Length: ${LENGTH}`, SMUGGLED],
  'CL in a list': [`Content-Length: ${LENGTH}, ${LENGTH}`, SMUGGLED],
  'CL with a sign': [`Content-Length: +${LENGTH}`, SMUGGLED],
  'CL below zero': [`Content-Length: -${LENGTH}`, SMUGGLED],
  'CL empty': ['Content-Length:', SMUGGLED],
  'CL in hex': ['Content-Length: 0x10', SMUGGLED],
  'CL past 2^64': ['Content-Length: 18446744073709551617', `a${SMUGGLED}`],
  'CL with words': ['Content-Length: 5 5', SMUGGLED],
  'TE xchunked': ['Transfer-Encoding: xchunked', `0\r\n\r\n${SMUGGLED}`],
  'TE chunked, identity': ['Transfer-Encoding: chunked, identity', `0\r\n\r\n${SMUGGLED}`],
  'TE identity': ['Transfer-Encoding: identity', SMUGGLED],
  'TE gzip, chunked': ['Transfer-Encoding: gzip, chunked', `0\r\n\r\n${SMUGGLED}`],
  'TE chunked, chunked': ['Transfer-Encoding: chunked, chunked', `0\r\n\r\n${SMUGGLED}`],
  'TE twice': ['Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', `0\r\n\r\n${SMUGGLED}`],
  'TE twice, the second unknown': [
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: x',
    `0\r\n\r\n${SMUGGLED}`,
  ],
  'TE empty': ['Transfer-Encoding:', SMUGGLED],
  'TE quoted': ['Transfer-Encoding: "chunked"', `0\r\n\r\n${SMUGGLED}`],
  'TE with a vertical tab': ['Transfer-Encoding: \x0bchunked', `0\r\n\r\n${SMUGGLED}`],
  'TE with a parameter': ['Transfer-Encoding: chunked;x=1', `0\r\n\r\n${SMUGGLED}`],
  'space before the colon (CVE-2019-16869)': ['Transfer-Encoding : chunked', `0\r\n\r\n${SMUGGLED}`],
  'space before the name': [' Transfer-Encoding: chunked', `0\r\n\r\n${SMUGGLED}`],
  'obs-fold (CVE-2022-32213)': ['Transfer-Encoding:\r\n chunked', `0\r\n\r\n${SMUGGLED}`],
  'obs-fold in another field': ['X-A: 1\r\n Transfer-Encoding: chunked', SMUGGLED],
  'bare LF between fields': ['X-A: 1\nTransfer-Encoding: chunked', `0\r\n\r\n${SMUGGLED}`],
  'bare CR between fields (CVE-2023-30589)': ['X-A: 1\rTransfer-Encoding: chunked', `0\r\n\r\n${SMUGGLED}`],
  'bare LF ends the head': ['X-A: 1\n\nGET /admin/smuggled HTTP/1.1\r\nHost: a', ''],
  'NUL in a value': ['X-A: a\0b', ''],
  'NUL in a name': ['X\0A: b', ''],
  'a control character in a value': ['X-A: a\x01b', ''],
  'a field without a colon': ['X-A', ''],
  'a field without a name': [': x', ''],
  'a name with a bracket': ['X(A): b', ''],
  'chunk size with a sign': ['Transfer-Encoding: chunked', `+0\r\n\r\n${SMUGGLED}`],
  'chunk size in 0x': ['Transfer-Encoding: chunked', `0x0\r\n\r\n${SMUGGLED}`],
  'chunk size empty': ['Transfer-Encoding: chunked', `\r\n\r\n${SMUGGLED}`],
  'chunk size past 2^64': ['Transfer-Encoding: chunked', `10000000000000000\r\n${SMUGGLED}`],
  'chunk size behind a space': ['Transfer-Encoding: chunked', ` 0\r\n\r\n${SMUGGLED}`],
  'chunk size with an underscore': ['Transfer-Encoding: chunked', `1_0\r\n${SMUGGLED}`],
  'chunk line ended by LF': ['Transfer-Encoding: chunked', `1\na\r\n0\r\n\r\n${SMUGGLED}`],
  'chunk extension with a bare LF': ['Transfer-Encoding: chunked', `1;\n\r\na\r\n0\r\n\r\n${SMUGGLED}`],
  'chunk extension with a bare CR': ['Transfer-Encoding: chunked', `1;a\rb\r\na\r\n0\r\n\r\n${SMUGGLED}`],
  'chunk extension with a NUL': ['Transfer-Encoding: chunked', `1;a\0b\r\na\r\n0\r\n\r\n${SMUGGLED}`],
  'chunk longer than its size': ['Transfer-Encoding: chunked', `1\r\nabc\r\n0\r\n\r\n${SMUGGLED}`],
  'chunk data without its end (CVE-2024-27982)': [
    'Transfer-Encoding: chunked',
    `1\r\naXX0\r\n\r\n${SMUGGLED}`,
  ],
  'a folded trailer': ['Transfer-Encoding: chunked', `0\r\nX-A: 1\r\n X-B: 2\r\n\r\n${SMUGGLED}`],
}

for (const [what, [fields, behind]] of Object.entries(FRAMINGS)) {
  testOverHttp1(`request smuggling: ${what}`, async (t) => {
    for (const auth of AUTHS) {
      for (const method of ['POST', 'GET']) {
        const head = `${method} /${auth} HTTP/1.1\r\nHost: app.example.com\r\nCookie: ${range.cookie}\r\n${fields}\r\n\r\n`
        const hit = await range.fire(head + behind, { until: 3, timeoutMs: 1000, method })
        const how = `${method} ${auth}`
        t.equal(hit.status, 400, `${how}: refused`)
        t.equal(hit.closed, true, `${how}: the connection ends`)
        t.ok(
          hit.responses.every(({ status }) => status === 400),
          `${how}: nothing else is answered`,
        )
        t.same(hit.arrived, [], `${how}: nothing arrives`)
      }
    }
  })
}

const REQUEST_LINES = [
  'GET /public',
  'GET /public HTTP/0.9',
  'GET /public HTTP/1.2',
  'GET /public HTTP/2.0',
  'GET\t/public\tHTTP/1.1',
  'GET /public x HTTP/1.1',
  'get /public HTTP/1.1',
  'G\0ET /public HTTP/1.1',
  'GET /pub\x01lic HTTP/1.1',
  'GET /pub\rlic HTTP/1.1',
  'GE(T /public HTTP/1.1',
  'FOO /public HTTP/1.1',
  'GET /public http/1.1',
  'GET /public HTTP/1.1\rX: y',
  'PRI * HTTP/2.0',
]

testOverHttp1('a request line that two servers could read differently is refused: 400 or 405', async (t) => {
  for (const line of REQUEST_LINES) {
    const hit = await range.fire(`${line}\r\nHost: app.example.com\r\n\r\n`, { timeoutMs: 1000 })
    t.ok([400, 405].includes(hit.status), `${JSON.stringify(line)}: ${hit.status}`)
    t.same(hit.arrived, [], JSON.stringify(line))
  }
})

testOverHttp1(
  'unusual white space in a request line: 400, or forwarded as the one request it is',
  async (t) => {
    for (const line of [
      'GET  /public HTTP/1.1',
      'GET /public  HTTP/1.1',
      'GET /public HTTP/1.1 ',
      ' GET /public HTTP/1.1',
    ]) {
      const hit = await range.fire(`${line}\r\nHost: app.example.com\r\n\r\n`, { timeoutMs: 1000 })
      t.ok([200, 400].includes(hit.status), `${JSON.stringify(line)}: ${hit.status}`)
      t.equal(hit.arrived.length, hit.status === 200 ? 1 : 0)
      t.ok(hit.arrived.every(({ method, target }) => method === 'GET' && target === '/public'))
    }
  },
)

t.test('a chunked body on GET, DELETE and OPTIONS is framed correctly (CVE-2026-29057)', async (t) => {
  for (const method of ['GET', 'DELETE', 'OPTIONS', 'HEAD', 'PUT']) {
    for (const auth of AUTHS) {
      const head = `${method} /${auth} HTTP/1.1\r\nHost: app.example.com\r\nCookie: ${range.cookie}\r\n`
      const size = LENGTH.toString(16)
      const hit = await range.fire(
        `${head}Transfer-Encoding: chunked\r\n\r\n${size}\r\n${SMUGGLED}\r\n0\r\n\r\n`,
      )
      t.equal(hit.arrived.length, 1, `${method} ${auth}`)
      const [request] = hit.arrived
      t.same([request!.method, request!.target], [method, `/${auth}`])
      t.equal(request!.body.toString(), SMUGGLED, 'it is a body and nothing else')
      t.same(identityOf(request!), expectedIdentity(range, auth))
    }
  }
})

t.test('a body with Content-Length on GET and DELETE is forwarded unchanged', async (t) => {
  for (const method of ['GET', 'DELETE', 'OPTIONS']) {
    const head = `${method} /public HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: ${LENGTH}\r\n\r\n`
    const hit = await range.fire(head + SMUGGLED)
    t.same(
      hit.arrived.map(({ target, body }) => [target, body.toString()]),
      [['/public', SMUGGLED]],
    )
  }
})

testOverHttp1('chunk extensions are accepted and not forwarded', async (t) => {
  const hit = await range.fire(
    'POST /public HTTP/1.1\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\nhi\r\n0;x\r\n\r\n',
  )
  t.same(
    hit.arrived.map(({ body }) => body.toString()),
    ['hi'],
  )
})

testOverHttp1('each pipelined request is authenticated separately', async (t) => {
  const one = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: app.example.com\r\n${fields}\r\n`
  const hit = await range.fire(
    one('/required', `Cookie: ${range.cookie}\r\n`) + one('/required') + one('/public', 'X-User-Id: x\r\n'),
    { until: 3 },
  )
  t.same(
    hit.responses.map(({ status }) => status),
    [200, 401, 200],
  )
  t.same(hit.arrived.map((request) => [request.target, valuesOf(request, 'x-user-id')]).sort(), [
    ['/public', []],
    ['/required', ['alice']],
  ])
})

testOverHttp1('a valid request before a malformed one is forwarded, and nothing else', async (t) => {
  const legal = 'GET /public HTTP/1.1\r\nHost: app.example.com\r\n\r\n'
  const hit = await range.fire(`${legal}GET /public HTTP/1.1\r\nHost : a\r\n\r\n${SMUGGLED}`, {
    until: 3,
    timeoutMs: 1000,
  })
  t.ok(hit.arrived.length <= 1)
  t.ok(hit.arrived.every(({ target }) => target === '/public'))
  t.notOk(hit.arrived.some(({ target }) => target.includes('smuggled')))
})

testOverHttp1('HTTP/1.0 with Transfer-Encoding is refused (RFC 9112, section 6.1)', async (t) => {
  const hit = await range.fire(
    `POST /public HTTP/1.0\r\nHost: app.example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    { until: 2, timeoutMs: 1000 },
  )
  t.notOk(hit.arrived.some(({ target }) => target.includes('smuggled')))
  t.equal(hit.responses.length, 1)
  t.equal(hit.status, 400)
})
