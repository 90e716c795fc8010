import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../../support/certificates.ts'
import { freePort } from '../../support/raw-backend.ts'
import { later, onHeads, startTarget, type TargetKind } from '../../support/raw-target.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const transport = testTransport()
const authority = createAuthority(t, 'the test authority')
const KINDS: readonly TargetKind[] = [
  { name: 'TCP', authority: null },
  { name: 'TLS', authority },
]
const PLAIN = KINDS[0]!

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const TOO_MUCH = 'HTTP/1.1 413 Too Much\r\nContent-Length: 6\r\nConnection: close\r\n\r\nenough'

async function setUp(t: Test, kind: TargetKind, onConnection: (socket: Socket, nth: number) => void) {
  const target = await startTarget(t, kind, onConnection)
  const connections = connectionsTo(target.options, transport)
  t.teardown(() => connections.close())
  return { target, ask: (request?: TestRequest) => exchange(connections, request) }
}

/** Keeps what arrives, and answers each time it ends with `end`. */
function recording(end: string) {
  const got = { pieces: [] as string[], text: '' }
  const onConnection = (socket: Socket) => {
    socket.on('data', (data) => {
      got.pieces.push(data.toString('latin1'))
      got.text += data.toString('latin1')
      if (got.text.endsWith(end)) socket.write(OK)
    })
  }
  return { got, onConnection }
}

t.test('a request without a body is its head and one write', async (t) => {
  const { got, onConnection } = recording('\r\n\r\n')
  const { ask } = await setUp(t, PLAIN, onConnection)
  t.same(await ask({ path: '/x?y', headers: ['X-A', '1'] }).outcome, { kind: 'answered', status: 200 })
  t.same(got.pieces, ['GET /x?y HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n\r\n'])
})

t.test(
  'a method that has a body by its meaning says so where there is none (RFC 9110, section 8.6)',
  async (t) => {
    for (const [method, length] of [
      ['POST', 'Content-Length: 0\r\n'],
      ['PUT', 'Content-Length: 0\r\n'],
      ['PATCH', 'Content-Length: 0\r\n'],
      ['DELETE', ''],
      ['OPTIONS', ''],
    ] as const) {
      const { got, onConnection } = recording('\r\n\r\n')
      const { ask } = await setUp(t, PLAIN, onConnection)
      await ask({ method }).outcome
      t.equal(got.text, `${method} / HTTP/1.1\r\nHost: a\r\n${length}\r\n`)
    }
  },
)

