import type { Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { SWITCHED } from '../support/handshake.ts'
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

/** The two forms of a request: a plain one and a handshake. */
export const FORMS = ['request', 'upgrade'] as const

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
export async function startRange(t: Test, options: StageOptions = {}): Promise<Range> {
  // Files in `over-tls/` set it, and run the attacks of the file of their name once more.
  const overTls = process.env.ATTACK_TRANSPORT === 'tls'
  const certificate = overTls
    ? createAuthority(t, 'attacks').issue('app.example.com', ['DNS:app.example.com'])
    : null
  const stage = await startStage({ ...options, certificate, routes: [...ROUTES, ...(options.routes ?? [])] })
  t.teardown(() => stage.close())
  stage.upstream.respond(answerAll)
  let shots = 0

  async function fire(bytes: Buffer | string, how?: RawRequestOptions): Promise<Hit> {
    const before = stage.upstream.connections.map((each) => each.bytes().length)
    const exchange = await stage.ask(bytes, how)
    // A request that is answered shows that whatever came before it has arrived.
    const sentinel = `/public/sentinel-${++shots}`
    await stage.ask(`GET ${sentinel} HTTP/1.1\r\nHost: app.example.com\r\n\r\n`)
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
  return { ...stage, fire }
}

function codeOf(body: string): string | null {
  return body.startsWith('{') ? ((JSON.parse(body) as { code?: string }).code ?? null) : null
}

/** A request of the given form, with the fields inserted unchanged. */
export function shot(form: (typeof FORMS)[number], target: string, fields: readonly string[]): string {
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
