import t from 'tap'
import { answerTarget, echo, GET, get, type Handed, pause, startStage, TRANSPORTS, until } from './stage.ts'

for (const transport of TRANSPORTS) {
  t.test(
    `${transport}: 57 kB of pipelined requests on one connection are one exchange at a time`,
    async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      const count = Math.floor(57_000 / GET.length)
      client.write(GET.repeat(count))
      await until(() => stage.handed.length > 0)
      await pause(100)
      t.equal(stage.handed.length, 1)
      for (let n = 1; n <= count; n++) {
        await until(() => stage.handed.length === n)
        answerTarget(stage.handed[n - 1]!)
      }
      await client.sees('HTTP/1.1 200 OK')
      await until(() => client.text.split('HTTP/1.1 200 OK').length === count + 1)
      t.equal(client.end, null, 'the connection lives on')
    },
  )

  t.test(
    `${transport}: of what is pipelined behind a slow request little is kept, the rest stays in the socket`,
    async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      for (let n = 0; n < 200; n++) client.write(GET.repeat(1000))
      await until(() => stage.handed.length > 0)
      await pause(300)
      const read = stage.sockets[0]!.bytesRead
      t.ok(read < 512 * 1024, `${read} of ${GET.length * 200_000} bytes were read`)
      t.equal(stage.handed.length, 1)
    },
  )

  t.test(`${transport}: PUT and the GET behind it do not overlap (RFC 9112, section 9.3.2)`, async (t) => {
    const stage = await startStage(t, { transport })
    const client = await stage.connect()
    client.write(`PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc${get('/a')}`)
    await until(() => stage.handed.length === 1)
    await pause(50)
    t.equal(stage.handed.length, 1)
    echo(stage.handed[0]!)
    await client.sees('PUT /a abc')
    await until(() => stage.handed.length === 2)
    t.ok(stage.handed[0]!.closed, 'the first had ended')
    echo(stage.handed[1]!)
    await client.sees('GET /a ')
  })

  t.test(
    `${transport}: ten thousand pipelined requests that are answered at once cost no stack`,
    async (t) => {
      const stage = await startStage(t, { transport, handle: answerTarget })
      const client = await stage.connect()
      let other = 0
      const timer = setInterval(() => other++, 1)
      for (let n = 0; n < 10; n++) client.write(GET.repeat(1000))
      await until(() => stage.handed.length === 10_000)
      clearInterval(timer)
      await client.sees('HTTP/1.1 200 OK')
      t.ok(other > 3, 'others had their turn')
    },
  )

  t.test(
    `${transport}: a whole request is served though garbage follows in the same segment: 200, then 400`,
    async (t) => {
      const stage = await startStage(t, { transport, handle: answerTarget })
      const client = await stage.connect()
      client.write(`${get('/good')}GARBAGE\r\n\r\n${get('/behind')}`)
      await client.ended
      t.match(
        client.text,
        /^HTTP\/1\.1 200 OK\r\n[\s\S]*\/goodHTTP\/1\.1 400 Bad Request\r\n[\s\S]*Connection: close/,
      )
      t.same(
        stage.handed.map(({ request }) => request.target),
        ['/good'],
      )
      t.same(
        stage.unparsed.map(({ code }) => code),
        ['bad_request'],
      )
    },
  )

  for (const [what, fields] of [
    ['the client asked for', ['Connection: close']],
    ['the gateway decided on', []],
  ] as const) {
    t.test(
      `${transport}: nothing behind an answer that closes, as ${what}, is done or answered`,
      async (t) => {
        const stage = await startStage(t, {
          transport,
          handle(handed) {
            if (fields.length === 0) handed.response.endConnection()
            answerTarget(handed)
          },
        })
        const client = await stage.connect()
        client.write(get('/last', ...fields) + get('/behind'))
        client.write(get('/later'))
        await client.ended
        t.equal(client.end, 'end')
        t.match(client.text, /Connection: close\r\n\r\n\/last$/)
        t.equal(stage.handed.length, 1)
      },
    )
  }

  t.test(
    `${transport}: what is sent behind a closing answer that still streams is not done either`,
    async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      client.write(get('/last', 'Connection: close'))
      await until(() => stage.handed.length === 1)
      const { response } = stage.handed[0]!
      response.writeHead(200, 'OK', ['Content-Length', '10'])
      response.write(Buffer.from('01234'))
      await client.sees('01234')
      client.write(get('/behind'))
      await pause(50)
      response.end(Buffer.from('56789'))
      await client.ended
      t.match(client.text, /0123456789$/)
      t.equal(stage.handed.length, 1)
    },
  )

  t.test(
    `${transport}: a request behind one whose body has not come begins when that has come`,
    async (t) => {
      const stage = await startStage(t, { transport, handle: answerTarget })
      const client = await stage.connect()
      client.write('POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n')
      await until(() => stage.handed.length === 1)
      await client.ended
      t.match(client.text, /Connection: close/, 'unread, it ends the connection')
    },
  )
}

