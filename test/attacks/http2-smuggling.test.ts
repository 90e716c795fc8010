import t from 'tap'
import { DATA, END_HEADERS, END_STREAM, type Frame, HEADERS, literal } from '../support/http2-frames.ts'
import { askByFrames } from '../support/http2-raw-request.ts'
import { startRange } from './support.ts'

const range = await startRange(t, { transport: 'http2' })

/** The request that the attacker tries to smuggle to a backend that speaks HTTP/1.1. */
const SMUGGLED = 'GET /admin/smuggled HTTP/1.1\r\nHost: app.example.com\r\nX-User-Id: admin\r\n\r\n'

type Fields = readonly (readonly [string, string])[]

const PSEUDO: Fields = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', 'app.example.com'],
  [':path', '/public'],
]

/** The pseudo-fields with this one changed. */
const changed = (name: string, value: string): Fields =>
  PSEUDO.map(([each, own]) => [each, each === name ? value : own])
const without = (name: string): Fields => PSEUDO.filter(([each]) => each !== name)
const and = (...fields: Fields): Fields => [...PSEUDO, ...fields]

/** Heads that are refused before a byte of them is forwarded. */
const HEADS: Readonly<Record<string, Fields>> = {
  'Transfer-Encoding: chunked (H2.TE)': and(['transfer-encoding', 'chunked']),
  'Connection, which would name a field to remove': and(['connection', 'x-user-id, cookie']),
  'Upgrade: websocket': and(['upgrade', 'websocket'], ['connection', 'upgrade']),
  'Keep-Alive': and(['keep-alive', 'timeout=5']),
  'Proxy-Connection': and(['proxy-connection', 'keep-alive']),
  'TE: gzip': and(['te', 'gzip']),
  'two lengths': and(['content-length', '0'], ['content-length', String(SMUGGLED.length)]),
  'a list of lengths': and(['content-length', '0, 0']),
  'a length with a sign': and(['content-length', '+0']),
  'a length below zero': and(['content-length', '-1']),
  'a length in hex': and(['content-length', '0x0']),
  'an empty length': and(['content-length', '']),
  'a length past 2^64': and(['content-length', '18446744073709551616']),
  'an upper-case name': and(['Content-Length', '0']),
  'a request line in :path': changed(':path', `/public HTTP/1.1\r\nHost: a\r\n\r\n${SMUGGLED}`),
  'a space in :path': changed(':path', '/public HTTP/1.1'),
  'a tab in :path': changed(':path', '/public\tx'),
  'NUL in :path': changed(':path', '/public\0'),
  'a whole URL in :path': changed(':path', 'https://app.example.com/public'),
  'an empty :path': changed(':path', ''),
  'a request line in :method': changed(':method', 'GET /admin HTTP/1.1\r\nHost: a\r\n\r\nPOST'),
  'a space in :method': changed(':method', 'POST /admin'),
  'an empty :method': changed(':method', ''),
  'CR LF in :authority': changed(':authority', 'app.example.com\r\nX-User-Id: admin'),
  'a path in :authority': changed(':authority', 'app.example.com/admin'),
  'a user in :authority': changed(':authority', 'app.example.com@evil.example'),
  'an empty :authority': changed(':authority', ''),
  'CR LF in :scheme': changed(':scheme', 'https://evil.example/\r\nX-User-Id: admin\r\nX: '),
  'another :scheme': changed(':scheme', 'http'),
  'no :method': without(':method'),
  'no :scheme': without(':scheme'),
  'no :path': without(':path'),
  'no :authority': without(':authority'),
  'two :path': and([':path', '/admin']),
  'two :method': and([':method', 'GET']),
  'two :authority': and([':authority', 'evil.example']),
  'a pseudo-field behind a field': [...without(':path'), ['x-a', 'b'], [':path', '/public']],
  'a pseudo-field of responses': and([':status', '200']),
  'an unknown pseudo-field': and([':x', 'y']),
  'extended CONNECT (RFC 8441)': [...changed(':method', 'CONNECT'), [':protocol', 'websocket']],
  'Host that says otherwise': and(['host', 'evil.example']),
  'two Host in place of :authority': [
    ...without(':authority'),
    ['host', 'app.example.com'],
    ['host', 'evil.example'],
  ],
}

/** Heads of which nghttp2 leaves out the field that is wrong. */
const FIELDS: Readonly<Record<string, Fields>> = {
  'CR LF in its value': and(['x-a', `b\r\n\r\n${SMUGGLED}`]),
  'LF in its value': and(['x-a', 'b\nx-user-id: admin']),
  'CR in its value': and(['x-a', 'b\rx-user-id: admin']),
  'NUL in its value': and(['x-a', 'b\0x-user-id: admin']),
  'a control character in its value': and(['x-a', 'b\x01']),
  'CR LF in its name': and(['x-a: b\r\nx-user-id', 'admin']),
  'a colon in its name': and(['transfer-encoding: chunked\r\nx', 'y']),
  'a space in its name': and(['content-length ', '0']),
  'NUL in its name': and(['x-user-id\0', 'admin']),
  'a byte above ASCII in its name': and(['x-\xe9', 'a']),
  'an empty name': and(['', 'a']),
}

