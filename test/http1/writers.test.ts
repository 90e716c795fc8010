import t from 'tap'
import {
  CHUNK_END,
  formatChunk,
  formatChunkStart,
  formatLastChunk,
  joinHeadAndBody,
} from '../../gateway/http1/body-writer.ts'
import { createDateFormatter } from '../../gateway/http1/date.ts'
import {
  CONNECTION_CLOSE,
  CONNECTION_KEEP_ALIVE,
  createHeadWriter,
  DATE,
  TRANSFER_CHUNKED,
} from '../../gateway/http1/head-writer.ts'
import { bytesOf, readRequests, readResponses } from './support.ts'

const NOW = 'Thu, 01 Jan 2026 00:00:00 GMT'
const writer = createHeadWriter(() => NOW)

t.test('a request head is read as it was written', async (t) => {
  const fields = ['Host', 'a', 'hOST-b', 'v \xe9', 'Empty', '']
  const { messages, end } = readRequests(writer.formatRequest('PATCH', '/a?b', fields))
  t.equal(end, 'idle')
  t.match(messages[0]?.head, {
    method: 'PATCH',
    target: '/a?b',
    minor: 1,
    fields,
    length: 0,
    keepAlive: true,
  })
})

t.test('a response head is read as it was written', async (t) => {
  const fields = ['Set-Cookie', 'a=b', 'Set-Cookie', 'c=d']
  const head = writer.formatResponse(404, 'Not \xe9', fields, DATE | CONNECTION_CLOSE | TRANSFER_CHUNKED)
  const { messages, keepAlive } = readResponses(`${head}0\r\n\r\n`)
  t.match(messages[0]?.head, { status: 404, reason: 'Not \xe9', minor: 1 })
  t.same(messages[0]?.head.fields, [
    ...fields,
    'Date',
    NOW,
    'Transfer-Encoding',
    'chunked',
    'Connection',
    'close',
  ])
  t.equal(keepAlive, false)
  t.equal(
    writer.formatResponse(100, 'Continue', [], CONNECTION_KEEP_ALIVE),
    'HTTP/1.1 100 Continue\r\nConnection: keep-alive\r\n\r\n',
  )
  t.equal(writer.formatResponse(200, '', []), 'HTTP/1.1 200 \r\n\r\n')
})

const BREAKING: Readonly<Record<string, string>> = {
  'a line break': 'a\r\nInjected: b',
  'a line feed': 'a\nInjected: b',
  'a carriage return': 'a\rb',
  'a lone empty line': '\r\n\r\n',
  NUL: 'a\0b',
  'a character that latin1 cuts down to a line feed': 'a\u010aInjected: b',
  'a character that latin1 cuts down to a carriage return': 'a\u010db',
  'a character beyond latin1': '\u20ac',
}

const refused = { name: 'HeadError', code: 'head_invalid' }

for (const [what, text] of Object.entries(BREAKING)) {
  t.test(`${what} is written nowhere in a head (header injection)`, async (t) => {
    t.throws(() => writer.formatRequest('GET', '/', ['A', text]), refused, 'a value')
    t.throws(() => writer.formatRequest('GET', '/', [text, 'a']), refused, 'a name')
    t.throws(() => writer.formatRequest('GET', `/${text}`, []), refused, 'the target')
    t.throws(() => writer.formatRequest(text, '/', []), refused, 'the method')
    t.throws(() => writer.formatResponse(200, text, []), refused, 'the reason')
    t.throws(() => writer.formatResponse(200, 'OK', ['A', 'b', 'A', text]), refused, 'a value of a response')
    t.throws(() => formatLastChunk(['A', text]), refused, 'a trailer')
    t.throws(() => formatLastChunk([text, 'a']), refused, "a trailer's name")
  })
}

t.test('names that are no tokens, targets with spaces and impossible statuses are not written', async (t) => {
  for (const name of ['', 'A B', 'A:', 'Transfer-Encoding ', '\tA', 'A\xe9', '(a)']) {
    t.throws(() => writer.formatRequest('GET', '/', [name, 'a']), refused, name)
  }
  for (const target of ['', '/ HTTP/1.1', '/a b'])
    t.throws(() => writer.formatRequest('GET', target, []), refused)
  for (const status of [99, 600, 200.5, Number.NaN]) {
    t.throws(() => writer.formatResponse(status, '', []), refused, String(status))
  }
})

t.test('names that were never seen before are checked each time', async (t) => {
  for (let i = 0; i < 1000; i++) writer.formatRequest('GET', '/', [`X-${i}`, ''])
  t.throws(() => writer.formatRequest('GET', '/', ['X 1', '']), refused)
  t.match(writer.formatRequest('GET', '/', ['X-999', 'a']), /X-999: a\r\n/)
})

t.test('a chunked body is read as it was written', async (t) => {
  const head = bytesOf('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
  const first = Buffer.from('first')
  const second = Buffer.alloc(70_000, 'b')
  const bytes = Buffer.concat([
    head,
    formatChunk(first),
    Buffer.from(formatChunkStart(second.length)),
    second,
    Buffer.from(CHUNK_END),
    Buffer.from(formatLastChunk(['Tr', 'v', 'Empty', '']), 'latin1'),
  ])
  const { messages, end } = readResponses([bytes])
  t.equal(end, 'idle')
  t.equal(messages[0]?.body, `first${second}`)
  t.same(messages[0]?.trailers, ['Tr', 'v', 'Empty', ''])
  t.equal(formatLastChunk([]), '0\r\n\r\n')
  t.throws(() => formatChunkStart(0), RangeError, 'it would end the body')
})

t.test('a head and its body leave as one piece', async (t) => {
  const head = writer.formatResponse(200, 'OK', ['Content-Length', '2', 'A', '\xe9'])
  t.equal(joinHeadAndBody(head, Buffer.from('ab')).toString('latin1'), `${head}ab`)
})

t.test('Date changes with the second, and is made once for each', async (t) => {
  let now = Date.UTC(2026, 0, 1)
  const format = createDateFormatter(() => now)
  t.equal(format(), NOW)
  now += 999
  t.equal(format(), NOW)
  now += 1
  t.equal(format(), 'Thu, 01 Jan 2026 00:00:01 GMT')
})