t.test(
  'an answer that came before the end of its request lets the connection go on behind that',
  async (t) => {
    const stage = await startStage(t, {
      handle({ request, response }) {
        response.writeHead(200, 'OK', ['Content-Length', '5'])
        response.end(Buffer.from('early'))
        request.discardBody()
      },
    })
    const client = await stage.connect()
    client.write('POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n')
    await client.sees('early')
    t.ok(stage.handed[0]!.closed)
    client.write(`ab`)
    await pause(20)
    client.write(`cd${get('/next')}`)
    await client.sees('early')
    t.same(
      stage.handed.map(({ request }) => request.target),
      ['/up', '/next'],
    )
  },
)

t.test('a handshake that was pipelined opens no tunnel: it is a request like any other', async (t) => {
  const stage = await startStage(t)
  const client = await stage.connect()
  client.write(GET + get('/ws', 'Connection: Upgrade', 'Upgrade: websocket'))
  await until(() => stage.handed.length === 1)
  answerTarget(stage.handed[0]!)
  await until(() => stage.handed.length === 2)
  t.same(stage.handed[1]!.arrival, {})
})

for (const transport of TRANSPORTS) {
  t.test(
    `${transport}: a request that came with the last bytes of a body is served, though the body was answered at once`,
    async (t) => {
      const stage = await startStage(t, { transport, handle: echo })
      const client = await stage.connect()
      client.write('PUT /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n')
      await until(() => stage.handed[0]?.body === 'abc')
      client.write(`0\r\n\r\n${get('/second', 'Connection: close')}`)
      await client.ended
      t.match(client.text, /PUT \/first abc[\s\S]*GET \/second/)
    },
  )
}

/** The connection is to go on behind the rest of the request. */
const answerAhead = ({ response }: Handed) => {
  response.writeHead(200, undefined, ['Content-Length', '2'])
  response.end('ok', 'latin1')
}

for (const [when, handle] of [
  ['behind its body', echo],
  ['before its body', answerAhead],
] as const) {
  for (const pieces of [1, 2]) {
    t.test(
      `Connection: close in trailers, in ${pieces} pieces, with an answer ${when}: nothing behind is done`,
      async (t) => {
        const stage = await startStage(t, { handle })
        const client = await stage.connect()
        const head = 'POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
        const rest = `1\r\nx\r\n0\r\nConnection: close\r\n\r\n${get('/behind')}`
        client.write(pieces === 1 ? head + rest : head)
        await until(() => stage.handed.length === 1)
        if (pieces === 2) client.write(rest)
        await client.ended
        t.match(client.text, /^HTTP\/1\.1 200 OK\r\n/)
        t.notMatch(client.text, /behind/)
        t.equal(stage.handed.length, 1)
        t.ok(stage.handed[0]!.closed)
      },
    )
  }
}
