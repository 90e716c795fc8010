import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { chromiumIsInstalled, startChromium } from '../support/chromium.ts'
import type { TestGateway } from '../support/gateway.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  rawHttp2,
  requestBlock,
  SETTINGS,
  WINDOW_UPDATE,
} from '../support/http2-frames.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { startSlowRelay } from '../support/slow-relay.ts'

const WHOLE = END_HEADERS | END_STREAM
const DOWNLOADS = 165
const DOWNLOAD_BYTES = 2_000_000
/** Two pieces of 64 KiB for each, once in JavaScript and once encrypted, and what Node needs beside that. */
const MAX_GROWTH_MIB = 100
const TURN_BYTES = 150_000
const INITIAL_WINDOW_SIZE = 4
const PICTURES = 220
const LINE_BYTES_PER_SECOND = 5_000_000

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])

type Answer = (request: IncomingMessage, response: ServerResponse) => void

async function startStage(t: Test, answer: Answer, env: Readonly<Record<string, string>> = {}) {
  const backend = createServer(answer)
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    backend.closeAllConnections()
    backend.close()
  })
  const gateway = await plainGateway(t, {
    targets: [`http://127.0.0.1:${(backend.address() as AddressInfo).port}`],
    upstream: { maxConnections: 400 },
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, ...env },
  })
  return { gateway, port: gateway.port }
}

const large = Buffer.alloc(DOWNLOAD_BYTES, 'x')

const answerBySize: Answer = (request, response) => {
  response.end(request.url === '/large' ? large : 'small')
}

/** Resident memory without file-backed pages, in MiB. */
async function memory(gateway: TestGateway): Promise<number> {
  const status = await readFile(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024
}

/** Downloads that are begun, and not read beyond what the windows hold. */
async function beginDownloads(session: ClientHttp2Session): Promise<ClientHttp2Stream[]> {
  const streams = Array.from({ length: DOWNLOADS }, () => {
    const stream = session.request({ ':path': '/large', ':authority': 'app.example.com' })
    stream.on('error', () => {})
    return stream
  })
  await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once('response', resolve))))
  return streams
}

/** Reads a download to its end. @returns how many bytes came, -1 where it was reset */
function lengthOf(stream: ClientHttp2Stream): Promise<number> {
  let length = 0
  stream.on('data', (bytes: Buffer) => {
    length += bytes.length
  })
  return new Promise((resolve) => stream.on('close', () => resolve(stream.rstCode === 0 ? length : -1)))
}

t.test(`${DOWNLOADS} slow downloads on one connection take nothing from each other`, async (t) => {
  const { gateway, port } = await startStage(t, answerBySize, { HTTP2_MAX_STREAMS: '300' })
  const session = http2Client(t, port)
  await askHttp2(session, { ':path': '/small' })
  const before = await memory(gateway)
  const downloads = await beginDownloads(session)
  for (let n = 0; n < 120; n++) {
    const { status } = await askHttp2(session, { ':path': '/small' })
    if (status !== 200) t.fail(`${status} beside them`)
  }
  t.notOk(session.destroyed, 'the connection goes on')
  const growth = (await memory(gateway)) - before
  t.ok(growth < MAX_GROWTH_MIB, `${Math.round(growth)} MiB more`)
  t.same(new Set(await Promise.all(downloads.map(lengthOf))), new Set([DOWNLOAD_BYTES]), 'all arrive whole')
})

t.test('downloads that wait for their turn on a slow line are not taken for unread', async (t) => {
  const { port } = await startStage(t, (_request, response) => response.end(large.subarray(0, TURN_BYTES)), {
    REQUEST_TIMEOUT_MS: '1500',
  })
  const relay = await startSlowRelay(port, 3_000_000)
  t.teardown(() => relay.close())
  // Node's client opens 64 KiB for all of a connection, and its server uses that for the oldest streams first.
  const session = http2Client(t, relay.port)
  const streams = Array.from({ length: 80 }, () => session.request({ ':path': '/' }))
  for (const stream of streams) stream.on('error', () => {})
  t.same(new Set(await Promise.all(streams.map(lengthOf))), new Set([TURN_BYTES]), 'all arrive whole')
})

