import t from 'tap'
import { answerTarget, get, pause, startStage, TRANSPORTS, until } from './stage.ts'

const WEBSOCKET = get('/ws', 'Connection: keep-alive, Upgrade', 'Upgrade: WebSocket')

for (const transport of TRANSPORTS) {
  t.test(
    `${transport}: a WebSocket's socket is handed over clean, with what came behind the handshake`,
    async (t) => {
      const stage = await startStage(t, { transport })
      const client = await stage.connect()
      client.write(`${WEBSOCKET}early`)
      await until(() => stage.handed.length === 1)
      const { arrival, request } = stage.handed[0]!
      const { socket, head } = arrival.upgrade!
      t.equal(socket, stage.sockets[0])
      t.equal(head.toString(), 'early')
      t.match(request, { hasBody: false, complete: true })
      for (const event of ['data', 'readable', 'end', 'drain', 'timeout']) {
        const none = event === 'end' && transport === 'tcp' ? 1 : socket.listenerCount(event)
        t.ok(socket.listenerCount(event) <= none, event)
      }
      t.equal(socket.listenerCount('data'), 0)
      t.equal(socket.readableFlowing, null)
      client.write('more')
      await pause(30)
      let got = ''
      socket.on('data', (data: Buffer) => {
        got += data.toString()
      })
      await until(() => got === 'more')
      socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\nback')
      await client.sees('back')
      stage.closeIdle()
      client.write('again')
      await until(() => got === 'moreagain')
      // To whoever has the socket, its end is told as well.
      socket.on('end', () => socket.end())
      client.socket.destroy()
      await until(() => stage.handed[0]!.closed)
    },
  )

  t.test(`${transport}: a handshake that is refused ends its connection behind the answer`, async (t) => {
    const stage = await startStage(t, { transport, handle: answerTarget })
    const client = await stage.connect()
    client.write(WEBSOCKET + get('/behind'))
    await client.ended
    t.match(client.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n\r\n\/ws$/)
    t.equal(stage.handed.length, 1)
    await until(() => stage.handed[0]!.closed)
  })

  t.test(`${transport}: a handshake that is answered otherwise may be so in pieces`, async (t) => {
    const stage = await startStage(t, { transport })
    const client = await stage.connect()
    client.write(WEBSOCKET)
    await until(() => stage.handed.length === 1)
    const { response } = stage.handed[0]!
    response.writeHead(403, 'No', [])
    response.write(Buffer.from('piece'))
    await client.sees('piece')
    response.end()
    await client.ended
    t.match(client.text, /Connection: close[\s\S]*0\r\n\r\n$/)
  })
}

t.test('a handshake with a body is refused, and what follows it is not read', async (t) => {
  const stage = await startStage(t, { handle: answerTarget })
  for (const body of ['Content-Length: 3\r\n\r\nabc', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n']) {
    const client = await stage.connect()
    client.write(`${WEBSOCKET.slice(0, -2)}${body}${get('/behind')}`)
    await client.ended
    t.same(stage.handed.at(-1)!.arrival, { refusal: 'bad_request' })
    t.match(client.text, /Connection: close\r\n\r\n\/ws$/)
  }
  t.equal(stage.handed.length, 2)
})

t.test('any other wish to upgrade is ignored', async (t) => {
  const stage = await startStage(t, { handle: answerTarget })
  const client = await stage.connect()
  for (const request of [
    get('/', 'Connection: Upgrade', 'Upgrade: h2c'),
    get('/', 'Upgrade: websocket'),
    get('/', 'Connection: Upgrade', 'Upgrade: websocket, h2c'),
    WEBSOCKET.replace('GET', 'POST'),
  ]) {
    client.write(request)
    await client.sees('200 OK')
    t.same(stage.handed.at(-1)!.arrival, {})
  }
  const old = await stage.connect()
  old.write(WEBSOCKET.replace('HTTP/1.1', 'HTTP/1.0'))
  await old.sees('200 OK')
  t.same(stage.handed.at(-1)!.arrival, {})
})
