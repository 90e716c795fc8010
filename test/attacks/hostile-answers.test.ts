import t from 'tap'
import { AUTHS, answerAll, shot, startRange, testOverHttp1 } from './support.ts'

const range = await startRange(t)

const ANSWERS: Record<string, string> = {
  'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\nok',
  'length and chunks': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a bad status line': 'HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok',
  'no status line': 'hello\r\nContent-Length: 2\r\n\r\nok',
  'a status below 100': 'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok',
  'a status of two digits': 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok',
  'a NUL in a field': 'HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok',
  'a NUL in the reason': 'HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok',
  'a bare CR in a field': 'HTTP/1.1 200 OK\r\nX-A: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok',
  'a length below zero': 'HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok',
  'a length with a sign': 'HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok',
  'a space before the colon': 'HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok',
  'a head past all bounds': `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(1_000_000)}\r\nContent-Length: 2\r\n\r\nok`,
}

for (const [what, bytes] of Object.entries(ANSWERS)) {
  t.test(`an upstream's answer with ${what}: 502, and the connection is discarded`, async (t) => {
    for (const auth of AUTHS) {
      range.upstream.respond((_request, socket) => void socket.write(bytes, 'latin1'))
      const connections = range.upstream.connections.length
      const { responses } = await range.ask(shot('request', `/${auth}`, [`Cookie: ${range.cookie}`]))
      t.equal(responses[0]?.status, 502, auth)
      t.equal(JSON.parse(responses[0]!.body.toString()).code, 'upstream_invalid')
      t.notMatch(responses[0]!.body.toString(), /127\.0\.0\.1|ok$/, 'the body tells nothing of the target')
      await Promise.all(range.upstream.connections.slice(connections).map(({ closed }) => closed))
      range.upstream.respond(answerAll)
      const next = await range.ask(shot('request', '/public', []))
      t.same(
        next.responses.map(({ status, body }) => [status, body.toString()]),
        [[200, 'ok']],
        'the next request is answered by its own answer',
      )
    }
  })
}

t.test('response smuggling: bytes behind an answer are never delivered to the next client', async (t) => {
  const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'
  const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
  for (const head of [ok, 'HTTP/1.1 204 No Content\r\n\r\n', 'HTTP/1.1 304 Not Modified\r\n\r\n']) {
    range.upstream.respond((_request, socket) => void socket.write(head + poison))
    await range.ask(shot('request', '/public', []))
    range.upstream.respond(answerAll)
    for (let n = 0; n < 5; n++) {
      const { raw } = await range.ask(shot('request', '/public', []))
      t.notMatch(raw.toString(), /poison/)
    }
  }
})

testOverHttp1('a malformed answer to an upgrade opens no tunnel', async (t) => {
  for (const bytes of [
    ANSWERS['a bad status line']!,
    ANSWERS['two lengths']!,
    ANSWERS['a NUL in a field']!,
  ]) {
    range.upstream.respond((_request, socket) => void socket.write(bytes, 'latin1'))
    const { responses } = await range.ask(shot('upgrade', '/public', []))
    t.equal(responses[0]?.status, 502)
  }
  range.upstream.respond(answerAll)
})

t.test('an unrequested 101: 502, and no protocol is switched', async (t) => {
  range.upstream.respond(
    (_request, socket) =>
      void socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nsecret bytes',
      ),
  )
  const { responses, raw } = await range.ask(shot('request', '/public', []))
  t.same(
    responses.map(({ status }) => status),
    [502],
  )
  t.notMatch(raw.toString(), /secret bytes/)
  range.upstream.respond(answerAll)
})
