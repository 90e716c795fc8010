import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  GOAWAY,
  HEADERS,
  literal,
  PING,
  type RawHttp2,
  RST_STREAM,
  rawHttp2,
  requestBlock,
  SETTINGS,
} from '../support/http2-frames.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'

const WHOLE = END_HEADERS | END_STREAM
const MAX_CONCURRENT_STREAMS = 3
const PROTOCOL_ERROR = 1
const REFUSED_STREAM = 7

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])
const TLS = { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }

/** A gateway before a backend whose answers `release` lets out. */
async function heldGateway(t: Test, env: Readonly<Record<string, string>>, upstream = {}) {
  const held: Socket[] = []
  const backend = await startRawBackend(({ socket }) => held.push(socket))
  t.teardown(() => backend.close())
  const gateway = await plainGateway(t, { targets: [backend.url], upstream, env: { ...TLS, ...env } })
  const release = () => {
    for (const socket of held.splice(0)) socket.write(OK)
  }
  return { port: gateway.port, backend, release }
}

async function announcedLimit(client: RawHttp2): Promise<number | null> {
  const { payload } = (await client.frame(SETTINGS))!
  for (let at = 0; at < payload.length; at += 6)
    if (payload.readUInt16BE(at) === MAX_CONCURRENT_STREAMS) return payload.readUInt32BE(at + 2)
  return null
}

const heads = (first: number, count: number) =>
  Array.from({ length: count }, (_, n) => ({
    type: HEADERS,
    flags: WHOLE,
    stream: first + 2 * n,
    payload: requestBlock(),
  }))

for (const [what, env, limit] of [
  ['128 where nothing else is set', {}, 128],
  ['HTTP2_MAX_STREAMS', { HTTP2_MAX_STREAMS: '3' }, 3],
] as const) {
  t.test(`a client is told how many streams it may have open: ${what}`, async (t) => {
    const { port } = await heldGateway(t, env)
    const client = await rawHttp2(port)
    t.teardown(() => client.socket.destroy())
    t.equal(await announcedLimit(client), limit)
  })
}

t.test('streams past HTTP2_MAX_STREAMS are refused as not processed, and the others served', async (t) => {
  const { port, backend, release } = await heldGateway(t, { HTTP2_MAX_STREAMS: '3' })
  const client = await rawHttp2(port)
  t.teardown(() => client.socket.destroy())
  client.send(...heads(1, 5))
  const refused = () => client.frames.filter(({ type }) => type === RST_STREAM)
  while (refused().length < 2) await once(client.socket, 'data')
  t.same(
    refused().map(({ stream, payload }) => [stream, payload.readUInt32BE()]),
    [
      [7, REFUSED_STREAM],
      [9, REFUSED_STREAM],
    ],
  )
  await until(() => backend.requests.length === 3)
  release()
  const answered = () => client.frames.filter(({ type }) => type === HEADERS).map(({ stream }) => stream)
  while (answered().length < 3) await once(client.socket, 'data')
  client.send(...heads(11, 1))
  await until(() => backend.requests.length === 4)
  release()
  while (answered().length < 4) await once(client.socket, 'data')
  t.same(
    answered().sort((a, b) => a - b),
    [1, 3, 5, 11],
    'a later stream has the place of an earlier one',
  )
})

t.test('a client that has confirmed HTTP2_MAX_STREAMS and passes it breaks the protocol', async (t) => {
  const { port } = await heldGateway(t, { HTTP2_MAX_STREAMS: '3' })
  const client = await rawHttp2(port)
  await client.frame(SETTINGS)
  client.send({ type: SETTINGS, flags: ACK }, ...heads(1, 4))
  const goaway = await client.frame(GOAWAY)
  t.equal(goaway?.payload.readUInt32BE(4), PROTOCOL_ERROR)
  await client.ended
})

t.test('uploads that were answered before their end leave their streams to others', async (t) => {
  const backend = await startRawBackend(({ socket }) => socket.write(OK))
  t.teardown(() => backend.close())
  // Three, and one for a stream that has ended in the same turn, which Node still counts.
  const env = { ...TLS, HTTP2_MAX_STREAMS: '4' }
  const { port } = await plainGateway(t, { targets: [backend.url], env })
  const session = http2Client(t, port, { maxSessionMemory: 1000 })
  await once(session, 'remoteSettings')
  const upload = Buffer.alloc(6_000_000)
  for (let round = 0; round < 2; round++)
    await Promise.all(
      [1, 2, 3].map(async () => {
        const { status } = await askHttp2(session, { ':path': '/', ':method': 'POST' }, upload)
        t.equal(status, 200)
      }),
    )
})

/** What was sent before has been processed. */
async function answeredPing(client: RawHttp2): Promise<void> {
  const answers = () => client.frames.filter(({ type, flags }) => type === PING && flags === ACK).length
  const before = answers()
  client.send({ type: PING, payload: Buffer.alloc(8) })
  while (answers() === before) await once(client.socket, 'data')
}

t.test('an upload that its client breaks off unread leaves its stream to the next', async (t) => {
  const { port, backend, release } = await heldGateway(t, { HTTP2_MAX_STREAMS: '3' }, { maxConnections: 2 })
  const first = await rawHttp2(port)
  const client = await rawHttp2(port)
  for (const { socket } of [first, client]) t.teardown(() => socket.destroy())
  // They have all places of the target, so that the uploads wait and are not read.
  first.send(...heads(1, 2))
  await until(() => backend.requests.length >= 1)
  await client.frame(SETTINGS)
  client.send({ type: SETTINGS, flags: ACK })
  const head = [
    [':method', 'POST'],
    [':scheme', 'https'],
    [':authority', 'app.example.com'],
    [':path', '/'],
  ] as const
  const payload = Buffer.concat(head.map(([name, value]) => literal(name, value)))
  for (const stream of [1, 3, 5])
    client.send(
      { type: HEADERS, flags: END_HEADERS, stream, payload },
      ...Array.from({ length: 4 }, () => ({ type: DATA, stream, payload: Buffer.alloc(16_000) })),
    )
  await answeredPing(client)
  const noError = Buffer.alloc(4)
  client.send(...[1, 3, 5].map((stream) => ({ type: RST_STREAM, stream, payload: noError })))
  await answeredPing(client)
  client.send(...heads(7, 3))
  await answeredPing(client)
  t.same(
    client.frames.filter(({ type }) => type === RST_STREAM),
    [],
  )
  release()
  await until(() => backend.requests.length > 2)
})
