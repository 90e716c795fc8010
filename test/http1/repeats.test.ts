import t from 'tap'
import { bytesOf, cutAt, readResponses } from './support.ts'

const answer = (head: readonly string[], body: string) => `${head.join('\r\n')}\r\n\r\n${body}`

const PLAIN = answer(['HTTP/1.1 200 OK', 'Content-Length: 2', 'A: b '], 'ab')

/** Each differs from PLAIN in what its head means, and has nearly the same bytes. */
const OTHERS = [
  answer(['HTTP/1.1 200 OK', 'Content-Length: 3', 'A: b '], 'abc'),
  answer(['HTTP/1.1 200 OK', 'Content-Length: 2', 'A: c '], 'ab'),
  answer(['HTTP/1.1 404 OK', 'Content-Length: 2', 'A: b '], 'ab'),
  answer(['HTTP/1.1 200 OK', 'Content-Length: 2', 'A: b ', 'C: d'], 'ab'),
  answer(['HTTP/1.1 204 OK', 'A: b '], ''),
  answer(['HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'], '2\r\nab\r\n0\r\n\r\n'),
  answer(['HTTP/1.1 103 Early Hints', 'A: b '], ''),
]

const readOne = (text: string) => readResponses([bytesOf(text)]).messages

for (const [i, other] of OTHERS.entries()) {
  t.test(`heads that come again are read as those that come first, with answer ${i} between`, async (t) => {
    const texts = [PLAIN, PLAIN, other, other, PLAIN, other, PLAIN]
    const bytes = bytesOf(texts.join(''))
    const expected = texts.flatMap(readOne)
    t.same(readResponses([bytes]).messages, expected)
    for (let place = 1; place < bytes.length; place++) {
      const found = JSON.stringify(readResponses(cutAt(bytes, [place])).messages)
      if (found !== JSON.stringify(expected)) t.equal(found, JSON.stringify(expected), `cut at ${place}`)
    }
  })
}

t.test('a head that comes again ends an answer to HEAD', async (t) => {
  const head = answer(['HTTP/1.1 200 OK', 'Content-Length: 2'], '')
  const { messages, end } = readResponses([bytesOf(head + head + head)], { decide: () => 'skip' })
  t.equal(messages.length, 3)
  t.equal(end, 'idle')
})

t.test('what a broken head has in common with the one before it does not make it whole', async (t) => {
  const broken = PLAIN.replace('A: b \r\n\r\n', 'A: b \r\n\rX')
  t.match(readResponses([bytesOf(PLAIN + broken)]).end, { code: 'malformed' })
})
