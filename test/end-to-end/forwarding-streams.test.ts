import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

/** Counts the bytes of an upload without keeping them, and answers at its end. */
const sink = createServer((socket) => {
  let left = -1
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    const end = left === -1 ? chunk.indexOf('\r\n\r\n') + 4 : 0
    if (left === -1) left = Number(/content-length: (\d+)/i.exec(chunk.toString('latin1'))![1])
    left -= chunk.length - end
    if (left === 0) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  })
})
sink.listen(0, '127.0.0.1')
await once(sink, 'listening')
const sinkUrl = `http://127.0.0.1:${(sink.address() as AddressInfo).port}`
const stage = await startStage({
  upstreams: { sink: { targets: [sinkUrl] } },
  routes: [{ path: '/sink', auth: 'none', upstream: 'sink' }],
})
t.teardown(async () => {
  await stage.close()
  sink.close()
})
t.afterEach(() => stage.upstream.respond(answerOk))

/** Lets the backend not answer, and returns the exchange's socket once the request's head has arrived. */
function held(head = ''): Promise<Socket> {
  return new Promise((resolve) => {
    stage.upstream.respond((_request, socket) => {
      if (head !== '') socket.write(head)
      resolve(socket)
    }, 'head')
  })
}

function over(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve()
    else socket.once('close', () => resolve())
  })
}

for (const path of ['/open', '/secure']) {
  t.test(`each event of a stream on ${path} arrives when the backend sends it`, async (t) => {
    const backend = held(
      'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
    const client = await openConnection(stage.port)
    client.write(request(`GET ${path}/events`, [`Cookie: ${stage.cookie}`]))
    const { head, rest } = await client.head()
    t.equal(head.status, 200, 'the head alone is there before any event')
    const socket = await backend
    for (let i = 0; i < 5; i++) {
      socket.write(`8\r\ndata: ${i}\n\r\n`)
      await client.sees(`data: ${i}`)
    }
    socket.write('0\r\n\r\n')
    t.equal((await rest).body.toString(), 'data: 0\ndata: 1\ndata: 2\ndata: 3\ndata: 4\n')
    client.destroy()
  })
}

for (const framing of ['Content-Length: 15', 'Transfer-Encoding: chunked']) {
  t.test(`an upload with ${framing} reaches the backend piece by piece, before its end`, async (t) => {
    const backend = held()
    const client = await openConnection(stage.port)
    client.write(request('POST /up', [framing]))
    const wrap = (text: string) => (framing.includes('chunked') ? `5\r\n${text}\r\n` : text)
    client.write(wrap('one..'))
    const socket = await backend
    const connection = stage.upstream.connections.find((each) => each.socket === socket)!
    await connection.sees('one..')
    client.write(wrap('two..'))
    await connection.sees('two..')
    client.write(wrap('three'))
    if (framing.includes('chunked')) client.write('0\r\n\r\n')
    await connection.sees('three')
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    t.equal((await client.response()).status, 200)
    client.destroy()
  })
}

t.test('an answer that the backend gives before the upload has ended reaches the client', async (t) => {
  held('HTTP/1.1 413 Too Much\r\nContent-Length: 5\r\nConnection: close\r\n\r\nenough')
  const client = await openConnection(stage.port)
  client.write(request('POST /up', ['Content-Length: 1000000']))
  client.write('a'.repeat(1000))
  const answer = await client.response()
  t.equal(answer.status, 413)
  client.destroy()
})

t.test('an early answer streams while the upload continues', async (t) => {
  const backend = held('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
  const client = await openConnection(stage.port)
  client.write(request('POST /both', ['Transfer-Encoding: chunked'], '5\r\nstart\r\n'))
  const { head, rest } = await client.head()
  t.equal(head.status, 200)
  const socket = await backend
  const connection = stage.upstream.connections.find((each) => each.socket === socket)!
  for (const word of ['ping1', 'ping2']) {
    client.write(`5\r\n${word}\r\n`)
    await connection.sees(word)
    socket.write(`6\r\npong-${word.at(-1)}\r\n`)
    await client.sees(`pong-${word.at(-1)}`)
  }
  client.write('0\r\n\r\n')
  await connection.sees('0\r\n\r\n')
  socket.write('0\r\n\r\n')
  t.equal((await rest).body.toString(), 'pong-1pong-2')
  client.destroy()
})

for (const how of ['closes', 'resets'] as const) {
  const leave = (socket: Socket) => (how === 'closes' ? socket.destroy() : socket.resetAndDestroy())

  t.test(`a client that ${how} before the answer ends the backend's exchange`, async () => {
    const backend = held()
    const client = await openConnection(stage.port)
    client.write(request('GET /wait'))
    const socket = await backend
    leave(client.socket)
    await over(socket)
  })

  t.test(`a client that ${how} in the middle of the answer ends the backend's exchange`, async () => {
    const backend = held('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n')
    const client = await openConnection(stage.port)
    client.write(request('GET /part'))
    await client.sees('part')
    leave(client.socket)
    await over(await backend)
  })

  for (const framing of ['Content-Length: 1000', 'Transfer-Encoding: chunked']) {
    t.test(
      `a client that ${how} in the middle of an upload with ${framing} ends the backend's exchange`,
      async (t) => {
        const backend = held()
        const client = await openConnection(stage.port)
        client.write(request('POST /up', [framing]))
        client.write('4\r\nhalf\r\n')
        const socket = await backend
        const connection = stage.upstream.connections.find((each) => each.socket === socket)!
        await connection.sees('half')
        leave(client.socket)
        await connection.closed
        t.notOk(connection.bytes().toString('latin1').endsWith('0\r\n\r\n'), 'never a complete short upload')
      },
    )
  }
}

t.test('an exchange that the client left is logged as 499', async (t) => {
  const backend = held()
  const client = await openConnection(stage.port)
  client.write(request('GET /left-early'))
  await backend
  client.destroy()
  const line = await stage.gateway.line((each) => each.path === '/left-early')
  t.equal(line.status, 499)
})

const GIB = 1024 ** 3
const BLOCK = Buffer.alloc(1024 * 1024, 'x')
/** A body that is kept in memory would show as hundreds of MiB. */
const FLAT_KIB = 200 * 1024

function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1])
}

