import fc from 'fast-check'
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  HEADERS,
  literal,
  RST_STREAM,
} from '../support/http2-frames.ts'
import { FIELDS, GOOD_COOKIE, ODD_FIELDS, rarely, SMUGGLED } from './hostile-requests.ts'

/** Name, value pairs in order, pseudo-header fields included; whatever they hold. */
type Block = readonly (readonly [string, string])[]

export interface HostileStream {
  readonly block: Block
  /** Pieces of the body; null for none. */
  readonly body: readonly string[] | null
  /** How the client ends it: in order, with fields behind the body, by a reset, or not at all. */
  readonly end: 'ends' | 'trailers' | 'resets' | 'stays'
}

const method = rarely(
  fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'),
  fc.constantFrom('get', 'FOO', 'CONNECT', 'TRACE', '', 'GET /x HTTP/1.1\r\n', 'PRI', 'G\0T'),
)

const path = rarely(
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
    '',
    'https://app.example.com/admin',
    '/public HTTP/1.1\r\nX-User-Id: admin\r\n\r\n',
    '/pub lic',
    '/\x80\xff',
    '/public#x',
    'public',
    '/%zz',
  ),
  8,
)

const scheme = rarely(fc.constant('https'), fc.constantFrom('http', '', 'HTTPS', 'ftp'), 15)
const authority = rarely(
  fc.constant('app.example.com'),
  fc.constantFrom('', 'a@b', 'evil\r\nX-User-Id: admin', 'app.example.com:99999'),
  15,
)

/** The lines of HTTP/1.1 as fields of HTTP/2; those of several lines stay as they are. */
const asField = (line: string): readonly [string, string] => {
  const colon = line.indexOf(':', 1)
  return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trimStart()]
}

const ONLY_HERE: Block = [
  ['X-User-Id', 'admin'],
  ['X_User_Id', 'admin'],
  [':path', '/admin'],
  [':authority', 'evil.example'],
  [':status', '200'],
  [':protocol', 'websocket'],
  ['host', 'app.example.com'],
  ['host', 'evil.example'],
  ['te', 'gzip'],
  ['transfer-encoding', 'chunked'],
  ['content-length', '0'],
  ['content-length', '5'],
  ['content-length', '+5'],
  ['connection', 'x-user-id'],
  ['upgrade', 'websocket'],
  ['x-a', `b\r\nX-User-Id: admin\r\n\r\n${SMUGGLED}`],
  ['x-a\r\nx-user-id', 'admin'],
  ['x-a: b', 'c'],
  ['', 'x'],
  ['x-a', ' padded\t'],
]

const field = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...FIELDS.map(asField)) },
  { weight: 5, arbitrary: fc.constant(asField(GOOD_COOKIE)) },
  { weight: 1, arbitrary: fc.constantFrom(...ODD_FIELDS.map(asField)) },
  { weight: 3, arbitrary: fc.constantFrom(...ONLY_HERE) },
)

const block: fc.Arbitrary<Block> = fc
  .record({ method, scheme, authority, path, fields: fc.array(field, { maxLength: 4 }) })
  .map(({ method, scheme, authority, path, fields }) => [
    [':method', method],
    [':scheme', scheme],
    [':authority', authority],
    [':path', path],
    ...fields,
  ])

/** Two fields change places, or one is left out, or a character of one is another. */
const changed = fc
  .tuple(block, fc.constantFrom('swap', 'drop', 'alter'), fc.nat(), fc.nat(), fc.nat({ max: 255 }))
  .map(([fields, how, first, second, code]): Block => {
    const out = fields.map(([name, value]) => [name, value] as const)
    const a = first % out.length
    const b = second % out.length
    if (how === 'drop') return out.filter((_, n) => n !== a)
    if (how === 'swap') [out[a], out[b]] = [out[b]!, out[a]!]
    else {
      const [name, value] = out[a]!
      const at = second % (value.length + 1)
      out[a] = [name, `${value.slice(0, at)}${String.fromCharCode(code)}${value.slice(at + 1)}`]
    }
    return out
  })

const stream: fc.Arbitrary<HostileStream> = fc.record({
  block: rarely(block, changed, 2),
  body: fc.oneof(
    { weight: 2, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom('', 'a', 'hello', SMUGGLED), { maxLength: 3 }) },
  ),
  end: fc.constantFrom('ends', 'ends', 'ends', 'ends', 'trailers', 'resets', 'stays'),
})

/** One to three streams: valid, nearly valid or hostile. */
export const http2Volley = fc.array(stream, { minLength: 1, maxLength: 3 })

/** @param cookie in place of the good cookie's placeholder */
export function framesOf({ block, body, end }: HostileStream, stream: number, cookie: string): Frame[] {
  const endsWithHead = body === null && end === 'ends'
  const frames: Frame[] = [
    {
      type: HEADERS,
      flags: END_HEADERS | (endsWithHead ? END_STREAM : 0),
      stream,
      payload: encode(block, cookie),
    },
  ]
  for (const piece of body ?? []) frames.push({ type: DATA, stream, payload: Buffer.from(piece) })
  if (end === 'ends' && !endsWithHead) frames.push({ type: DATA, flags: END_STREAM, stream })
  if (end === 'trailers') {
    const payload = encode([['x-user-id', 'admin']], cookie)
    frames.push({ type: HEADERS, flags: END_HEADERS | END_STREAM, stream, payload })
  }
  if (end === 'resets') frames.push({ type: RST_STREAM, stream, payload: Buffer.from([0, 0, 0, 8]) })
  return frames
}

function encode(block: Block, cookie: string): Buffer {
  const placeholder = asField(GOOD_COOKIE)[1]
  return Buffer.concat(block.map(([name, value]) => literal(name, value === placeholder ? cookie : value)))
}
