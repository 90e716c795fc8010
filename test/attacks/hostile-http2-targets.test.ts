import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { ask, PROTOCOLS, type Protocol } from '../support/either-client.ts'
import { startGateway } from '../support/gateway.ts'
import { ACK, type Frame, HEADERS, SETTINGS } from '../support/http2-frames.ts'
import { type Http2Peer, startHttp2Target } from '../support/http2-target.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { type Attack, MISBEHAVIOURS, ok, send } from './http2-misbehaviours.ts'

/*
 * The attack: a target of HTTP/2 that breaks the protocol, or uses it without measure. The exchange has to end, what the
 * client gets must not look whole where it is not, and nobody else may feel it.
 */

/** How many ask at once a target that sends without end. */
const CLIENTS = 5
const GROWN_MIB = 150

const residentMiB = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024

function asked(t: Test, port: number) {
  const request = ask(t, port, 'HTTP/1.1', { path: '/good' })
  request.end()
  return request.answer
}

/** What the client got, compared with what it was to get. */
async function outcomeOf(t: Test, port: number, protocol: Protocol): Promise<string> {
  const request = ask(t, port, protocol, { path: '/hostile' })
  request.end()
  const answer = await request.answer.catch(() => null)
  if (answer === null || !answer.complete) return 'cut'
  if (answer.status === 502) return 'refused'
  const isWhole =
    answer.status === 200 && String(answer.body) === 'ok' && answer.all('set-cookie').length === 0
  return isWhole ? 'whole' : `${answer.status} ${answer.body}`
}

t.test('hostile targets of HTTP/2', async (t) => {
  let attack: Attack = send(ok)
  const kind = { name: 'TCP', authority: null }
  const onFrame = (peer: Http2Peer, { type, flags, stream }: Required<Frame>, act: Attack) => {
    if (type === SETTINGS && flags !== ACK) peer.send({ type: SETTINGS }, { type: SETTINGS, flags: ACK })
    if (type === HEADERS) act(peer, stream)
  }
  const [hostile, good] = await Promise.all([
    startHttp2Target(t, kind, (peer, each) => onFrame(peer, each, attack)),
    startHttp2Target(t, kind, (peer, each) => onFrame(peer, each, send(ok))),
  ])
  const timeouts = { response: '2s', idle: '2s' }
  const upstream = ({ options: { url } }: typeof hostile) => ({
    targets: [url],
    protocol: 'http2',
    retries: 0,
    timeouts,
  })
  const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: {
      upstreams: { hostile: upstream(hostile), good: upstream(good) },
      routes: [
        { path: '/hostile', upstream: 'hostile', auth: 'none' },
        { path: '/good', upstream: 'good', auth: 'none' },
      ],
    },
    env: { ACCESS_LOG: 'off', TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  t.teardown(() => gateway.stop())
  const served = async () => (await asked(t, gateway.port)).body.toString()
  await served()
  const before = residentMiB(gateway.pid)
  for (const [what, [expected, next]] of Object.entries(MISBEHAVIOURS)) {
    t.test(`${what}: ${expected}, and others are served`, async (t) => {
      attack = next
      const startedAt = performance.now()
      const rounds = what.includes('without end') ? CLIENTS : 1
      const outcomes = (async () => {
        const got = new Set<string>()
        for (const protocol of PROTOCOLS) {
          const all = Array.from({ length: rounds }, () => outcomeOf(t, gateway.port, protocol))
          for (const outcome of await Promise.all(all)) got.add(outcome)
        }
        return got
      })()
      for (let n = 0; n < 5; n++) t.equal(await served(), 'ok')
      t.same([...(await outcomes)], [expected])
      const took = performance.now() - startedAt
      t.ok(took < 10_000, `${Math.round(took)} ms`)
      for (const socket of hostile.sockets) socket.destroy()
    })
  }
  t.test('memory has not grown with what they sent', async (t) => {
    const grown = residentMiB(gateway.pid) - before
    t.ok(grown < GROWN_MIB, `${Math.round(grown)} MiB`)
    t.equal(await gateway.metric('gateway_requests_in_flight'), 0)
  })
})
