import t, { type Test } from 'tap'
import { answerTarget, type Client, echo, GET, get, pause, startStage, TRANSPORTS, until } from './stage.ts'

/** Later than its limit, and how much later: what a loaded machine adds is not the server's. */
async function endsAfter(t: Test, client: Client, ms: number, since: number): Promise<void> {
  await client.ended
  const took = performance.now() - since
  t.ok(took >= ms - 2 && took < ms + 400, `${Math.round(took)} ms, the limit is ${ms}`)
}

const UPLOAD = 'POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n'

for (const transport of TRANSPORTS) {
  t.test(`${transport}: a head that drips (slowloris) is answered 408 at HEADERS_TIMEOUT_MS`, async (t) => {
    const stage = await startStage(t, { transport, headersTimeoutMs: 300 })
    const client = await stage.connect()
    const since = performance.now()
    client.write('GET / HTTP/1.1\r\nHost: a\r\n')
    const drip = setInterval(() => client.write('X-A: b\r\n'), 20)
    await endsAfter(t, client, 300, since)
    clearInterval(drip)
    t.match(client.text, /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*Connection: close/)
    t.same(
      stage.unparsed.map(({ code }) => code),
      ['request_timeout'],
    )
    t.equal(stage.handed.length, 0)
  })

  t.test(`${transport}: so is a connection that never sends a byte`, async (t) => {
    const stage = await startStage(t, { transport, headersTimeoutMs: 200 })
    const since = performance.now()
    const client = await stage.connect()
    await client.ended
    t.ok(performance.now() - since >= 198)
    t.match(client.text, /^HTTP\/1\.1 408 /)
  })

  t.test(
    `${transport}: a body that drips is answered 408 at REQUEST_TIMEOUT_MS from the first byte`,
    async (t) => {
      const stage = await startStage(t, { transport, requestTimeoutMs: 400, handle: echo })
      const client = await stage.connect()
      const since = performance.now()
      client.write(UPLOAD.slice(0, 10))
      await pause(100)
      client.write(UPLOAD.slice(10))
      const drip = setInterval(() => client.write('a'), 20)
      await endsAfter(t, client, 400, since)
      clearInterval(drip)
      t.match(client.text, /^HTTP\/1\.1 408 [\s\S]*Connection: close\r\n\r\nbad$/)
      t.match(stage.handed[0], { bodyEnd: 'broken', unreadable: 'request_timeout', closed: true })
    },
  )

  t.test(
    `${transport}: an answer that has begun is broken off where the rest of its request is late`,
    async (t) => {
      const stage = await startStage(t, {
        transport,
        requestTimeoutMs: 300,
        handle({ response }) {
          response.writeHead(200, 'OK', [])
          response.write(Buffer.from('part'))
        },
      })
      const client = await stage.connect()
      client.write(UPLOAD)
      await client.sees('part')
      await client.ended
      t.notMatch(client.text, /0\r\n\r\n$/, 'not a whole one')
      await until(() => stage.handed[0]!.closed)
    },
  )

  t.test(`${transport}: an idle connection ends at KEEP_ALIVE_TIMEOUT_MS, in order`, async (t) => {
    const stage = await startStage(t, { transport, keepAliveTimeoutMs: 300, handle: answerTarget })
    const client = await stage.connect()
    client.write(GET)
    await client.sees('\r\n\r\n/')
    await pause(200)
    client.write(GET)
    await client.sees('\r\n\r\n/')
    const since = performance.now()
    await endsAfter(t, client, 300, since)
    t.equal(client.end, 'end')
  })

  t.test(`${transport}: an exchange may last longer than any of the limits`, async (t) => {
    const limits = { headersTimeoutMs: 100, requestTimeoutMs: 100, keepAliveTimeoutMs: 100 }
    const stage = await startStage(t, { transport, ...limits })
    const client = await stage.connect()
    client.write(get('/slow'))
    await until(() => stage.handed.length === 1)
    await pause(400)
    answerTarget(stage.handed[0]!)
    await client.sees('/slow')
  })
}

t.test('a head past MAX_HEADER_BYTES or 2,000 fields is answered 431, whole or in pieces', async (t) => {
  const stage = await startStage(t, { maxHeaderBytes: 1000, handle: answerTarget })
  for (const head of [
    get('/', `X-A: ${'a'.repeat(1000)}`),
    get(`/${'a'.repeat(1000)}`),
    `GET / HTTP/1.1\r\nX-A: ${'a'.repeat(2000)}`,
  ]) {
    const client = await stage.connect()
    client.write(head)
    await client.ended
    t.match(client.text, /^HTTP\/1\.1 431 /)
  }
  const wide = await startStage(t, { maxHeaderBytes: 100_000, handle: answerTarget })
  const fields = (count: number) => Array.from({ length: count - 1 }, (_, n) => `X-${n}: a`)
  const many = await wide.connect()
  many.write(get('/', ...fields(2001)))
  await many.ended
  t.match(many.text, /^HTTP\/1\.1 431 /)
  const fits = await wide.connect()
  fits.write(get('/', ...fields(2000)))
  await fits.sees('200 OK')
  t.equal(stage.handed.length, 0)
  t.equal(stage.unparsed.length, 3)
})

t.test(
  'a client that reads no answer to what it still sends is read on for 1 MiB, and then cut off',
  async (t) => {
    const stage = await startStage(t, { handle: answerTarget })
    const client = await stage.connect()
    client.socket.pause()
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n')
    const piece = 'a'.repeat(64 * 1024)
    for (let n = 0; n < 400 && !client.socket.destroyed; n++) {
      client.write(piece)
      await pause(1)
    }
    await until(() => stage.sockets[0]!.destroyed)
    const { bytesRead } = stage.sockets[0]!
    t.ok(bytesRead > 1024 * 1024 && bytesRead < 3 * 1024 * 1024, `${bytesRead} bytes`)
  },
)

t.test('a client that does not close what was closed to it is cut off after two seconds', async (t) => {
  const stage = await startStage(t, { handle: answerTarget })
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n')
  await client.ended
  t.equal(client.end, 'end')
  const since = performance.now()
  await until(() => stage.sockets[0]!.destroyed)
  const took = performance.now() - since
  t.ok(took > 1800 && took < 2600, `${Math.round(took)} ms`)
})

t.test('a refused upload whose body was here already lets the connection go on', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n')
  await until(() => stage.handed.length === 1)
  client.write(`abc${get('/b')}`)
  await pause(30)
  answerTarget(stage.handed[0]!)
  await client.sees('Connection: keep-alive')
  await until(() => stage.handed.length === 2)
  answerTarget(stage.handed[1]!)
  await client.sees('/b')
})
