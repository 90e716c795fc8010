import t, { type Test } from 'tap'
import { bytesOf, cutAt, LIMITS, type ReadStream, readRequests, readResponses } from './support.ts'

const TOO_LARGE = { code: 'headers_too_large' }

/** Whole, byte by byte, and in pieces. */
function splitsOf(text: string): Buffer[][] {
  const bytes = bytesOf(text)
  const single = Array.from({ length: bytes.length - 1 }, (_, i) => i + 1)
  return [[bytes], cutAt(bytes, single), cutAt(bytes, [Math.floor(bytes.length / 3), bytes.length - 1])]
}

function expectEnds(
  t: Test,
  text: string,
  read: (pieces: readonly Buffer[]) => ReadStream<unknown>,
  accepted: boolean,
): void {
  for (const pieces of splitsOf(text)) {
    const { end } = read(pieces)
    if (accepted) t.equal(end, 'idle', `${text.length} bytes in ${pieces.length} pieces`)
    else t.match(end, TOO_LARGE, `${text.length} bytes in ${pieces.length} pieces`)
  }
}

const MAX = 200
const limits = { maxHeadBytes: MAX, maxFields: 5 }

/** A head of so many bytes from the first to the empty line. */
function headOf(bytes: number, start: string, extra = ''): string {
  const rest = `${extra}A: \r\n\r\n`
  return `${start}${extra}A: ${'v'.repeat(bytes - start.length - rest.length)}\r\n\r\n`
}

for (const bytes of [MAX - 1, MAX, MAX + 1]) {
  t.test(`a head of ${bytes} bytes where ${MAX} are allowed`, async (t) => {
    const accepted = bytes <= MAX
    expectEnds(t, headOf(bytes, 'GET / HTTP/1.1\r\n'), (p) => readRequests(p, { limits }), accepted)
    expectEnds(t, headOf(bytes, '\r\n\r\nGET / HTTP/1.1\r\n'), (p) => readRequests(p, { limits }), accepted)
    const raw = `GET /?${'\xe9'.repeat(bytes - 19)} HTTP/1.1\r\n\r\n`
    expectEnds(t, raw, (p) => readRequests(p, { limits }), accepted)
    const target = `GET /${'t'.repeat(bytes - 18)} HTTP/1.1\r\n\r\n`
    t.equal(target.length, bytes)
    expectEnds(t, target, (p) => readRequests(p, { limits }), accepted)
    expectEnds(t, headOf(bytes, 'HTTP/1.1 204 No\r\n'), (p) => readResponses(p, { limits }), accepted)
    const body = headOf(bytes, 'POST / HTTP/1.1\r\n', 'Content-Length: 300\r\n') + 'b'.repeat(300)
    expectEnds(t, body, (p) => readRequests(p, { limits }), accepted)
  })
}

t.test('a head without end is refused as soon as it is too long', async (t) => {
  for (const text of [
    `GET /${'a'.repeat(MAX)}`,
    `GET / HTTP/1.1\r\nA: ${'a'.repeat(MAX)}`,
    '\r\n'.repeat(MAX),
  ]) {
    t.match(readRequests(text, { limits }).end, TOO_LARGE, text.slice(0, 20))
  }
})

t.test('the bytes of one head do not count for the next', async (t) => {
  const head = headOf(MAX, 'GET / HTTP/1.1\r\n')
  const { messages, end } = readRequests(head.repeat(3), { limits })
  t.equal(messages.length, 3)
  t.equal(end, 'idle')
})

for (const count of [4, 5, 6]) {
  t.test(`${count} fields where 5 are allowed`, async (t) => {
    const accepted = count <= 5
    const fields = 'a:\r\n'.repeat(count)
    expectEnds(t, `GET / HTTP/1.1\r\n${fields}\r\n`, (p) => readRequests(p, { limits }), accepted)
    expectEnds(t, `HTTP/1.1 204 No\r\n${fields}\r\n`, (p) => readResponses(p, { limits }), accepted)
    const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n${fields}\r\n`
    expectEnds(t, chunked, (p) => readResponses(p, { limits }), accepted)
    const request = `POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${fields}\r\n`
    expectEnds(t, request, (p) => readRequests(p, { limits }), accepted)
  })
}

t.test('2000 fields are read, and 2001 are too many', async (t) => {
  const head = (count: number) => `GET / HTTP/1.1\r\n${'a:\r\n'.repeat(count)}\r\n`
  const { messages, end } = readRequests(head(2000), { limits: LIMITS })
  t.equal(end, 'idle')
  t.equal(messages[0]?.head.fields.length, 4000)
  t.match(readRequests(head(2001), { limits: LIMITS }).end, TOO_LARGE)
})

t.test('16,000 empty fields of a 103 or of trailers are refused', async (t) => {
  const fields = 'a:\r\n'.repeat(16_000)
  t.match(readResponses(`HTTP/1.1 103 Early Hints\r\n${fields}\r\n`).end, TOO_LARGE)
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n'
  const { end, messages } = readResponses(`${chunked}${fields}\r\n`)
  t.match(end, TOO_LARGE)
  t.equal(messages[0]?.body, 'ab', 'the body before them is handed on')
  t.equal(messages[0]?.trailers, null)
})

for (const bytes of [MAX - 1, MAX, MAX + 1]) {
  t.test(`${bytes} bytes from the last byte of body to the end of the trailers`, async (t) => {
    const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab'
    const rest = `\r\n0\r\nT: ${'v'.repeat(bytes - 12)}\r\n\r\n`
    t.equal(rest.length, bytes)
    expectEnds(t, chunked + rest, (p) => readResponses(p, { limits }), bytes <= MAX)
  })

  t.test(`${bytes} bytes from one chunk to the next, for an extension`, async (t) => {
    const chunked = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab'
    const gap = `\r\n1;${'e'.repeat(bytes - 6)}\r\n`
    t.equal(gap.length, bytes)
    expectEnds(t, `${chunked}${gap}c\r\n0\r\n\r\n`, (p) => readRequests(p, { limits }), bytes <= MAX)
  })
}

t.test('chunk extensions are bounded though heads may be long (CVE-2024-22019)', async (t) => {
  const chunked = 'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'
  const allowed = { maxHeadBytes: 1_000_000, maxFields: 10 }
  const end = (bytes: number, last: string) =>
    readRequests(`${chunked}${last};${'e'.repeat(bytes)}`, { limits: allowed }).end
  t.equal(end(16_000, '1'), 'cut')
  t.match(end(16_400, '1'), TOO_LARGE)
  t.match(end(16_400, '0'), TOO_LARGE)
  const trailer = readRequests(`${chunked}0;${'e'.repeat(17_000)}\r\nA: b\r\n\r\n`, { limits: allowed })
  t.match(trailer.end, TOO_LARGE)
})

t.test('attack: a long query of bytes above ASCII that comes byte by byte is read in time', async (t) => {
  const text = `GET /?${'\xe9'.repeat(16_000)} HTTP/1.1\r\n\r\n`
  const pieces = cutAt(
    bytesOf(text),
    Array.from({ length: text.length - 1 }, (_, i) => i + 1),
  )
  const began = performance.now()
  t.equal(readRequests(pieces).messages[0]?.head.target.length, 16_002)
  // Each byte has the head read again. That it came in a packet of its own costs more.
  t.ok(performance.now() - began < 5000, `${performance.now() - began} ms`)
})
