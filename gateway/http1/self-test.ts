import type { Engine } from './engine.ts'
import type { RequestHead, ResponseHead } from './heads.ts'
import { INVALID_URL, LlhttpError, OK, PAUSED, STOPPED_BY_CALLBACK } from './llhttp.ts'
import type { MessageParser } from './message-parser.ts'
import type { MessageHandler } from './messages.ts'
import type { Wire } from './parsers.ts'

/**
 * Reads known messages, whole and byte by byte, and messages that must be refused. An update of undici may bring
 * another llhttp, built with other callbacks, numbers or leniency, and a difference there would be a hole in the wall.
 *
 * @throws LlhttpError that names the first difference
 */
export function testWire(wire: Wire, engine: Engine): void {
  for (const [code, name] of CODES) {
    if (engine.errorName(code) !== name) throw new LlhttpError(`error ${code} is ${engine.errorName(code)}`)
  }
  for (const [bytes, expected] of REQUESTS) expectCalls(requestReader(wire), bytes, expected)
  for (const [bytes, expected] of RESPONSES) expectCalls(responseReader(wire), bytes, expected)
  for (const [bytes, reason] of REFUSED_REQUESTS) expectRefusal(requestReader(wire), bytes, reason)
  for (const [bytes, reason] of REFUSED_RESPONSES) expectRefusal(responseReader(wire), bytes, reason)
}

interface Reader {
  readonly calls: string[]
  readonly parser: MessageParser<RequestHead> | MessageParser<ResponseHead>
}

const LIMITS = { maxHeadBytes: 1024, maxFields: 8 }

function requestReader(wire: Wire): Reader {
  const calls: string[] = []
  const handler = recordInto<RequestHead>(calls, ({ method, target }) => `${method} ${target}`)
  return { calls, parser: wire.createRequestParser(handler, LIMITS) }
}

function responseReader(wire: Wire): Reader {
  const calls: string[] = []
  const handler = recordInto<ResponseHead>(calls, ({ status, reason }) => `${status} ${reason}`)
  return { calls, parser: wire.createResponseParser(handler, LIMITS) }
}

/** Body bytes are joined, since their slices depend on how the bytes were split. */
function recordInto<H extends RequestHead | ResponseHead>(
  calls: string[],
  line: (head: H) => string,
): MessageHandler<H> {
  let body = ''
  return {
    onHead(head) {
      calls.push(`${line(head)} 1.${head.minor} [${head.fields.join('|')}] ${head.length} ${head.keepAlive}`)
      return 'read'
    },
    onBody(bytes) {
      body += bytes.toString('latin1')
    },
    onEnd(trailers) {
      calls.push(`${body} [${trailers.join('|')}]`)
      body = ''
    },
  }
}

function expectCalls(reader: Reader, text: string, expected: readonly string[]): void {
  const bytes = Buffer.from(text, 'latin1')
  const { calls, parser } = reader
  for (let at = 0; at < bytes.length; at = parser.position) {
    if (parser.execute(bytes, at) === 'error') break
  }
  for (let at = 0; at < bytes.length; at++) parser.execute(bytes.subarray(at, at + 1))
  parser.close()
  const twice = [...expected, ...expected].join('\n')
  if (calls.join('\n') === twice) return
  throw new LlhttpError(
    `it reads ${JSON.stringify(text)} as ${JSON.stringify(calls)} ${parser.error?.reason}`,
  )
}

function expectRefusal(reader: Reader, text: string, reason: string): void {
  const outcome = reader.parser.execute(Buffer.from(text, 'latin1'))
  reader.parser.close()
  if (outcome === 'error' && reader.parser.error?.reason.startsWith(reason)) return
  throw new LlhttpError(
    `it does not refuse ${JSON.stringify(text)} for ${reason}: ${reader.parser.error?.reason}`,
  )
}

