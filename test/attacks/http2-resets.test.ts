import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  HEADERS,
  literal,
  type RawHttp2,
  RST_STREAM,
  rawHttp2,
  requestBlock,
  SETTINGS,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'

/*
 * The attack: requests that the client has ended before their answer, so that they count as no open stream while the
 * backend works on them. The client resets them itself, or has the server do it (MadeYouReset, CVE-2025-8671).
 */

const WHOLE = END_HEADERS | END_STREAM
/** As many as HTTP/2 lets a client reset in one go, and some. */
const MAX_REQUESTS = 2000
const SENT = 4000
const BATCH = 40

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])

const backend = await startRawBackend(({ head, socket }) => {
  if (head.startsWith('GET /quick')) socket.write(OK)
})
t.teardown(() => backend.close())
const { port } = await plainGateway(t, {
  targets: [backend.url],
  env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
})

const slowRequests = () => backend.requests.filter((head) => !head.startsWith('GET /quick')).length

/** Nothing is under way any more, and a good client is served. */
async function unharmed(t: Test) {
  await until(() => backend.open.size === 0)
  const session = http2Client(t, port)
  t.equal((await askHttp2(session, { ':path': '/quick' })).status, 200, 'others are served')
  for (const socket of backend.open) socket.destroy()
}

const get = (stream: number): Frame => ({
  type: HEADERS,
  flags: WHOLE,
  stream,
  payload: requestBlock([], '/slow'),
})

/** The head of an upload; a body has to follow. */
const upload = (stream: number, fields: readonly (readonly [string, string])[] = []): Frame => ({
  type: HEADERS,
  flags: END_HEADERS,
  stream,
  payload: Buffer.concat(
    [
      [':method', 'POST'],
      [':scheme', 'https'],
      [':authority', 'app.example.com'],
      [':path', '/slow'],
      ...fields,
    ].map(([name, value]) => literal(name!, value!)),
  ),
})

const number = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

const data = (stream: number, text: string, flags = 0): Frame => ({
  type: DATA,
  flags,
  stream,
  payload: Buffer.from(text),
})

/** What the client sends of each stream. */
const ATTACKS: readonly (readonly [string, (stream: number) => Frame[]])[] = [
  ['RST_STREAM', (id) => [get(id), { type: RST_STREAM, stream: id, payload: number(8) }]],
  ['WINDOW_UPDATE of nothing', (id) => [get(id), { type: WINDOW_UPDATE, stream: id, payload: number(0) }]],
  [
    'WINDOW_UPDATE past the largest window',
    (id) => [get(id), { type: WINDOW_UPDATE, stream: id, payload: number(0x7fffffff) }],
  ],
  ['DATA behind the end', (id) => [get(id), data(id, 'x')]],
  ['HEADERS behind the end', (id) => [get(id), get(id)]],
  ['more DATA than Content-Length', (id) => [upload(id, [['content-length', '1']]), data(id, 'xxx')]],
  [
    'less DATA than Content-Length',
    (id) => [upload(id, [['content-length', '5']]), data(id, 'xxx', END_STREAM)],
  ],
  [
    'trailers with a pseudo-header field',
    (id) => [upload(id), { type: HEADERS, flags: WHOLE, stream: id, payload: literal(':status', '200') }],
  ],
]

/** Sends until the server has enough, or until all is sent. What ends a request comes once it has been forwarded. */
async function sendAll(attacker: RawHttp2, framesOf: (stream: number) => Frame[]): Promise<void> {
  for (let sent = 0; sent < SENT && !attacker.socket.destroyed; sent += BATCH) {
    const goal = slowRequests() + BATCH
    const frames = Array.from({ length: BATCH }, (_, n) => framesOf(2 * (sent + n) + 1))
    attacker.send(...frames.map(([head]) => head!))
    await until(() => slowRequests() >= goal || attacker.socket.destroyed)
    attacker.send(...frames.flatMap(([, ...rest]) => rest))
  }
}

for (const [what, framesOf] of ATTACKS) {
  t.test(`rapid reset by ${what} ends the connection, and what the backend works on with it`, async (t) => {
    const before = slowRequests()
    const attacker = await rawHttp2(port)
    t.teardown(() => attacker.socket.destroy())
    await attacker.frame(SETTINGS)
    attacker.send({ type: SETTINGS, flags: ACK })
    await sendAll(attacker, framesOf)
    await attacker.ended
    await unharmed(t)
    const came = slowRequests() - before
    t.ok(came >= BATCH && came < MAX_REQUESTS, `${came} requests came`)
  })
}

t.test('a flood of DATA without bytes (CVE-2019-9518) ends the connection', async (t) => {
  const attacker = await rawHttp2(port)
  attacker.send(upload(1))
  const burst = Array.from({ length: 100 }, () => data(1, ''))
  for (let n = 0; n < 100 && !attacker.socket.destroyed; n++) {
    attacker.send(...burst)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await attacker.ended
  await unharmed(t)
})
