import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { ask, PROTOCOLS, type Protocol } from '../support/either-client.ts'
import { startGateway } from '../support/gateway.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { onHeads, startTarget } from '../support/raw-target.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const EMPTY_FIELDS = 'a:\r\n'.repeat(16_000)
const CLIENTS = 20

const edge = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
const inner = createAuthority(t, 'the inside')

/** Writes this again and again, as long as it is read. */
function pour(socket: Socket, first: string, again: string): void {
  const block = again.repeat(Math.max(1, Math.floor(20_000 / again.length)))
  socket.write(first)
  const more = () => {
    while (!socket.destroyed) if (!socket.write(block, 'latin1')) return void socket.once('drain', more)
  }
  more()
}

/** What a target does with each request; the exchange has to end, and nobody else may feel it. */
const ATTACKS: Record<string, (socket: Socket) => void> = {
  '103 without end': (socket) => pour(socket, '', 'HTTP/1.1 103 Hints\r\nLink: <a>\r\n\r\n'),
  '103 with 16,000 empty fields': (socket) => pour(socket, '', `HTTP/1.1 103 Hints\r\n${EMPTY_FIELDS}\r\n`),
  '100 without end': (socket) => pour(socket, '', 'HTTP/1.1 100 Continue\r\n\r\n'),
  'a head without end': (socket) => pour(socket, 'HTTP/1.1 200 OK\r\n', 'X-A: a\r\n'),
  '16,000 empty fields': (socket) => socket.write(`HTTP/1.1 200 OK\r\n${EMPTY_FIELDS}\r\n`),
  'trailers without end': (socket) =>
    pour(socket, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n', 'a:\r\n'),
  'chunk extensions without end': (socket) =>
    pour(socket, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;', 'a=b;'),
  'a coding that is not chunked': (socket) =>
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc'),
  'a cut answer': (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc'),
  'a cut answer in chunks': (socket) =>
    socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc'),
}

function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}

async function setUp(t: Test, authority: typeof inner | null) {
  let attack: (socket: Socket) => void = () => {}
  const kind = { name: '', authority }
  const [hostile, good] = await Promise.all([
    startTarget(t, kind, (socket) => onHeads(socket, () => attack(socket))),
    startTarget(t, kind, (socket) => onHeads(socket, () => socket.write(OK))),
  ])
  const upstream = ({ options }: typeof hostile) => ({
    targets: [options.url],
    retries: 0,
    ...(options.tls === null ? {} : { tls: options.tls }),
  })
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: {
      upstreams: { hostile: upstream(hostile), good: upstream(good) },
      routes: [
        { path: '/hostile', upstream: 'hostile', auth: 'none' },
        { path: '/good', upstream: 'good', auth: 'none' },
      ],
    },
    env: { ACCESS_LOG: 'off', TLS_CERT_FILE: edge.certFile, TLS_KEY_FILE: edge.keyFile },
  })
  t.teardown(() => gateway.stop())
  return {
    gateway,
    attackBy(next: (socket: Socket) => void) {
      attack = next
    },
  }
}

/** @returns true where the client got a refusal of the gateway's or sees that the answer is not whole */
async function endsUnwell(t: Test, port: number, protocol: Protocol): Promise<boolean> {
  const asked = ask(t, port, protocol, { path: '/hostile' })
  asked.end()
  const answer = await asked.answer.catch(() => null)
  return answer === null || answer.status === 502 || !answer.complete
}

for (const [inside, authority] of [
  ['TCP', null],
  ['TLS', inner],
] as const) {
  t.test(`hostile targets over ${inside}`, async (t) => {
    const { gateway, attackBy } = await setUp(t, authority)
    const good = (t: Test) => ask(t, gateway.port, 'HTTP/1.1', { path: '/good' }).answer
    await good(t)
    const before = residentMiB(gateway.pid)
    for (const protocol of PROTOCOLS) {
      for (const [what, attack] of Object.entries(ATTACKS)) {
        t.test(`${what}, to clients of ${protocol}: the exchange ends, and others are served`, async (t) => {
          attackBy(attack)
          const startedAt = performance.now()
          const ends = Promise.all(
            Array.from({ length: CLIENTS }, () => endsUnwell(t, gateway.port, protocol)),
          )
          for (let n = 0; n < 5; n++) t.equal((await good(t)).body.toString(), 'ok')
          t.ok((await ends).every((unwell) => unwell))
          const took = performance.now() - startedAt
          t.ok(took < 10_000, `${Math.round(took)} ms`)
        })
      }
    }
    t.test('memory has not grown with what they sent', async (t) => {
      const grown = residentMiB(gateway.pid) - before
      t.ok(grown < 150, `${Math.round(grown)} MiB`)
      t.equal(await gateway.metric('gateway_requests_in_flight'), 0)
    })
  })
}