t.test('the more answers there are on a connection, the less of each goes out at a time', async (t) => {
  const { port } = await startStage(t, answerBySize)
  const client = await rawHttp2(port)
  t.teardown(() => client.socket.destroy())
  const number = (value: number) => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return bytes
  }
  const window = Buffer.concat([Buffer.from([0, INITIAL_WINDOW_SIZE]), number(0x7fffffff)])
  client.send(
    { type: SETTINGS, payload: window },
    { type: WINDOW_UPDATE, payload: number(0x7fff0000 - 65_535) },
  )
  const ids = Array.from({ length: 64 }, (_, n) => 2 * n + 1)
  client.send(
    ...ids.map((stream) => ({ type: HEADERS, flags: WHOLE, stream, payload: requestBlock([], '/large') })),
  )
  // The line is full and all answers wait before the first is read.
  client.socket.pause()
  await new Promise((resolve) => setTimeout(resolve, 2000))
  client.socket.resume()
  await until(() => client.frames.some(({ type, flags }) => type === DATA && (flags & END_STREAM) !== 0))
  const runs = runsOf(client.frames)
  t.ok(runs.length > 0)
  t.ok(runs[Math.floor(runs.length / 2)]! <= 8192, `${runs[Math.floor(runs.length / 2)]} bytes, the median`)
})

/** How many bytes of one stream came in a row, from the least to the most, until the first stream ends. */
function runsOf(frames: readonly Required<Frame>[]): number[] {
  const runs: number[] = []
  let latest = 0
  for (const { type, stream, flags, payload } of frames) {
    if (type !== DATA) continue
    if ((flags & END_STREAM) !== 0) break
    if (stream === latest) runs.push(runs.pop()! + payload.length)
    else runs.push(payload.length)
    latest = stream
  }
  return runs.sort((a, b) => a - b)
}

t.test('a client that resets all that it has open and asks for as much keeps its connection', async (t) => {
  const { port } = await startStage(t, (request, response) => {
    if (request.url === '/small') response.end('small')
  })
  const client = await rawHttp2(port)
  t.teardown(() => client.socket.destroy())
  await client.frame(SETTINGS)
  client.send({ type: SETTINGS, flags: 1 })
  const head = (stream: number, path: string) => ({
    type: HEADERS,
    flags: WHOLE,
    stream,
    payload: requestBlock([], path),
  })
  const ids = Array.from({ length: 128 }, (_, n) => 2 * n + 1)
  client.send(...ids.map((stream) => head(stream, '/held')))
  client.send({ type: PING, payload: Buffer.alloc(8) })
  await client.frame(PING)
  const cancel = Buffer.from([0, 0, 0, 8])
  client.send(
    ...ids.map((stream) => ({ type: RST_STREAM, stream, payload: cancel })),
    ...ids.map((stream) => head(stream + 256, '/small')),
  )
  await new Promise((resolve) => setTimeout(resolve, 300))
  client.send(head(513, '/small'))
  await until(() => client.frames.some(({ type, stream }) => type === HEADERS && stream === 513))
  t.notOk(client.frames.some(({ type }) => type === GOAWAY))
})

/** An uncompressed picture of 100 kB. */
function bitmap(): Buffer {
  const [width, height] = [100, 333]
  const bytes = Buffer.alloc(54 + width * height * 3)
  bytes.write('BM', 'latin1')
  bytes.writeUInt32LE(bytes.length, 2)
  bytes.writeUInt32LE(54, 10)
  bytes.writeUInt32LE(40, 14)
  bytes.writeInt32LE(width, 18)
  bytes.writeInt32LE(height, 22)
  bytes.writeUInt16LE(1, 26)
  bytes.writeUInt16LE(24, 28)
  return bytes
}

const skip = chromiumIsInstalled() ? false : 'Chromium is not installed here'

t.test(`Chromium shows a page with ${PICTURES} pictures over a slow line`, { skip }, async (t) => {
  const picture = bitmap()
  // The last ones are asked for while the others fill the line.
  const page = `<!doctype html><link rel=icon href="data:,"><script>
    const add = (from, to) => {
      for (let n = from; n < to; n++) document.body.append(Object.assign(new Image(), { src: n + '.bmp' }))
    }
    addEventListener('DOMContentLoaded', () => add(0, ${PICTURES - 20}))
    setTimeout(() => add(${PICTURES - 20}, ${PICTURES}), 700)
  </script>`
  const { port } = await startStage(t, (request, response) => {
    if (request.url === '/') response.setHeader('Content-Type', 'text/html').end(page)
    else response.setHeader('Content-Type', 'image/bmp').end(picture)
  })
  const relay = await startSlowRelay(port, LINE_BYTES_PER_SECOND)
  t.teardown(() => relay.close())
  const browser = await startChromium(['--ignore-certificate-errors'])
  t.teardown(() => browser.close())
  const tab = await browser.newPage({ ignoreHTTPSErrors: true })
  await tab.goto(`https://127.0.0.1:${relay.port}/`, { waitUntil: 'load', timeout: 60_000 })
  const shown = await tab.evaluate(
    `[...document.images].filter(({ naturalWidth }) => naturalWidth === 100).length`,
  )
  t.equal(shown, PICTURES)
  const used = await tab.evaluate(
    `performance.getEntriesByType('resource').map(({ nextHopProtocol }) => nextHopProtocol)`,
  )
  t.same(new Set(used as string[]), new Set(['h2']))
})
