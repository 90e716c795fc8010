import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { SWITCHED, WEBSOCKET_ACCEPT, WEBSOCKET_KEY } from '../../support/handshake.ts'
import { plainGateway, until } from '../../support/plain-gateway.ts'
import { openConnection, rawRequest } from '../../support/raw-http.ts'
import { later, onHeads, startTarget } from '../../support/raw-target.ts'

const PLAIN = { name: 'TCP', authority: null }
const HANDSHAKE =
  'GET /ws HTTP/1.1\r\nHost: app.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n\r\n`

async function setUp(t: Test, answer: (socket: Socket, head: string) => void, upstream = {}) {
  const target = await startTarget(t, PLAIN, (socket) => onHeads(socket, (head) => answer(socket, head)))
  const gateway = await plainGateway(t, {
    targets: [target.options.url],
    upstream: { retries: 0, ...upstream },
  })
  return { target, gateway }
}

const switched = (fields: string) => `HTTP/1.1 101 Switching Protocols\r\n${fields}\r\nsecret`
const ACCEPT = `Sec-WebSocket-Accept: ${WEBSOCKET_ACCEPT}\r\n`

t.test('a 101 that is not for this handshake opens no tunnel: 502 upstream_invalid', async (t) => {
  let bytes = ''
  const { gateway, target } = await setUp(t, (socket) => socket.write(bytes))
  for (const [what, fields] of [
    ['without Connection', `Upgrade: websocket\r\n${ACCEPT}`],
    ['with another Connection', `Upgrade: websocket\r\nConnection: keep-alive\r\n${ACCEPT}`],
    ['without Upgrade', `Connection: Upgrade\r\n${ACCEPT}`],
    ['to another protocol', `Upgrade: h2c\r\nConnection: Upgrade\r\n${ACCEPT}`],
    ['without Sec-WebSocket-Accept', 'Upgrade: websocket\r\nConnection: Upgrade\r\n'],
    [
      'for another key',
      'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n',
    ],
    ['with two answers to the key', `Upgrade: websocket\r\nConnection: Upgrade\r\n${ACCEPT}${ACCEPT}`],
  ] as const) {
    bytes = switched(fields)
    const { responses, raw } = await rawRequest(gateway.port, HANDSHAKE)
    t.equal(responses[0]?.status, 502, what)
    t.match(responses[0]?.body.toString(), /"code":"upstream_invalid"/, what)
    t.notMatch(raw.toString(), /secret/)
    const socket = target.sockets.at(-1)!
    if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve))
  }
  bytes = switched(`uPgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\n${ACCEPT}`)
  const { responses } = await rawRequest(gateway.port, HANDSHAKE)
  t.equal(responses[0]?.status, 101, 'names and tokens are read in any case')
})

t.test('the handshake reaches the target as it is, but for what is removed and added', async (t) => {
  let head = ''
  const { gateway } = await setUp(t, (socket, asked) => {
    head = asked
    socket.write(SWITCHED)
  })
  const { responses } = await rawRequest(gateway.port, HANDSHAKE.replace('/ws ', '/ws/../ws?x=%2e '))
  t.equal(responses[0]?.status, 400)
  await rawRequest(gateway.port, HANDSHAKE.replace('/ws ', '//ws?x=%2e '))
  t.match(head, /^GET \/\/ws\?x=%2e HTTP\/1\.1\r\n/)
  t.match(head, new RegExp(`\r\nSec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n`))
  t.match(head, /\r\nConnection: Upgrade\r\nUpgrade: websocket$/)
})

t.test('426 reaches the client with its Upgrade field', async (t) => {
  const { gateway } = await setUp(t, (socket) =>
    socket.write(
      'HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nContent-Length: 2\r\n\r\nno',
    ),
  )
  const { responses } = await rawRequest(gateway.port, HANDSHAKE)
  t.equal(responses[0]?.status, 426)
  t.equal(responses[0]?.header('upgrade'), 'websocket')
  t.equal(responses[0]?.header('sec-websocket-version'), '8')
  t.equal(responses[0]?.body.toString(), 'no')
})

t.test('1xx before a 101 pass, but for 100, and their number is bounded', async (t) => {
  let bytes = `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\n${SWITCHED}`
  const { gateway } = await setUp(t, (socket) => socket.write(bytes))
  const { responses } = await rawRequest(gateway.port, HANDSHAKE)
  t.same(
    responses.map(({ status }) => status),
    [103, 101],
  )
  bytes = 'HTTP/1.1 103 Hints\r\n\r\n'.repeat(1000)
  const many = await rawRequest(gateway.port, HANDSHAKE)
  t.equal(many.responses.at(-1)?.status, 502)
})