t.test('a body that is there whole goes out with its head in one write', async (t) => {
  const { got, onConnection } = recording('hello')
  const { ask } = await setUp(t, PLAIN, onConnection)
  const { client, outcome } = ask({ headers: ['Content-Length', '5'], body: 'hello' })
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.same(got.pieces, ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'])
  t.equal(client.record.bytesIn, 5)
})

t.test('a body without a length goes in chunks, each byte of it unchanged', async (t) => {
  const { got, onConnection } = recording('0\r\n\r\n')
  const { ask } = await setUp(t, PLAIN, onConnection)
  const { client, outcome } = ask({ body: 'pushed' })
  const large = 'x'.repeat(10_000)
  for (const piece of ['one', '\0\xff', large]) client.push(Buffer.from(piece, 'latin1'))
  await later(20)
  client.push(null)
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(
    got.text,
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n2\r\n\0\xff\r\n2710\r\n${large}\r\n0\r\n\r\n`,
  )
})

t.test('a body that turns out empty is framed as such', async (t) => {
  const { got, onConnection } = recording('0\r\n\r\n')
  const { ask } = await setUp(t, PLAIN, onConnection)
  t.same(await ask({ body: '' }).outcome, { kind: 'answered', status: 200 })
  t.equal(got.text, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')
})

t.test('the head of an upload reaches the target before any of its body', async (t) => {
  let arrive = (_head: string) => {}
  const arrived = new Promise<string>((resolve) => {
    arrive = resolve
  })
  const { ask } = await setUp(t, PLAIN, (socket) => onHeads(socket, arrive))
  const { client, outcome } = ask({ body: 'pushed', headers: ['Content-Length', '5'] })
  t.match(await arrived, /^POST/)
  client.leave()
  await outcome
})

t.test('a body longer or shorter than its Content-Length is never sent as another request', async (t) => {
  for (const body of ['hello more', 'hel']) {
    const { got, onConnection } = recording('hello')
    const { ask } = await setUp(t, PLAIN, onConnection)
    const { client, outcome } = ask({ headers: ['Content-Length', '5'], body: 'pushed' })
    await later(20)
    client.push(body)
    client.push(null)
    t.match(await outcome, { kind: 'unsendable' })
    t.notMatch(got.text, /more/)
  }
})

t.test('a body larger than the route allows ends the exchange, and is read on', async (t) => {
  const { ask, target } = await setUp(t, PLAIN, (socket) => onHeads(socket, () => {}))
  const { client, outcome } = ask({ body: 'pushed', maxBodyBytes: 4 })
  client.push('1234')
  await later(20)
  client.push('5')
  t.same(await outcome, { kind: 'body-too-large' })
  t.ok(client.flowing)
  const [socket] = target.sockets
  if (!socket!.destroyed) await new Promise((resolve) => socket!.once('close', resolve))
})

t.test('a client that breaks its upload off ends the exchange', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) => onHeads(socket, () => {}))
  const { client, outcome } = ask({ body: 'pushed' })
  client.push('1234')
  await later(20)
  client.breakOff()
  t.same(await outcome, { kind: 'client-gone' })
})

t.test('a connection that is refused leaves the body whole for another target', async (t) => {
  const connections = connectionsTo({ url: `http://127.0.0.1:${await freePort()}` }, transport)
  const { client, outcome } = exchange(connections, { body: 'hello' })
  t.match(await outcome, {
    kind: 'failed',
    code: 'upstream_unreachable',
    unconnected: true,
    bodyTouched: false,
    answerBegan: false,
  })
  t.equal(client.record.bytesIn, 0)
  t.notOk(client.flowing)
  const { got, onConnection } = recording('0\r\n\r\n')
  const { target } = await setUp(t, PLAIN, onConnection)
  const other = connectionsTo(target.options, transport)
  t.teardown(() => other.close())
  const again = await new Promise((resolve) =>
    other.begin(
      client,
      { path: '/', headers: ['Host', 'a'], hasBody: true, maxBodyBytes: 10, responseEdits: null },
      resolve,
    ),
  )
  t.same(again, { kind: 'answered', status: 200 })
  t.match(got.text, /5\r\nhello\r\n0/)
})

t.test('a handshake of TLS that fails leaves the request for another target, too', async (t) => {
  const target = await startTarget(t, PLAIN, (socket) => socket.destroy())
  const connections = connectionsTo(
    { url: target.options.url.replace('http:', 'https:'), tls: null },
    transport,
  )
  const { outcome } = exchange(connections, { body: 'hello' })
  t.match(await outcome, {
    kind: 'failed',
    code: 'upstream_unreachable',
    unconnected: true,
    bodyTouched: false,
  })
})

for (const kind of KINDS) {
  for (const how of ['ends', 'is destroyed', 'is reset'] as const) {
    t.test(`an early 413 arrives every time though its connection ${how}, over ${kind.name}`, async (t) => {
      const { ask } = await setUp(t, kind, (socket) =>
        onHeads(socket, (_head, nth) => {
          if (nth > 1) return
          socket.pause()
          if (how === 'ends') socket.end(TOO_MUCH)
          else if (how === 'is destroyed') socket.end(TOO_MUCH, () => socket.destroy())
          // What was written has to be on its way before it.
          else socket.write(TOO_MUCH, () => setTimeout(() => socket.resetAndDestroy(), 5))
        }),
      )
      for (let n = 0; n < 40; n++) {
        const { client, outcome } = ask({ body: 'pushed', headers: ['Content-Length', '50000000'] })
        const piece = Buffer.alloc(60_000, 'x')
        const feed = setInterval(() => {
          for (let i = 0; i < 20 && client.flowing; i++) client.push(piece)
        }, 1)
        const got = await outcome
        clearInterval(feed)
        if (got.kind !== 'answered' || client.body !== 'enough') {
          t.fail(`${n}: ${JSON.stringify(got)} ${client.body}`)
          break
        }
      }
      t.pass('all arrived')
    })
  }

  t.test(`an early answer streams on while the upload goes on, over ${kind.name}`, async (t) => {
    const { ask, target } = await setUp(t, kind, (socket) => {
      onHeads(socket, () => {})
      let text = ''
      let answered = false
      socket.on('data', (data) => {
        text += data.toString('latin1')
        if (!answered) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        answered = true
        for (const word of ['ping1', 'ping2']) {
          if (!text.includes(word)) continue
          text = text.replace(word, '')
          socket.write(`5\r\n${word.replace('i', 'o')}\r\n`)
        }
        if (text.endsWith('0\r\n\r\n')) socket.write('0\r\n\r\n')
      })
    })
    const { client, outcome } = ask({ body: 'pushed' })
    const heard = (text: string) =>
      new Promise<void>((resolve) => {
        client.onBody = () => {
          if (client.body.endsWith(text)) resolve()
        }
      })
    for (const [ping, pong] of [
      ['ping1', 'pong1'],
      ['ping2', 'pong2'],
    ] as const) {
      const pongs = heard(pong)
      client.push(ping)
      await pongs
    }
    client.push(null)
    t.same(await outcome, { kind: 'answered', status: 200 })
    t.equal(client.body, 'pong1pong2')
    t.equal(target.sockets.length, 1)
  })
}

t.test(
  'after an answer that came before the end of its upload the connection is not used again',
  async (t) => {
    const { ask, target } = await setUp(t, PLAIN, (socket) => onHeads(socket, () => socket.write(OK)))
    const first = ask({ body: 'pushed', headers: ['Content-Length', '100'] })
    t.same(await first.outcome, { kind: 'answered', status: 200 })
    t.same(await ask().outcome, { kind: 'answered', status: 200 })
    t.equal(target.sockets.length, 2)
    t.ok(
      target.sockets[0]!.destroyed ||
        (await new Promise((resolve) => target.sockets[0]!.once('close', () => resolve(true)))),
    )
  },
)

t.test('a target that takes no more of an upload holds its client back', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) => {
    onHeads(socket, () => {})
    socket.pause()
  })
  const { client, outcome } = ask({ body: 'pushed', headers: ['Content-Length', '500000000'] })
  let pushed = 0
  const feed = setInterval(() => {
    if (!client.flowing) return
    client.push(Buffer.alloc(60_000))
    pushed += 60_000
  }, 0)
  await later(700)
  clearInterval(feed)
  t.notOk(client.flowing)
  t.ok(pushed < 20_000_000, `${pushed} bytes were taken`)
  client.leave()
  t.same(await outcome, { kind: 'client-gone' })
})
