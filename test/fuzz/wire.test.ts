import { connect } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { answerAll, IDENTITY, ROUTES } from '../attacks/support.ts'
import { until } from '../support/plain-gateway.ts'
import { startStage } from '../support/stage.ts'
import { readWire, type StrictRequest, valuesOf } from '../support/strict-http.ts'
import { GOOD_COOKIE, type Volley, volley } from './hostile-requests.ts'
import { check, FUZZ_RUNS } from './support.ts'

/** Volleys that are under way at once. */
const WIDTH = 20

const stage = await startStage({
  upstream: { retries: 0 },
  routes: ROUTES,
  // Inputs that leave the parser waiting for more bytes should end soon.
  env: { HEADERS_TIMEOUT_MS: '150', REQUEST_TIMEOUT_MS: '150', KEEP_ALIVE_TIMEOUT_MS: '150' },
})
t.teardown(() => stage.close())
stage.upstream.respond(answerAll)

/** How far each connection to the backend has been read. */
const read: number[] = []
const tally = { sent: 0, arrived: 0, refused: 0, cut: 0, tunnels: 0 }
let runs = 0

/** Resolves when the connection ends, or after a while, since a tunnel does not end by itself. */
function fire(pieces: Volley): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port: stage.port, host: '127.0.0.1', noDelay: true })
    const late = setTimeout(() => socket.destroy(), 600)
    socket.on('error', () => {})
    socket.on('data', () => {})
    socket.once('close', () => {
      clearTimeout(late)
      resolve()
    })
    for (const piece of pieces) {
      socket.write(piece.replaceAll(GOOD_COOKIE, `Cookie: ${stage.cookie}`), 'latin1')
    }
  })
}

/** All requests that reached the backend since the last call. @throws WireError where the bytes are not requests */
function arrivals(): StrictRequest[] {
  const requests: StrictRequest[] = []
  stage.upstream.connections.forEach((connection, n) => {
    const bytes = connection.bytes()
    const wire = readWire(bytes.subarray(read[n] ?? 0))
    read[n] = bytes.length
    requests.push(...wire.requests)
    if (wire.cut) tally.cut++
    if (wire.tunnel !== null) {
      tally.tunnels++
      // The connection has become a tunnel and carries no more requests.
      read[n] = Number.POSITIVE_INFINITY
    }
  })
  return requests
}

async function settled(from: number): Promise<readonly Line[]> {
  await until(async () => (await stage.gateway.metric('gateway_requests_in_flight')) === 0)
  const path = `/public/sentinel-${++runs}`
  await stage.ask(`GET ${path} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n`)
  await stage.gateway.line((line) => line.path === path)
  return stage.gateway.lines.slice(from).filter(({ msg }) => msg === 'request') as unknown as Line[]
}

interface Line {
  readonly requestId: string
  readonly method: string
  readonly status: number
  readonly code: string | null
  readonly userId: string | null
  readonly upstream: string | null
  readonly route: string | null
}

/** A CGI backend reads all these names as the same one. */
const cgi = (name: string) => name.replace(/[^a-z0-9]/g, '_')
const PROTECTED = new Set(IDENTITY.map(cgi))

function judge(request: StrictRequest, line: Line | undefined): void {
  const say = (what: string) => new Error(`${what}: ${JSON.stringify({ request, line })}`)
  if (line === undefined) throw say('the backend got what the gateway did not count')
  if (line.method !== request.method) throw say('the methods differ')
  const given = request.fields.filter(([name]) => PROTECTED.has(cgi(name)))
  const expected = line.userId == null ? [] : ['alice', 'acme', 's1', stage.tokenId]
  if (JSON.stringify(given.map(([, value]) => value)) !== JSON.stringify(expected)) throw say('the identity')
  if (request.fields.some(([name]) => cgi(name).startsWith('x_gateway_'))) throw say('a reserved field')
  if (/^\/+(?:required|admin)(?:[/?]|$)/.test(request.target) && line.userId !== 'alice') throw say('let in')
  const token = valuesOf(request, 'cookie').some((value) => value.includes('auth_token'))
  if (token && HIDING.has(line.route ?? '')) throw say('the token went on')
}

/** Labels of the routes that keep the token from the backend. */
const HIDING = new Set(['/required', '/optional', '/admin'])

async function round(volleys: readonly Volley[]): Promise<void> {
  const from = stage.gateway.lines.length
  const counted = await upstreamRequests()
  await Promise.all(volleys.map(fire))
  const lines = await settled(from)
  const requests = arrivals()
  const byId = new Map(lines.map((line) => [line.requestId, line]))
  const seen = new Set<string>()
  for (const request of requests) {
    const ids = valuesOf(request, 'x-request-id')
    if (ids.length !== 1 || seen.has(ids[0]!))
      throw new Error(`a request came twice: ${JSON.stringify(request)}`)
    seen.add(ids[0]!)
    judge(request, byId.get(ids[0]!))
  }
  const answered = lines.filter(({ status, code }) => code == null && (status === 200 || status === 101))
  for (const line of answered) {
    if (!seen.has(line.requestId)) throw new Error(`counted, but not on the wire: ${JSON.stringify(line)}`)
  }
  const more = (await upstreamRequests()) - counted
  if (more < answered.length || more > lines.length)
    throw new Error(`${more} counted, ${answered.length} answered`)
  tally.sent += volleys.length
  tally.arrived += requests.length
  tally.refused += lines.filter(({ status }) => status >= 400).length
}

async function upstreamRequests(): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/metrics`)).text()
  let sum = 0
  for (const line of text.split('\n')) {
    if (line.startsWith('gateway_upstream_requests_total{')) sum += Number(line.slice(line.lastIndexOf(' ')))
  }
  return sum
}

t.test(
  'the backend gets exactly the requests that the gateway admitted, each with its own identity',
  async (t) => {
    const property = fc.asyncProperty(fc.array(volley, { minLength: WIDTH, maxLength: WIDTH }), round)
    const died = stage.gateway.exited.then((code) => {
      throw new Error(`the gateway ended with ${code}: ${stage.gateway.output().slice(-2000)}`)
    })
    await Promise.race([check(t, property, Math.ceil(FUZZ_RUNS / WIDTH)), died])
    t.comment(JSON.stringify(tally))
    t.ok(tally.arrived > tally.sent / 4, 'a fair share was let through')
    t.ok(tally.refused > tally.sent / 8, 'a fair share was refused')
  },
)
