import fc from 'fast-check'

/** Bytes for one connection, in the pieces in which they are written. */
export type Volley = readonly string[]

export const rarely = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, weight = 12) =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: odd })

const method = rarely(
  fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'),
  fc.constantFrom('get', 'FOO', 'CONNECT', 'TRACE', '', 'GET GET', 'PRI', 'PROPFIND', 'G\0T'),
)

const target = rarely(
  fc.constantFrom(
    '/public',
    '/required',
    '/optional',
    '/anonymous/x?y=z',
    '/admin',
    '/public/a;b',
    '//public',
  ),
  fc.constantFrom(
    '/public/../admin',
    '*',
    'http://app.example.com/public',
    'http://evil/',
    '/%2e%2e/',
    '/pub lic',
    '',
    '/\x80\xff',
    '/public#x',
    '/%zz',
  ),
  8,
)

const version = rarely(
  fc.constant('HTTP/1.1'),
  fc.constantFrom('HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', '', 'HTTP/1.1 x'),
  15,
)

const host = rarely<readonly string[]>(
  fc.constant(['Host: app.example.com']),
  fc.constantFrom<(readonly string[])[]>(
    [],
    ['Host:'],
    ['Host: a', 'Host: b'],
    ['Host: a@b'],
    ['Host : a'],
    ['host: app.example.com:80'],
  ),
  15,
)

const SPOOFS = [
  'X-User-Id: admin',
  'x_user_id: admin',
  'X.Mandate.Id: admin',
  'X-Session-Id:admin',
  'X~Token~Id: \tadmin',
  'X-Gateway-Role: admin',
]

export const FIELDS = [
  ...SPOOFS,
  'Connection: close, X-User-Id, Cookie, Host',
  'Connection: keep-alive',
  'Connection: X-Mandate-Id',
  'Connection: upgrade\r\nUpgrade: h2c',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  'TE: trailers',
  'Trailer: X-User-Id',
  'Accept: */*',
  'X-Forwarded-For: 1.2.3.4',
  'Expect: 100-continue',
  'Cookie: theme=dark',
  'Cookie: auth_token=a.b.c',
  'X-Empty:',
  'X-Spaces:    a  b   ',
  '__proto__: x',
  'Proxy-Connection: keep-alive',
  'Keep-Alive: timeout=5',
]

export const ODD_FIELDS = [
  ' X-Folded: a',
  '\tX-User-Id: admin',
  'X-A: b\r\n X-User-Id: admin',
  'X-A : b',
  'X-A',
  ': a',
  'X-A: a\0b',
  'X-A: a\rX-User-Id: admin',
  'X-A: a\nX-User-Id: admin',
  'X-\xe9: b',
  'X-A: \xff\xfe',
  'X-A: \x7f',
]

/** Placeholder for the `Cookie` field of a good token. */
export const GOOD_COOKIE = 'Cookie: <the good token>'

const field = fc.oneof(
  { weight: 10, arbitrary: fc.constantFrom(...FIELDS) },
  { weight: 5, arbitrary: fc.constant(GOOD_COOKIE) },
  { weight: 1, arbitrary: fc.constantFrom(...ODD_FIELDS) },
)

export const SMUGGLED = 'GET /admin HTTP/1.1\r\nHost: app.example.com\r\nX-User-Id: admin\r\n\r\n'

const content = fc.constantFrom('', 'a', 'hello', SMUGGLED, '0\r\n\r\n', '\r\n\r\n', 'a'.repeat(3000))

interface Framed {
  readonly fields: readonly string[]
  readonly body: string
}

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

const framed: fc.Arbitrary<Framed> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Framed>({ fields: [], body: '' }) },
  {
    weight: 4,
    arbitrary: content.map((body) => ({ fields: [`Content-Length: ${body.length}`], body })),
  },
  {
    weight: 4,
    arbitrary: fc.array(content, { maxLength: 3 }).map((parts) => ({
      fields: ['Transfer-Encoding: chunked'],
      body: `${parts.filter(Boolean).map(chunk).join('')}0\r\n\r\n`,
    })),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      fields: fc.subarray(
        [
          'Content-Length: 0',
          'Content-Length: 5',
          'Content-Length: +5',
          'Content-Length:',
          'Content-Length: 5, 5',
          'Content-Length: 99999999999999999999',
          'Transfer-Encoding: chunked',
          'Transfer-Encoding: xchunked',
          'Transfer-Encoding: chunked, identity',
          'Transfer-Encoding: gzip, chunked',
          'transfer-encoding:\tCHUNKED',
          'Transfer-Encoding : chunked',
          'Transfer-Encoding:\r\n chunked',
        ],
        { minLength: 1, maxLength: 2 },
      ),
      body: fc.constantFrom(
        '',
        'hello',
        `0\r\n\r\n${SMUGGLED}`,
        `5\r\nhello\r\n0\r\n\r\n`,
        `5;x=y\r\nhello\r\n0\r\nX-User-Id: admin\r\n\r\n`,
        `5\nhello\n0\n\n`,
        `+5\r\nhello\r\n0\r\n\r\n`,
        `0x5\r\nhello\r\n0\r\n\r\n`,
        `5\r\nhelloXX0\r\n\r\n`,
        `fffffffffffffffff\r\n${SMUGGLED}`,
        SMUGGLED,
      ),
    }),
  },
)

const lineEnd = rarely(fc.constant('\r\n'), fc.constantFrom('\n', '\r', '\r\r\n', '\n\r'), 60)

const request = fc
  .record({ method, target, version, host, fields: fc.array(field, { maxLength: 5 }), framed, lineEnd })
  .map(({ method, target, version, host, fields, framed, lineEnd }) => {
    const lines = [`${method} ${target} ${version}`, ...host, ...fields, ...framed.fields, '', '']
    return lines.join(lineEnd) + framed.body
  })

interface Mutation {
  readonly at: number
  readonly remove: number
  readonly insert: string
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(),
  remove: fc.nat({ max: 3 }),
  insert: fc.constantFrom(
    '',
    '\r',
    '\n',
    '\r\n',
    ' ',
    '\t',
    '\0',
    ':',
    ',',
    ';',
    '0',
    '\xff',
    '\x7f',
    '_',
    '%',
  ),
})

const LAST = 'GET /public/last HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n'

/** One to three requests (valid, nearly valid or hostile), and a valid last one that ends the connection. */
export const volley: fc.Arbitrary<Volley> = fc
  .record({
    requests: fc.array(request, { minLength: 1, maxLength: 3 }),
    mutations: rarely<readonly Mutation[]>(
      fc.constant([]),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      2,
    ),
    cuts: fc.array(fc.nat(), { maxLength: 2 }),
  })
  .map(({ requests, mutations, cuts }) => {
    let text = requests.join('')
    for (const { at, remove, insert } of mutations) {
      const from = at % text.length
      text = text.slice(0, from) + insert + text.slice(from + remove)
    }
    return pieces(text + LAST, cuts)
  })

function pieces(text: string, cuts: readonly number[]): string[] {
  const at = cuts.map((cut) => cut % text.length).sort((a, b) => a - b)
  return [0, ...at].map((from, n) => text.slice(from, at[n] ?? text.length)).filter((piece) => piece !== '')
}
