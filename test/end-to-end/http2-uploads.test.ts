import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startDelayingRelay } from '../support/delaying-relay.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import {
  ACK,
  DATA,
  END_HEADERS,
  HEADERS,
  literal,
  type RawHttp2,
  rawHttp2,
  SETTINGS,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'

const MIB = 1_048_576
const UPLOAD = Buffer.alloc(8 * MIB, 'x')
const ROUND_TRIP_MS = 60
/** With 64 KiB a round trip it took 7.7 s at least. */
const MAX_UPLOAD_MS = 4000
const LEAST_WINDOW = 65_536
const CONNECTION_WINDOW = 4 * MIB
const INITIAL_WINDOW_SIZE = 4
const CURL = '/usr/bin/curl'

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])

/** A gateway before a backend that answers with the length of a body, and reads nothing of one to `/stalled`. */
async function startStage(t: Test) {
  const backend = createServer((request, response) => {
    if (request.url === '/stalled') return
    let length = 0
    request.on('data', (bytes: Buffer) => {
      length += bytes.length
    })
    request.on('end', () => response.end(String(length)))
  })
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    backend.closeAllConnections()
    backend.close()
  })
  const gateway = await plainGateway(t, {
    targets: [`http://127.0.0.1:${(backend.address() as AddressInfo).port}`],
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  return gateway.port
}

async function farAway(t: Test): Promise<number> {
  const relay = await startDelayingRelay(await startStage(t), ROUND_TRIP_MS / 2)
  t.teardown(() => relay.close())
  return relay.port
}

const post = { ':method': 'POST', ':path': '/' }

t.test(`8 MiB take few round trips of ${ROUND_TRIP_MS} ms`, async (t) => {
  const session = http2Client(t, await farAway(t))
  await once(session, 'connect')
  const since = performance.now()
  const { body } = await askHttp2(session, post, UPLOAD)
  const took = performance.now() - since
  t.equal(body, String(UPLOAD.length))
  t.ok(took < MAX_UPLOAD_MS, `${Math.round(took)} ms`)
})

t.test(
  `curl uploads 8 MiB in few round trips of ${ROUND_TRIP_MS} ms`,
  { skip: existsSync(CURL) ? false : 'curl is not installed here' },
  async (t) => {
    const port = await farAway(t)
    const folder = mkdtempSync(join(tmpdir(), 'gateway-upload-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'body')
    writeFileSync(file, UPLOAD)
    const since = performance.now()
    const curl = spawn(CURL, ['-sk', '--http2', '-H', 'Expect:', '-T', file, `https://127.0.0.1:${port}/`])
    let out = ''
    curl.stdout.on('data', (text) => {
      out += text
    })
    await once(curl, 'close')
    const took = performance.now() - since
    t.equal(out, String(UPLOAD.length))
    t.ok(took < MAX_UPLOAD_MS, `${Math.round(took)} ms`)
  },
)

t.test('uploads that come and go beside each other all arrive whole', async (t) => {
  const session = http2Client(t, await farAway(t), { maxSessionMemory: 100 })
  const body = UPLOAD.subarray(0, 2 * MIB)
  for (const count of [1, 6, 2, 12, 1, 40, 3]) {
    const answers = await Promise.all(
      Array.from({ length: count }, () =>
        askHttp2(session, post, count > 6 ? body.subarray(0, 300_000) : body),
      ),
    )
    t.same(new Set(answers.map(({ body }) => body)), new Set([String(count > 6 ? 300_000 : body.length)]))
  }
})

const upload = (stream: number, path: string) => ({
  type: HEADERS,
  flags: END_HEADERS,
  stream,
  payload: Buffer.concat(
    [
      [':method', 'POST'],
      [':scheme', 'https'],
      [':authority', 'app.example.com'],
      [':path', path],
    ].map(([name, value]) => literal(name!, value!)),
  ),
})

/** What SETTINGS said about the windows of streams, in order. */
function windowsOf({ frames }: RawHttp2): number[] {
  const windows: number[] = []
  for (const { type, payload } of frames) {
    if (type !== SETTINGS) continue
    for (let at = 0; at < payload.length; at += 6)
      if (payload.readUInt16BE(at) === INITIAL_WINDOW_SIZE) windows.push(payload.readUInt32BE(at + 2))
  }
  return windows
}

const roomOn = ({ frames }: RawHttp2, id: number) =>
  frames
    .filter(({ type, stream }) => type === WINDOW_UPDATE && stream === id)
    .reduce((sum, { payload }) => sum + payload.readUInt32BE(), 0)

/** Sends so many bytes of a body, in frames of 16 KiB. */
function sendBody(client: RawHttp2, stream: number, bytes: number): void {
  for (let left = bytes; left > 0; left -= 16_384)
    client.send({ type: DATA, stream, payload: Buffer.alloc(Math.min(left, 16_384)) })
}

/** A client whose windows have grown, since a target has taken what it uploaded on stream 1. */
async function grown(t: Test): Promise<{ client: RawHttp2; sent: number }> {
  const client = await rawHttp2(await startStage(t))
  t.teardown(() => client.socket.destroy())
  await client.frame(SETTINGS)
  client.send({ type: SETTINGS, flags: ACK }, upload(1, '/taken'))
  sendBody(client, 1, LEAST_WINDOW)
  await until(() => windowsOf(client).length === 2)
  client.send({ type: SETTINGS, flags: ACK })
  return { client, sent: LEAST_WINDOW }
}

t.test('windows grow with what is taken, and shrink when there are many uploads', async (t) => {
  const { client } = await grown(t)
  t.same(windowsOf(client), [LEAST_WINDOW, MIB])
  client.send(...Array.from({ length: 20 }, (_, n) => upload(3 + 2 * n, '/stalled')))
  await until(() => windowsOf(client).at(-1) === 131_072)
  t.same(windowsOf(client), [LEAST_WINDOW, MIB, 524_288, 262_144, 131_072])
})

t.test(
  'a client that ignores that its windows have shrunk gets no more room, until it confirms',
  async (t) => {
    const { client, sent } = await grown(t)
    let total = sent
    const ids = Array.from({ length: 100 }, (_, n) => 3 + 2 * n)
    client.send(...ids.map((stream) => upload(stream, '/stalled')))
    await until(() => windowsOf(client).at(-1) === LEAST_WINDOW)
    // It holds to what it was told of its connection, but fills each stream as if that were still large.
    const room = () => LEAST_WINDOW - 1 + roomOn(client, 0) - total
    for (const stream of ids) {
      const bytes = Math.min(MIB, room())
      sendBody(client, stream, bytes)
      total += bytes
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    t.ok(total <= CONNECTION_WINDOW + LEAST_WINDOW, `${(total / MIB).toFixed(1)} MiB were let in`)
    t.equal(room(), 0)
    client.send(
      ...windowsOf(client)
        .slice(2)
        .map(() => ({ type: SETTINGS, flags: ACK })),
    )
    await until(() => room() > 0)
    // What it sends next brings the rest.
    client.send({ type: DATA, stream: 1, payload: Buffer.from('x') })
    await until(() => room() > CONNECTION_WINDOW / 2)
    t.pass('it goes on once it has confirmed')
  },
)
