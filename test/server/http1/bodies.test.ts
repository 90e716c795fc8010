import t from 'tap'
import { answerTarget, echo, get, pause, readBody, startStage, TRANSPORTS, until } from './stage.ts'

const LARGE = 'a'.repeat(3_000_000)

for (const transport of TRANSPORTS) {
  for (const framing of ['Content-Length', 'chunks'] as const) {
    t.test(
      `${transport}: a body in ${framing} is read piece by piece, as fast as its reader takes it`,
      async (t) => {
        const stage = await startStage(t, { transport })
        const client = await stage.connect()
        const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
        const chunks = chunk(LARGE.slice(0, 1_000_000)) + chunk(LARGE.slice(1_000_000))
        client.write(
          framing === 'chunks'
            ? `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n${get('/next')}`
            : `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${LARGE.length}\r\n\r\n${LARGE}${get('/next')}`,
        )
        await until(() => stage.handed.length === 1)
        const [handed] = stage.handed
        await pause(200)
        const { bytesRead } = stage.sockets[0]!
        t.ok(bytesRead < 400_000, `${bytesRead} bytes were read before anybody asked`)
        const { request } = handed!
        let paused = 0
        request.readBody({
          onChunk(bytes) {
            handed!.body += bytes.toString('latin1')
            request.pause()
            paused++
            setImmediate(() => request.resume())
          },
          onEnd() {
            handed!.bodyEnd = 'end'
          },
          onBrokenOff() {},
        })
        request.resume()
        await until(() => handed!.bodyEnd === 'end')
        t.equal(handed!.body.length, LARGE.length)
        t.ok(paused > 5)
        t.match(request, { complete: true, bodyRead: true, brokenOff: false })
        answerTarget(handed!)
        await until(() => stage.handed.length === 2)
      },
    )
  }
}

t.test('a body that nobody has touched is there for the next reader', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc')
  await until(() => stage.handed.length === 1)
  const [handed] = stage.handed
  const { request } = handed!
  const stop = request.readBody({
    onChunk: () => t.fail('it was not resumed'),
    onEnd() {},
    onBrokenOff() {},
  })
  stop()
  request.pause()
  readBody(handed!, () => {})
  client.write('def')
  await until(() => handed!.bodyEnd === 'end')
  t.equal(handed!.body, 'abcdef')
})

t.test('the rest of a body whose reader has stopped is thrown away', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc')
  await until(() => stage.handed.length === 1)
  const { request, response } = stage.handed[0]!
  let body = ''
  const stop = request.readBody({
    onChunk(bytes) {
      body += bytes.toString()
      stop()
    },
    onEnd: () => t.fail('it has stopped'),
    onBrokenOff: () => t.fail('it was not broken off'),
  })
  request.resume()
  client.write('def')
  await pause(20)
  client.write(`ghi${get('/next')}`)
  await until(() => request.bodyRead)
  t.equal(body, 'abc')
  response.sendWhole(200, ['Content-Length', '0'], null)
  await until(() => stage.handed.length === 2)
})

t.test('an empty body in chunks has an end', async (t) => {
  const stage = await startStage(t, { handle: echo })
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  await until(() => stage.handed.length === 1)
  t.ok(stage.handed[0]!.request.hasBody)
  client.write('0\r\n\r\n')
  await client.sees('POST / ')
})

t.test('thousands of tiny chunks arrive as they are', async (t) => {
  const stage = await startStage(t, { handle: echo })
  const client = await stage.connect()
  const text = Array.from({ length: 5000 }, (_, n) => String(n % 10)).join('')
  const chunks = [...text].map((digit) => `1\r\n${digit}\r\n`).join('')
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`)
  await client.sees(text)
})