const CODES: readonly (readonly [number, string])[] = [
  [OK, 'HPE_OK'],
  [INVALID_URL, 'HPE_INVALID_URL'],
  [PAUSED, 'HPE_PAUSED'],
  [STOPPED_BY_CALLBACK, 'HPE_USER'],
]

type Known = readonly (readonly [bytes: string, calls: readonly string[]])[]

const REQUESTS: Known = [
  ['GET /a?b HTTP/1.1\r\nHost: x\r\nA:\r\nB:  v \t\r\n\r\n', ['GET /a?b 1.1 [Host|x|A||B|v] 0 true', ' []']],
  ['GET /?\xe9 HTTP/1.1\r\nHost: x\r\n\r\n', ['GET /?\xe9 1.1 [Host|x] 0 true', ' []']],
  ['M-SEARCH * HTTP/1.1\r\nConnection: x\r\n\r\n', ['M-SEARCH * 1.1 [Connection|x] 0 true', ' []']],
  [
    'POST / HTTP/1.1\r\nContent-Length: 3 \r\n\r\nabcPUT / HTTP/1.1\r\n\r\n',
    ['POST / 1.1 [Content-Length|3] 3 true', 'abc []', 'PUT / 1.1 [] 0 true', ' []'],
  ],
  [
    'POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n3;a=b;c="d e"\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n',
    ['POST / 1.1 [transfer-encoding|Chunked] -1 true', 'abc0123456789 []'],
  ],
]

const RESPONSES: Known = [
  [
    'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab',
    ['103 Early Hints 1.1 [Link|x] 0 true', '200 OK 1.1 [Content-Length|2] 2 true', 'ab []'],
  ],
  ['HTTP/1.1 204\r\n\r\n', ['204  1.1 [] 0 true', ' []']],
  [
    'HTTP/1.1 200 \xe9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nT: v\r\nU:\r\n\r\n',
    ['200 \xe9 1.1 [Transfer-Encoding|chunked] -1 true', 'ab [T|v|U|]'],
  ],
]

type Refused = readonly (readonly [bytes: string, reason: string])[]

const CHUNKED_REQUEST = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'

const REFUSED_REQUESTS: Refused = [
  ['GET / HTTP/1.1\nHost: x\n\n', 'HPE_INVALID_VERSION'],
  ['GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n', 'HPE_CR_EXPECTED'],
  ['GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n', 'HPE_LF_EXPECTED'],
  ['GET / HTTP/1.1\r\nHost : x\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  ['GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  ['GET / HTTP/1.1\r\nHost: x\0\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  ['GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n', 'HPE_UNEXPECTED_CONTENT_LENGTH'],
  ['GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n', 'HPE_INVALID_CONTENT_LENGTH'],
  [
    'GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HPE_INVALID_TRANSFER_ENCODING',
  ],
  ['GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n', 'HPE_INVALID_CONTENT_LENGTH'],
  ['GET / HTTP/1.9\r\n\r\n', 'HPE_INVALID_VERSION'],
  ['get / HTTP/1.1\r\n\r\n', 'HPE_INVALID_METHOD'],
  ['GET /\x01 HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  [`${CHUNKED_REQUEST}1 \r\na`, 'HPE_INVALID_CHUNK_SIZE'],
  [`${CHUNKED_REQUEST}1\na`, 'HPE_CR_EXPECTED'],
  [`${CHUNKED_REQUEST}1\r\na\n`, 'HPE_CR_EXPECTED'],
  [`${CHUNKED_REQUEST}1\r\nab`, 'HPE_STRICT'],
  [`${CHUNKED_REQUEST}fffffffffffffffff\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
]

const REFUSED_RESPONSES: Refused = [
  ['HTTP/1.1 200 OK\n\n', 'HPE_CR_EXPECTED'],
  ['HTTP/1.1 20 OK\r\n\r\n', 'HPE_INVALID_STATUS'],
  ['HTTP/1.1 200 OK\r\nA : b\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n', 'HPE_UNEXPECTED_CONTENT_LENGTH'],
]
