import t, { type Test } from 'tap'
import { type Certificate, createAuthority } from '../support/certificates.ts'
import { SWITCHED } from '../support/handshake.ts'
import { startHttp2Asker } from '../support/http2-raw-request.ts'
import type { RawExchange, RawRequestOptions } from '../support/raw-http.ts'
import { type Stage, type StageOptions, startStage } from '../support/stage.ts'
import { readWire, type StrictRequest, valuesOf } from '../support/strict-http.ts'
import type { RecordedRequest, Respond } from '../support/upstream.ts'
import { answerOk } from '../support/upstream.ts'

export { valuesOf } from '../support/strict-http.ts'

/** One route for each value of `auth`, and a guarded route beside an open one. */
export const ROUTES = [
  { path: '/required' },
  { path: '/optional', auth: 'optional' },
  { path: '/anonymous', auth: 'none' },
  { path: '/admin' },
  { path: '/public', auth: 'none' },
]

export const AUTHS = ['required', 'optional', 'anonymous'] as const

/**
 * How the attacks of this process travel. Files in `over-tls/` and `over-http2/` set it, and run those of the file of their
 * name once more.
 */
export const TRANSPORT = (process.env.ATTACK_TRANSPORT ?? 'tcp') as Transport

export type Transport = 'tcp' | 'tls' | 'http2'

/** A plain request or a handshake, of which HTTP/2 has none here. */
export type Form = 'request' | 'upgrade'

export const FORMS: readonly Form[] = TRANSPORT === 'http2' ? ['request'] : ['request', 'upgrade']

/** An attack by what only HTTP/1.1 has: its bytes, its connections, its handshakes. */
export function testOverHttp1(title: string, attack: (t: Test) => Promise<void>): void {
  if (TRANSPORT !== 'http2') t.test(title, attack)
}

export const IDENTITY = ['x-user-id', 'x-mandate-id', 'x-session-id', 'x-token-id']

/** Answers a handshake with 101 and leaves the connection open, anything else with 200. */
export const answerAll: Respond = (request: RecordedRequest, socket) => {
  if (request.header('upgrade') === null) answerOk(request, socket)
  else socket.write(SWITCHED)
}

export interface Range extends Stage {
  /**
   * Sends bytes to the gateway and returns everything that reached the backend because of them, read from the recorded
   * bytes by the strict parser, whatever the answer was.
   */
  fire(bytes: Buffer | string, options?: RawRequestOptions): Promise<Hit>
  /** The same for what is sent in another way. */
  fireBy(send: () => Promise<RawExchange>): Promise<Hit>
}

export interface RangeOptions extends StageOptions {
  /** What `fire` and `ask` speak; that of the process where absent. */
  readonly transport?: Transport
}

export interface Hit extends RawExchange {
  /** The status of the first whole answer; 0 where none came. */
  readonly status: number
  /** Its `code`, where it is the gateway's own. */
  readonly code: string | null
  readonly arrived: readonly StrictRequest[]
  /** Bytes that went through tunnels. */
  readonly tunnelled: Buffer
}

/** A gateway for the attacks of one test, which is stopped when the test ends. */
export async function startRange(t: Test, options: RangeOptions = {}): Promise<Range> {
  const { transport = TRANSPORT } = options
  const certificate = certificateFor(t, transport)
  const stage = await startStage({ ...options, certificate, routes: [...ROUTES, ...(options.routes ?? [])] })
  t.teardown(() => stage.close())
  const ask = transport === 'http2' ? askerOverHttp2(t, stage.gateway.port) : stage.ask
  stage.upstream.respond(answerAll)
  let shots = 0

  async function fireBy(send: () => Promise<RawExchange>): Promise<Hit> {
    const before = stage.upstream.connections.map((each) => each.bytes().length)
    const exchange = await send()
    // A request that is answered shows that whatever came before it has arrived.
    const sentinel = `/public/sentinel-${++shots}`
    await ask(`GET ${sentinel} HTTP/1.1\r\nHost: app.example.com\r\n\r\n`)
    const arrived: StrictRequest[] = []
    const tunnels: Buffer[] = []
    stage.upstream.connections.forEach((connection, n) => {
      const wire = readWire(connection.bytes().subarray(before[n] ?? 0))
      arrived.push(...wire.requests.filter(({ target }) => target !== sentinel))
      if (wire.tunnel !== null) tunnels.push(wire.tunnel)
    })
    const final = exchange.responses.find(({ status }) => status >= 200 || status === 101)
    return {
      ...exchange,
      status: final?.status ?? 0,
      code: final === undefined ? null : codeOf(final.body.toString()),
      arrived,
      tunnelled: Buffer.concat(tunnels),
    }
  }
  return { ...stage, ask, fireBy, fire: (bytes, how) => fireBy(() => ask(bytes, how)) }
}

/** What the gateway needs for this transport; null for plain TCP. */
export function certificateFor(t: Test, transport = TRANSPORT): Certificate | null {
  if (transport === 'tcp') return null
  return createAuthority(t, 'attacks').issue('app.example.com', ['DNS:app.example.com'])
}

/** Sends requests, given as HTTP/1.1 has them, over HTTP/2 to a gateway's own port. */
export function askerOverHttp2(t: Test, port: number): Stage['ask'] {
  const { ask, close } = startHttp2Asker(port)
  t.teardown(close)
  return ask
}

/** Nothing arrives, and the client is told, by this answer or, where HTTP/2 calls it malformed, by a reset. */
export function expectMalformed(t: Test, hit: Hit, code: 'bad_request' | 'headers_too_large', what: string) {
  t.same(hit.arrived, [], what)
  if (hit.reset) return
  t.equal(hit.status, code === 'bad_request' ? 400 : 431, what)
  // Of what no client in Node would send, only the status is read.
  if (TRANSPORT !== 'http2' || hit.code !== null) t.equal(hit.code, code, what)
}

function codeOf(body: string): string | null {
  return body.startsWith('{') ? ((JSON.parse(body) as { code?: string }).code ?? null) : null
}

/** A request of the given form, with the fields inserted unchanged. */
export function shot(form: Form, target: string, fields: readonly string[]): string {
  const upgrade =
    form === 'upgrade'
      ? [
          'Connection: Upgrade',
          'Upgrade: websocket',
          'Sec-WebSocket-Version: 13',
          'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        ]
      : []
  return [`GET ${target} HTTP/1.1`, 'Host: app.example.com', ...upgrade, ...fields, '', ''].join('\r\n')
}

/** The identity headers that the gateway sends for alice; none on an anonymous route. */
export function expectedIdentity(stage: Stage, auth: (typeof AUTHS)[number]): Record<string, string[]> {
  if (auth === 'anonymous') return Object.fromEntries(IDENTITY.map((name) => [name, []]))
  const values = ['alice', 'acme', 's1', stage.tokenId]
  return Object.fromEntries(IDENTITY.map((name, n) => [name, [values[n]!]]))
}

export function identityOf(request: StrictRequest): Record<string, string[]> {
  return Object.fromEntries(IDENTITY.map((name) => [name, valuesOf(request, name)]))
}