/** Writes with backpressure, and returns the gateway's largest resident size meanwhile. */
async function pour(socket: Socket, bytes: number, pid: number): Promise<number> {
  let peak = 0
  for (let sent = 0; sent < bytes; sent += BLOCK.length) {
    if (!socket.write(BLOCK)) await once(socket, 'drain')
    if (sent % (64 * BLOCK.length) === 0) peak = Math.max(peak, residentKiB(pid))
  }
  return peak
}

t.test('a download of 1 GiB does not grow memory', async (t) => {
  const { pid } = stage.gateway
  const before = residentKiB(pid)
  const poured = held(`HTTP/1.1 200 OK\r\nContent-Length: ${GIB}\r\n\r\n`).then((socket) =>
    pour(socket, GIB, pid),
  )
  const client = await bare()
  let got = 0
  client.write(request('GET /gib', [`Cookie: ${stage.cookie}`]))
  for await (const chunk of client) {
    got += chunk.length
    if (got >= GIB) break
  }
  t.ok(got >= GIB)
  t.ok((await poured) - before < FLAT_KIB, 'the resident size stays')
})

t.test('an upload of 1 GiB does not grow memory', async (t) => {
  const { pid } = stage.gateway
  const before = residentKiB(pid)
  const client = await bare()
  client.write(request('PUT /sink/gib', [`Content-Length: ${GIB}`]))
  const peak = await pour(client, GIB, pid)
  const [answer] = (await once(client, 'data')) as [Buffer]
  t.match(answer.toString(), /^HTTP\/1\.1 200 /)
  t.ok(peak - before < FLAT_KIB, 'the resident size stays')
  client.destroy()
})

t.test('backpressure: a client that stops reading stops the backend, and memory does not grow', async (t) => {
  const { pid } = stage.gateway
  const before = residentKiB(pid)
  const backend = held(`HTTP/1.1 200 OK\r\nContent-Length: ${GIB}\r\n\r\n`)
  const client = await bare()
  client.write(request('GET /stalled'))
  client.pause()
  const socket = await backend
  let accepted = 0
  // The kernel's buffers fill first. Once no `drain` event comes for a while, the other end has stopped reading.
  for (;;) {
    while (socket.write(BLOCK)) accepted += BLOCK.length
    accepted += BLOCK.length
    const drained = await Promise.race([
      once(socket, 'drain').then(
        () => true,
        () => false,
      ),
      new Promise<boolean>((resolve) => setTimeout(resolve, 500, false)),
    ])
    if (!drained || accepted > GIB / 4) break
  }
  t.ok(accepted < GIB / 4, `the backend could write ${accepted} bytes`)
  t.ok(residentKiB(pid) - before < FLAT_KIB)
  client.destroy()
  await over(socket)
})

/** A connection whose bytes are counted by the test and not kept. */
async function bare(): Promise<Socket> {
  const socket = connect(stage.port, '127.0.0.1')
  await once(socket, 'connect')
  return socket
}