const encode = (fields: Fields) => Buffer.concat(fields.map(([name, value]) => literal(name, value)))

const head = (fields: Fields): Frame => {
  return { type: HEADERS, flags: END_HEADERS, stream: 1, payload: encode(fields) }
}
const data = (text: string, flags = END_STREAM): Frame => {
  return { type: DATA, flags, stream: 1, payload: Buffer.from(text) }
}
const trailers = (fields: Fields): Frame => {
  return { type: HEADERS, flags: END_HEADERS | END_STREAM, stream: 1, payload: encode(fields) }
}

const fire = (...frames: readonly Frame[]) =>
  range.fireBy(() => askByFrames(range.gateway.port, frames, 5000))

for (const [what, fields] of Object.entries(HEADS)) {
  t.test(`request smuggling over HTTP/2: ${what} is refused, and nothing arrives`, async (t) => {
    const hit = await fire(head(fields), data(`0\r\n\r\n${SMUGGLED}`))
    t.ok(hit.reset || hit.status === 400, `reset or 400, not ${hit.status}`)
    t.same(hit.arrived, [])
  })
}

for (const [what, fields] of Object.entries(FIELDS)) {
  t.test(
    `request smuggling over HTTP/2: a field with ${what} never arrives, nor a second request`,
    async (t) => {
      const text = `0\r\n\r\n${SMUGGLED}`
      const hit = await fire(head(fields), data(text))
      t.ok(hit.arrived.length <= 1)
      for (const { method, target, fields, body } of hit.arrived) {
        t.same([method, target, body.toString()], ['POST', '/public', text], 'the body is a body')
        const names = fields.map(([name]) => name)
        t.same(
          names.filter(
            (name) => !/^(?:host|x-forwarded-\w+|x-request-id|traceparent|transfer-encoding)$/.test(name),
          ),
          [],
          'the gateway’s own fields alone',
        )
      }
    },
  )
}

const BODIES: Readonly<Record<string, readonly [Fields, ...Frame[]]>> = {
  'a length below what DATA holds (H2.CL)': [and(['content-length', '0']), data(SMUGGLED)],
  'a length above what DATA holds': [and(['content-length', '5000']), data('abc')],
  'a length below that of several DATA': [
    and(['content-length', '3']),
    data('abc', 0),
    data(SMUGGLED, 0),
    data(''),
  ],
  'a pseudo-field in trailers': [PSEUDO, data('abc', 0), trailers([[':path', '/admin']])],
  'Transfer-Encoding in trailers': [PSEUDO, data('abc', 0), trailers([['transfer-encoding', 'chunked']])],
}

for (const [what, [fields, ...frames]] of Object.entries(BODIES)) {
  t.test(`request smuggling over HTTP/2: ${what} ends the stream, and makes no second request`, async (t) => {
    const hit = await fire(head(fields), ...frames)
    t.ok(hit.reset || hit.status === 400, `reset or 400, not ${hit.status}`)
    // What was right of it may be on its way already; a request that is not whole is none.
    t.ok(hit.arrived.length <= 1)
    for (const { target, body } of hit.arrived) {
      t.equal(target, '/public')
      t.ok('abc'.startsWith(body.toString()), 'no more than was announced')
    }
  })
}

t.test('CR LF in trailers makes neither a field nor a second request', async (t) => {
  const hit = await fire(head(PSEUDO), data('abc', 0), trailers([['x-a', `b\r\n\r\n${SMUGGLED}`]]))
  t.same(
    hit.arrived.map(({ method, target, body }) => [method, target, body.toString()]),
    [['POST', '/public', 'abc']],
  )
  t.notMatch(JSON.stringify(hit.arrived), /smuggled|x-a/)
})

t.test('bytes that look like a request are a body and nothing else', async (t) => {
  const bodies = [
    [and(['content-length', String(SMUGGLED.length)]), data(SMUGGLED)],
    [PSEUDO, data('0\r\n\r\n', 0), data(SMUGGLED)],
  ] as const
  for (const [fields, ...frames] of bodies) {
    const hit = await fire(head(fields), ...frames)
    t.equal(hit.status, 200)
    t.same(
      hit.arrived.map(({ method, target }) => [method, target]),
      [['POST', '/public']],
    )
    t.match(hit.arrived[0]!.body.toString(), /GET \/admin\/smuggled/)
  }
})