t.test('no answer to the handshake in time: 504 upstream_timeout', async (t) => {
  const { gateway } = await setUp(t, (socket) => socket.write('HTTP/1.1 103 H\r\n\r\n'), {
    timeouts: { response: '300ms' },
  })
  const startedAt = performance.now()
  const { responses } = await rawRequest(gateway.port, HANDSHAKE)
  t.equal(responses.at(-1)?.status, 504)
  t.ok(performance.now() - startedAt < 1000)
})

t.test('timeouts.idle ends a silent WebSocket where the file has it, and no other', async (t) => {
  for (const timeouts of [{ idle: '500ms' }, {}]) {
    const { gateway, target } = await setUp(t, (socket) => socket.write(SWITCHED), { timeouts })
    const client = await openConnection(gateway.port)
    client.write(HANDSHAKE)
    t.equal((await client.response()).status, 101)
    const openedAt = performance.now()
    // Bytes of either side begin it anew.
    for (const from of [client.socket, target.sockets[0]!]) {
      await later(300)
      from.write('frame')
    }
    if (timeouts.idle === undefined) {
      await later(900)
      t.notOk(client.socket.destroyed)
      client.destroy()
      continue
    }
    await client.closed
    const took = performance.now() - openedAt
    t.ok(took > 1050 && took < 1500, `${Math.round(took)} ms`)
    if (!target.sockets[0]!.destroyed)
      await new Promise((resolve) => target.sockets[0]!.once('close', resolve))
  }
})

for (const side of ['client', 'target'] as const) {
  t.test(`a ${side} that ends gets no more, and what it has sent arrives whole`, async (t) => {
    const size = 3_000_000
    const { gateway, target } = await setUp(t, (socket) => socket.write(SWITCHED))
    const client = await openConnection(gateway.port)
    client.write(HANDSHAKE)
    t.equal((await client.response()).status, 101)
    const [from, to] =
      side === 'client' ? [client.socket, target.sockets[0]!] : [target.sockets[0]!, client.socket]
    let got = 0
    from.removeAllListeners('readable').resume()
    to.removeAllListeners('readable').pause()
    to.on('data', (data: Buffer) => {
      got += data.length
    })
    // What it has sent must not be lost to what the other side goes on sending.
    const talk = setInterval(() => to.writable && to.write('frame'), 5)
    setTimeout(() => to.resume(), 300)
    from.end(Buffer.alloc(size, 'x'))
    await new Promise((resolve) => to.once('end', resolve))
    clearInterval(talk)
    t.equal(got, size)
    to.end()
    if (!from.destroyed) await new Promise((resolve) => from.once('close', resolve))
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 0)
  })

  t.test(`a ${side} that does not read holds the other side back, in flat memory`, async (t) => {
    const { gateway, target } = await setUp(t, (socket) => socket.write(SWITCHED))
    const client = await openConnection(gateway.port)
    client.write(HANDSHAKE)
    t.equal((await client.response()).status, 101)
    const [from, to] =
      side === 'client' ? [target.sockets[0]!, client.socket] : [client.socket, target.sockets[0]!]
    to.pause()
    let written = 0
    const block = Buffer.alloc(1_000_000)
    for (let n = 0; n < 100; n++) {
      written += block.length
      if (from.write(block)) continue
      const drained = await Promise.race([
        new Promise((resolve) => from.once('drain', () => resolve(true))),
        later(500),
      ])
      if (drained !== true) break
    }
    t.ok(written < 50_000_000, `${written} bytes were taken`)
    from.destroy()
    to.resume()
    await new Promise((resolve) => to.once('close', resolve))
  })
}

t.test('attack: handshakes without one key do not have a healthy target ejected', async (t) => {
  const good = await startTarget(t, PLAIN, (socket) => onHeads(socket, () => socket.write(SWITCHED)))
  const other = await startTarget(t, PLAIN, (socket) => onHeads(socket, () => socket.write(SWITCHED)))
  const gateway = await plainGateway(t, {
    targets: [good.options.url, other.options.url],
    upstream: { retries: 0, ejection: { consecutiveFailures: 2, duration: '60s', maxPercent: 100 } },
  })
  const key = `Sec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n`
  for (const keys of ['', key + key.replace(WEBSOCKET_KEY, 'AAAAAAAAAAAAAAAAAAAAAA==')]) {
    for (let n = 0; n < 6; n++) {
      const { responses } = await rawRequest(gateway.port, HANDSHAKE.replace(key, keys))
      t.match(responses[0]?.body.toString(), /"code":"bad_request"/)
    }
  }
  for (const { options } of [good, other])
    t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${options.url}"}`), 1)
})
