import t from 'tap'
import { echo, get, pause, startStage, TRANSPORTS } from './stage.ts'

const CONVERSATION =
  get('/one', 'Cookie: a=1', 'cookie: b=2') +
  'POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello' +
  'PUT /three HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n' +
  'HEAD /four HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'

const ANSWERED = ['GET /one ', 'POST /two hello', 'PUT /three abcde']

for (const transport of TRANSPORTS) {
  t.test(`${transport}: requests are read alike, wherever their bytes are split`, async (t) => {
    const stage = await startStage(t, { transport, handle: echo })
    const whole = await talk(0)
    for (const answer of ANSWERED) t.ok(whole.includes(`\r\n\r\n${answer}`), answer)
    t.match(whole, /Content-Length: 11\r\n[^/]*Connection: close\r\n\r\n$/, 'and HEAD without a body')
    const places = Array.from({ length: CONVERSATION.length - 1 }, (_, n) => n + 1)
    // Some at a time: the machine may be busy.
    for (let n = 0; n < places.length; n += 64) {
      const answers = await Promise.all(places.slice(n, n + 64).map(talk))
      answers.forEach((answer, i) => {
        if (answer !== whole) t.equal(answer, whole, `split at ${places[n + i]}`)
      })
    }

    async function talk(place: number): Promise<string> {
      const client = await stage.connect()
      if (place > 0) {
        client.write(CONVERSATION.slice(0, place))
        await pause(5)
      }
      client.write(CONVERSATION.slice(place))
      await client.ended
      return client.text
    }
  })
}

t.test('requests are read alike where each byte comes alone', async (t) => {
  const stage = await startStage(t, { handle: echo })
  const client = await stage.connect()
  for (const byte of CONVERSATION) {
    client.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await client.ended
  for (const answer of ANSWERED) t.ok(client.text.includes(`\r\n\r\n${answer}`), answer)
})

t.test('a request has its fields as node:http has them', async (t) => {
  const stage = await startStage(t, { handle: echo })
  const client = await stage.connect()
  client.write(
    get(
      '/',
      'Cookie: a=1',
      'COOKIE: b=2',
      'X-A:  1 ',
      'x-a: 2',
      'User-Agent: x',
      'user-agent: y',
      '__proto__: z',
      'constructor: c',
    ),
  )
  await client.sees('200 OK')
  const { request } = stage.handed[0]!
  t.equal(request.headers.cookie, 'a=1; b=2')
  t.equal(request.headers['x-a'], '1, 2')
  t.equal(request.headers['user-agent'], 'x')
  t.equal(Object.getOwnPropertyDescriptor(request.headers, '__proto__')?.value, 'z')
  t.equal(request.headers.constructor, 'c')
  t.equal(request.headers.toString, undefined)
  t.same(request.rawHeaders.slice(0, 6), ['Host', 'a', 'Cookie', 'a=1', 'COOKIE', 'b=2'])
  t.match(request, {
    method: 'GET',
    target: '/',
    httpVersion: '1.1',
    hasBody: false,
    complete: true,
    bodyRead: true,
  })
})
