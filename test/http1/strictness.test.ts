import t from 'tap'
import { readRequests, readResponses } from './support.ts'

const CHUNKED = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'

/** Each with the reason's beginning, so that none passes for the sake of another rule. */
const REFUSED: Readonly<Record<string, readonly [bytes: string, reason: string]>> = {
  'a byte above ASCII in a path': ['GET /\xe9?a HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'a control character behind a byte above ASCII in a query': [
    'GET /?\xe9\x01 HTTP/1.1\r\n\r\n',
    'HPE_INVALID_URL',
  ],
  'a control character before a byte above ASCII in a query': [
    'GET /?\x01\xe9 HTTP/1.1\r\n\r\n',
    'HPE_INVALID_URL',
  ],
  'a byte above ASCII in a host': ['GET http://\xe9/?a HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'a byte above ASCII in a method': ['G\xc9T /?a HTTP/1.1\r\n\r\n', 'HPE_INVALID_METHOD'],
  'a byte above ASCII in a version': ['GET /?a HTTP\xb91.1\r\n\r\n', ''],
  'a no-break space in front of a query': ['GET\xa0/?\xe9 HTTP/1.1\r\n\r\n', 'HPE_INVALID_METHOD'],
  'a control character of latin1 in a name behind such a query': [
    'GET /?\xe9 HTTP/1.1\r\nA\x85B: c\r\n\r\n',
    'HPE_INVALID_HEADER_TOKEN',
  ],
  'a byte above ASCII behind several spaces': ['GET  /?\xe9 HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'CL.TE: Content-Length before Transfer-Encoding': [
    'POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG',
    'HPE_INVALID_TRANSFER_ENCODING',
  ],
  'TE.CL: Transfer-Encoding before Content-Length': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n',
    'HPE_INVALID_CONTENT_LENGTH',
  ],
  'TE.TE: two Transfer-Encoding fields': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    '',
  ],
  'TE.TE: an unknown coding behind chunked': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n',
    '',
  ],
  'TE.TE: an unknown coding before chunked': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'several Transfer-Encoding',
  ],
  'a coding before chunked': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'a Transfer-Encoding other',
  ],
  'chunked twice': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n',
    'HPE_INVALID_TRANSFER',
  ],
  'a comma behind chunked': ['POST / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n', ''],
  'identity as a coding': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n',
    'a Transfer-Encoding other than chunked',
  ],
  'an empty Transfer-Encoding': [
    'POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n',
    'a Transfer-Encoding other',
  ],
  'a coding that only resembles chunked': ['POST / HTTP/1.1\r\nTransfer-Encoding: chunkedx\r\n\r\n', ''],
  'a vertical tab before chunked': [
    'POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n',
    'HPE_INVALID_HEADER',
  ],
  'chunks in HTTP/1.0': [
    'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'Transfer-Encoding in HTTP/1.0',
  ],
  'two differing Content-Length fields': [
    'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'HPE_UNEXPECTED_CONTENT_LENGTH',
  ],
  'two equal Content-Length fields': [
    'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na',
    'HPE_UNEXPECTED_CONTENT_LENGTH',
  ],
  'a list of lengths': ['POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\na', 'HPE_INVALID_CONTENT_LENGTH'],
  'a signed length': ['POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na', 'HPE_INVALID_CONTENT_LENGTH'],
  'a negative length': ['POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\na', 'HPE_INVALID_CONTENT_LENGTH'],
  'a hexadecimal length': ['POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\na', 'HPE_INVALID_CONTENT_LENGTH'],
  'an empty length': ['POST / HTTP/1.1\r\nContent-Length:\r\n\r\n', 'HPE_INVALID_CONTENT_LENGTH'],
  'a length with a space in it': [
    'POST / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\na',
    'HPE_INVALID_CONTENT_LENGTH',
  ],
  'a length beyond 64 bits': [
    'POST / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\na',
    'HPE_INVALID_CONTENT',
  ],
  'a length that a double cannot hold': [
    'POST / HTTP/1.1\r\nContent-Length: 9007199254740993\r\n\r\na',
    'a malformed Content-Length',
  ],
  'bare line feeds': ['GET / HTTP/1.1\nHost: a\n\n', 'HPE_INVALID_VERSION'],
  'a bare line feed between fields': ['GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n', 'HPE_CR_EXPECTED'],
  'a bare line feed as the empty line': ['GET / HTTP/1.1\r\nHost: a\r\n\n', ''],
  'a bare carriage return in a value': ['GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n', 'HPE_LF_EXPECTED'],
  'a bare carriage return as the empty line': ['GET / HTTP/1.1\r\nHost: a\r\n\rX', ''],
  'a space before the colon': [
    'GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n',
    'HPE_INVALID_HEADER_TOKEN',
  ],
  'a tab before the colon': ['GET / HTTP/1.1\r\nHost\t: a\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a folded line (obs-fold)': ['GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a folded line with a tab': ['GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a folded line behind an empty value': ['GET / HTTP/1.1\r\nA:\r\n b\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a space before the first field': ['GET / HTTP/1.1\r\n Host: a\r\n\r\n', 'HPE_'],
  'a line without a colon': ['GET / HTTP/1.1\r\nHost\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a field without a name': ['GET / HTTP/1.1\r\n: a\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'NUL in a name': ['GET / HTTP/1.1\r\nHo\0st: a\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'NUL in a value': ['GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'NUL in the target': ['GET /\0 HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'a control character in a value': ['GET / HTTP/1.1\r\nA: \x01\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'DEL in a value': ['GET / HTTP/1.1\r\nA: \x7f\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a byte beyond ASCII in a name': ['GET / HTTP/1.1\r\nA\xe9: b\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'a byte beyond ASCII in the target': ['GET /\xe9 HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'a tab in the target': ['GET /\ta HTTP/1.1\r\n\r\n', 'HPE_INVALID_URL'],
  'two spaces behind the method': ['GET  / HTTP/1.1\r\n\r\n', 'several spaces'],
  'two spaces before the version': ['GET /  HTTP/1.1\r\n\r\n', 'a version other'],
  'a space behind the version': ['GET / HTTP/1.1 \r\n\r\n', 'HPE_INVALID_VERSION'],
  'a tab behind the method': ['GET\t/ HTTP/1.1\r\n\r\n', 'HPE_'],
  'a request without a version (HTTP/0.9)': ['GET /\r\n\r\n', 'a version other'],
  'HTTP/0.9 by name': ['GET / HTTP/0.9\r\n\r\n', 'a version other'],
  'HTTP/2.0 by name': ['GET / HTTP/2.0\r\n\r\n', 'a version other'],
  'HTTP/1.2': ['GET / HTTP/1.2\r\n\r\n', 'HPE_INVALID_VERSION'],
  'a version of two digits': ['GET / HTTP/1.10\r\n\r\n', 'HPE_INVALID_VERSION'],
  RTSP: ['GET / RTSP/1.0\r\n\r\n', ''],
  ICE: ['SOURCE / ICE/1.0\r\n\r\n', ''],
  'a version in small letters': ['GET / http/1.1\r\n\r\n', 'HPE_INVALID_CONSTANT'],
  'a method in small letters': ['get / HTTP/1.1\r\n\r\n', 'HPE_INVALID_METHOD'],
  'an unknown method': ['FOO / HTTP/1.1\r\n\r\n', 'HPE_INVALID_METHOD'],
  'the preface of HTTP/2': ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', ''],
  'a TLS handshake on a plain port': ['\x16\x03\x01\x02\x00\x01\x00', 'HPE_INVALID_METHOD'],
  'a response on the client side': ['HTTP/1.1 200 OK\r\n\r\n', 'HPE_INVALID_METHOD'],
  'a chunk size with a space behind it': [`${CHUNKED}3 \r\nabc\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
  'a chunk size with a prefix': [`${CHUNKED}0x3\r\nabc\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
  'a negative chunk size': [`${CHUNKED}-3\r\nabc\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
  'an empty chunk size': [`${CHUNKED}\r\nabc\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
  'a chunk size beyond 64 bits': [`${CHUNKED}10000000000000003\r\nabc\r\n`, 'HPE_INVALID_CHUNK_SIZE'],
  'a chunk size line with a bare line feed': [`${CHUNKED}3\nabc\r\n0\r\n\r\n`, 'HPE_CR_EXPECTED'],
  'a chunk that ends with a bare line feed': [`${CHUNKED}3\r\nabc\n0\r\n\r\n`, 'HPE_CR_EXPECTED'],
  'a chunk longer than its size': [`${CHUNKED}3\r\nabcd\r\n0\r\n\r\n`, 'HPE_STRICT'],
  'a chunk extension with a bare line feed (TERM.EXT)': [
    `${CHUNKED}3;a\nabc\r\n0\r\n\r\n`,
    'HPE_CR_EXPECTED',
  ],
  'a chunk extension with a bare carriage return': [`${CHUNKED}3;a\rX\r\nabc\r\n`, 'HPE_STRICT'],
  'a chunk extension with an open quote': [`${CHUNKED}3;a="b\r\nabc\r\n`, 'HPE_STRICT'],
  'a chunk extension without a name': [`${CHUNKED}3;\r\nabc\r\n`, 'HPE_STRICT'],
  'a last chunk that ends with a bare line feed': [`${CHUNKED}0\r\n\n`, 'HPE_'],
  'a trailer with a space before the colon': [`${CHUNKED}0\r\nA : b\r\n\r\n`, 'HPE_INVALID_HEADER_TOKEN'],
  'a Content-Length among the trailers': [
    `${CHUNKED}0\r\nContent-Length: 5\r\n\r\n`,
    'HPE_INVALID_CONTENT_LENGTH',
  ],
}

for (const [attack, [bytes, reason]] of Object.entries(REFUSED)) {
  t.test(`a request with ${attack} is refused`, async (t) => {
    const { end, messages } = readRequests(bytes)
    t.match(end, { code: 'malformed', reason: new RegExp(`^${reason}`) })
    t.ok(
      messages.every(({ trailers }) => trailers === null),
      'no message is complete',
    )
  })
}

const HOSTILE_RESPONSES: Readonly<Record<string, readonly [bytes: string, reason: string]>> = {
  'two lengths': [
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na',
    'HPE_UNEXPECTED_CONTENT',
  ],
  'a length and chunks': [
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HPE_INVALID_TRANSFER_ENCODING',
  ],
  'a coding other than chunked': [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na',
    'a Transfer-Encoding other',
  ],
  'a coding before chunked': [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
    'a Transfer-Encoding other',
  ],
  'chunked twice': [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n',
    '',
  ],
  'a 304 with a coding other than chunked': [
    'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: gzip\r\n\r\n',
    'a Transfer-Encoding other',
  ],
  'a status of 99': ['HTTP/1.1 099 A\r\n\r\n', 'a status of 99'],
  'a status of 600': ['HTTP/1.1 600 A\r\n\r\n', 'a status of 600'],
  'a status of 999': ['HTTP/1.1 999 A\r\n\r\n', 'a status of 999'],
  'a status of two digits': ['HTTP/1.1 20 A\r\n\r\n', 'HPE_INVALID_STATUS'],
  'a status of four digits': ['HTTP/1.1 2000 A\r\n\r\n', 'HPE_INVALID_STATUS'],
  'a control character in the reason': ['HTTP/1.1 200 O\x01K\r\n\r\n', 'a control character'],
  'a bare line feed behind the status line': ['HTTP/1.1 200 OK\n\r\n', 'HPE_CR_EXPECTED'],
  'a bare carriage return in the reason': ['HTTP/1.1 200 a\rb\r\n\r\n', 'HPE_STRICT'],
  'a folded line': ['HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'NUL in a value': ['HTTP/1.1 200 OK\r\nA: \0\r\n\r\n', 'HPE_INVALID_HEADER_TOKEN'],
  'CR CR behind the status line': ['HTTP/1.1 200 OK\r\rA: b\r\n\r\n', 'a line that does not end'],
  'an informational head that closes': [
    'HTTP/1.1 103 A\r\nConnection: close\r\n\r\nHTTP/1.1 204 A\r\n\r\n',
    'an informational response that ends',
  ],
  'an informational head of HTTP/1.0': [
    'HTTP/1.0 103 A\r\n\r\nHTTP/1.1 204 A\r\n\r\n',
    'an informational response that ends',
  ],
  'an empty line before it': ['\r\nHTTP/1.1 200 OK\r\n\r\n', 'a version other'],
  'HTTP/2.0 by name': ['HTTP/2.0 200 OK\r\n\r\n', 'a version other'],
  RTSP: ['RTSP/1.0 200 OK\r\n\r\n', ''],
  'a request': ['GET / HTTP/1.1\r\n\r\n', 'HPE_INVALID_CONSTANT'],
}

for (const [attack, [bytes, reason]] of Object.entries(HOSTILE_RESPONSES)) {
  t.test(`a response with ${attack} is refused`, async (t) => {
    t.match(readResponses(bytes).end, { code: 'malformed', reason: new RegExp(`^${reason}`) })
  })
}

t.test('a 101 that the handler did not ask for is refused', async (t) => {
  const { end } = readResponses(
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes',
  )
  t.match(end, { code: 'unexpected_upgrade' })
})

t.test('a Content-Length with white space around it is its number', async (t) => {
  const { messages, end } = readRequests('POST / HTTP/1.1\r\nContent-Length: \t 2  \r\n\r\nab')
  t.equal(end, 'idle')
  t.same(messages[0]?.head.fields, ['Content-Length', '2'])
  t.equal(messages[0]?.body, 'ab')
})
