import t from 'tap'
import { echo, GET, get, pause, readBody, startStage, TRANSPORTS, until } from './stage.ts'

const HOW = {
  closes: 'destroy',
  resets: 'resetAndDestroy',
  'says that it sends nothing more': 'end',
} as const

for (const transport of TRANSPORTS) {
  for (const [how, method] of Object.entries(HOW)) {
    if (transport === 'tls' && method === 'resetAndDestroy') continue

    t.test(`${transport}: a client that ${how} ends its exchange at once`, async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      client.write(GET)
      await until(() => stage.handed.length === 1)
      await pause(20)
      client.socket[method]()
      await until(() => stage.handed[0]!.closed)
      t.ok(stage.handed[0]!.response.destroyed)
      t.notOk(stage.handed[0]!.response.writableFinished)
    })

    t.test(`${transport}: one with requests behind its first that ${how}, too`, async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      client.write(GET.repeat(100))
      await until(() => stage.handed.length === 1)
      await pause(20)
      client.socket[method]()
      await until(() => stage.handed[0]!.closed)
      await until(() => stage.sockets[0]!.destroyed)
      t.equal(stage.handed.length, 1)
    })

    t.test(`${transport}: a client that ${how} amid its body breaks that off`, async (t) => {
      const stage = await startStage(t, { transport, handle: echo })
      const client = await stage.connect()
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc')
      await until(() => stage.handed[0]?.body === 'abc')
      client.socket[method]()
      await until(() => stage.handed[0]!.closed)
      t.match(stage.handed[0], { bodyEnd: 'broken', request: { brokenOff: true, complete: false } })
    })
  }

  t.test(`${transport}: a client that leaves behind its answer gets all of it`, async (t) => {
    const stage = await startStage(t, { transport })
    const client = await stage.connect()
    client.socket.pause()
    client.write(GET)
    await until(() => stage.handed.length === 1)
    const body = Buffer.alloc(24 * 1024 * 1024, 'x')
    stage.handed[0]!.response.writeHead(200, 'OK', ['Content-Length', String(body.length)])
    stage.handed[0]!.response.end(body)
    if (transport === 'tcp') client.socket.end()
    await pause(50)
    let got = 0
    client.socket.removeAllListeners('data')
    client.socket.on('data', (data) => {
      got += data.length
    })
    client.socket.resume()
    await until(() => stage.handed[0]!.closed)
    t.ok(stage.handed[0]!.response.writableFinished)
    await until(() => got > body.length)
  })
}

t.test('half a request and then the end of the connection is answered 400', async (t) => {
  const stage = await startStage(t)
  for (const part of ['GET / HT', 'GET / HTTP/1.1\r\nHost: a\r\n']) {
    const client = await stage.connect()
    client.socket.end(part)
    await client.ended
    t.match(client.text, /^HTTP\/1\.1 400 /)
  }
  const silent = await stage.connect()
  silent.socket.end()
  await silent.ended
  t.equal(silent.text, '', 'but nothing is nothing')
})

t.test('malformed chunks amid an upload are answered 400, where no answer has begun', async (t) => {
  const stage = await startStage(t, { handle: echo })
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
  await until(() => stage.handed[0]?.body === 'abc')
  client.write(`xyz\r\n${get('/smuggled')}`)
  await client.ended
  t.match(client.text, /^HTTP\/1\.1 400 [\s\S]*Connection: close\r\n\r\nbad$/)
  t.match(stage.handed[0], { bodyEnd: 'broken', unreadable: 'bad_request', closed: true })
  t.equal(stage.handed.length, 1)
})

t.test('malformed chunks in the segment of the head are refused before anything is done', async (t) => {
  const stage = await startStage(t, {
    handle: ({ response }) => response.sendWhole(400, ['Content-Length', '0'], null),
  })
  const client = await stage.connect()
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n${get('/smuggled')}`)
  await client.ended
  t.match(client.text, /^HTTP\/1\.1 400 [\s\S]*Connection: close/)
  t.same(
    stage.handed.map(({ arrival }) => arrival),
    [{ refusal: 'bad_request' }],
  )
})

t.test('malformed chunks behind an answer that has begun break it off', async (t) => {
  const stage = await startStage(t, {
    handle(handed) {
      handed.response.writeHead(200, 'OK', [])
      handed.response.write(Buffer.from('part'))
      readBody(handed, () => {})
    },
  })
  const client = await stage.connect()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  await client.sees('part')
  client.write('xyz\r\n')
  await client.ended
  t.notMatch(client.text, /0\r\n\r\n$|HTTP[\s\S]*HTTP/)
})

for (const [what, request, ends] of [
  ['HTTP/1.1', GET, 'end'],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', 'reset'],
] as const) {
  t.test(`an answer that is broken off ends by ${ends} over ${what}`, async (t) => {
    const stage = await startStage(t)
    const client = await stage.connect()
    client.write(request)
    await until(() => stage.handed.length === 1)
    const { response } = stage.handed[0]!
    response.writeHead(200, 'OK', [])
    response.write(Buffer.from('part'))
    await client.sees('part')
    response.abort()
    await client.ended
    t.equal(client.end, ends)
    await until(() => stage.handed[0]!.closed)
  })
}

t.test('over TLS an answer of HTTP/1.0 that is broken off ends without the end that TLS has', async (t) => {
  const stage = await startStage(t, { transport: 'tls' })
  const client = await stage.connect()
  client.write('GET / HTTP/1.0\r\n\r\n')
  await until(() => stage.handed.length === 1)
  const { response } = stage.handed[0]!
  response.writeHead(200, 'OK', [])
  response.write(Buffer.from('part'))
  await client.sees('part')
  response.abort()
  await client.ended
  await until(() => stage.handed[0]!.closed)
})

t.test('bytes of TLS and the preface of HTTP/2 are no request', async (t) => {
  const stage = await startStage(t)
  for (const bytes of [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
  ]) {
    const client = await stage.connect()
    client.write(bytes)
    await client.ended
    t.match(client.text, /^HTTP\/1\.1 400 /)
  }
  t.equal(stage.handed.length, 0)
})
