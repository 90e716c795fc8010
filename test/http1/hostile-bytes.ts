import fc from 'fast-check'
import { SWITCHED } from '../support/handshake.ts'
import { bytesOf, cutAt } from './support.ts'

interface Mutation {
  readonly at: number
  readonly remove: number
  readonly insert: string
}

/** What attacks on message framing are made of. */
const TOKENS = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\r\n\r\n',
    '\n\n',
    '\r\r\n',
    ' ',
    '\t',
    '\0',
    '\x0b',
    '\x7f',
    '\x80',
    '\xff',
    ':',
    ': ',
    ' :',
  ],
  ...[
    '0',
    '1',
    '5',
    'a',
    'f',
    '-',
    '+',
    ',',
    ';',
    ';a=b',
    ';a="b"',
    '"',
    '=',
    '0\r\n\r\n',
    '1\r\nx\r\n',
    '0x1',
    'ffffffffff',
  ],
  ...[
    'Content-Length: 1\r\n',
    'Content-Length: 5\r\n',
    'content-length:0\r\n',
    'Transfer-Encoding: chunked\r\n',
  ],
  ...[
    'Transfer-Encoding: gzip\r\n',
    'Transfer-Encoding: chunked, chunked\r\n',
    'transfer-encoding:\tchunked\r\n',
  ],
  ...[
    'Connection: close\r\n',
    'Connection: keep-alive\r\n',
    'Connection: Upgrade\r\nUpgrade: h2c\r\n',
    'Expect: 100-continue\r\n',
  ],
  ...[
    'GET / HTTP/1.1\r\n\r\n',
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
    'HTTP/1.1 200 OK\r\n\r\n',
    'HTTP/1.1 100 Continue\r\n\r\n',
  ],
  ...[
    'Trailer: a\r\n',
    'A:\r\n',
    'A: b \r\n',
    ' folded\r\n',
    '\tfolded\r\n',
    '/',
    '*',
    '204',
    '304',
    '101',
    '199',
    '999',
    'HEAD',
  ],
]

const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(),
  remove: fc.oneof(fc.constant(0), fc.nat({ max: 4 }), fc.nat({ max: 40 })),
  insert: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...TOKENS) },
    { weight: 1, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.nat({ max: 255 }).map((code) => String.fromCharCode(code)) },
  ),
})

const NAMES = [
  'Host',
  'Accept',
  'X-Odd_!',
  'cookie',
  'Cookie',
  'Keep-Alive',
  'Proxy-Connection',
  'A',
  'Trailer',
  'TE',
]
const VALUES = [
  '',
  'a',
  'b c',
  ' a ',
  '\ta\t',
  '\xe9',
  'close',
  'upgrade',
  'chunked',
  '5',
  '"q,\\""',
  'v'.repeat(300),
]

const field = fc
  .tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES))
  .map(([name, value]) => `${name}: ${value}\r\n`)
const connection = fc.constantFrom('', '', '', '', 'Connection: keep-alive\r\n', 'Connection: close\r\n')
const content = fc.constantFrom('', 'a', 'hello', '0\r\n\r\n', 'GET /x HTTP/1.1\r\n\r\n', 'b'.repeat(2000))
const extension = fc.constantFrom('', '', '', ';a=b', ';q="1 2"', ';e')

const chunk = fc.tuple(content, extension).map(([text, ext]) => {
  return text === '' ? '' : `${text.length.toString(16)}${ext}\r\n${text}\r\n`
})
const trailers = fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight: 1, arbitrary: field })

/** Fields that give the length, and the body. */
const framed = fc.oneof(
  { weight: 2, arbitrary: fc.constant(['', ''] as const) },
  { weight: 3, arbitrary: content.map((text) => [`Content-Length: ${text.length}\r\n`, text] as const) },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.array(chunk, { maxLength: 3 }), extension, trailers).map(([chunks, ext, end]) => {
      return ['Transfer-Encoding: chunked\r\n', `${chunks.join('')}0${ext}\r\n${end}\r\n`] as const
    }),
  },
)

const version = fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0')

function message(line: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc
    .tuple(line, fc.array(field, { maxLength: 3 }), connection, framed, fc.array(field, { maxLength: 1 }))
    .map(([start, before, close, [length, body], after]) => {
      return `${start}\r\n${before.join('')}${close}${length}${after.join('')}\r\n${body}`
    })
}

const requestLine = fc
  .tuple(
    fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'M-SEARCH'),
    fc.constantFrom('/', '/a?b', '/a?\xe9b', '*', 'http://a/b'),
    version,
  )
  .map((words) => words.join(' '))

const statusLine = fc
  .tuple(
    version,
    fc.constantFrom(200, 200, 200, 204, 304, 404, 500),
    fc.constantFrom('OK', '', 'Not \xe9', 'a  b'),
  )
  .map((words) => words.join(' '))

const informational = fc.constantFrom(
  ...[
    '',
    '',
    '',
    'HTTP/1.1 100 Continue\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n',
    'HTTP/1.1 102 P\r\n\r\n',
  ],
)

function mutated(stream: fc.Arbitrary<string>): fc.Arbitrary<readonly Buffer[]> {
  const mutations = fc.oneof(
    { weight: 1, arbitrary: fc.constant<Mutation[]>([]) },
    { weight: 3, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 2 }) },
  )
  const cuts = fc.array(fc.nat(), { maxLength: 3 })
  return fc.tuple(stream, mutations, cuts).map(([text, changes, places]) => {
    let changed = text
    for (const { at, remove, insert } of changes) {
      const place = at % (changed.length + 1)
      changed = changed.slice(0, place) + insert + changed.slice(place + remove)
    }
    const bytes = bytesOf(changed)
    const sorted = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b)
    return cutAt(bytes, sorted).filter(({ length }) => length > 0)
  })
}

/** One to three requests, most of them changed, in pieces. */
export const requestBytes = mutated(
  fc.array(message(requestLine), { minLength: 1, maxLength: 3 }).map((texts) => texts.join('')),
)

const websocket = fc.constantFrom(
  'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
)

const expecting = content.map((text) => {
  return `PUT /c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: ${text.length}\r\n\r\n${text}`
})

/** The requests of one connection, most of them changed, in pieces: plain ones, handshakes, held back bodies. */
export const connectionBytes = mutated(
  fc
    .array(
      fc.oneof(
        { weight: 8, arbitrary: message(requestLine) },
        { weight: 1, arbitrary: websocket },
        { weight: 1, arbitrary: expecting },
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((texts) => texts.join('')),
)

/** Bytes behind a response that could be taken for the next one. */
const excess = fc.oneof(
  { weight: 9, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison', '\r\n', 'x'),
  },
)

/** One response, at times with informational ones before it, or with bytes behind it that are none of it. */
export const responseBytes = mutated(
  fc.tuple(informational, message(statusLine), excess).map((texts) => texts.join('')),
)

const switched = fc
  .tuple(fc.array(field, { maxLength: 2 }), fc.constantFrom('', 'frames', 'HTTP/1.1 200 OK\r\n\r\n'))
  .map(([fields, rest]) => `${SWITCHED.slice(0, -2)}${fields.join('')}\r\n${rest}`)

/** The answer to the handshake with the key of the tests, most often one that switches over. */
export const handshakeBytes = mutated(
  fc
    .tuple(
      informational,
      fc.oneof(
        { weight: 3, arbitrary: switched },
        {
          weight: 1,
          arbitrary: message(statusLine),
        },
      ),
    )
    .map((texts) => texts.join('')),
)
