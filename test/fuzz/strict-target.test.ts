import { connect } from 'node:net'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { loggedTarget } from '../../gateway/telemetry/logging/masking.ts'
import { IDENTITY, ROUTES } from '../attacks/support.ts'
import { createAuthority } from '../support/certificates.ts'
import { END_STREAM, RST_STREAM, rawHttp2 } from '../support/http2-frames.ts'
import { until } from '../support/plain-gateway.ts'
import { type Stage, startStage } from '../support/stage.ts'
import { framesOf, type HostileStream, http2Volley } from './hostile-http2.ts'
import { GOOD_COOKIE, type Volley, volley } from './hostile-requests.ts'
import { type StrictTarget, startStrictTarget, type TargetRequest } from './strict-target.ts'
import { batch, check, FUZZ_RUNS } from './support.ts'

/** Clients that are under way at once. */
const WIDTH = 20

/** Inputs that leave the gateway waiting for more bytes should end soon. */
const LIMITS = { HEADERS_TIMEOUT_MS: '150', REQUEST_TIMEOUT_MS: '150', KEEP_ALIVE_TIMEOUT_MS: '150' }
const LATE_MS = 600

/** Of a stream that is answered when all before it has arrived. */
const LAST = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'app.example.com'],
  [':path', '/public/last'],
] as const

interface Client {
  readonly pieces: Volley
  /** Null: it stays until it has its answers. */
  readonly leavesAfterMs: number | null
}

const client: fc.Arbitrary<Client> = fc.record({
  pieces: volley,
  leavesAfterMs: fc.oneof(
    { weight: 4, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: fc.nat({ max: 8 }) },
  ),
})

interface Line {
  readonly requestId: string
  readonly method: string | null
  readonly path: string | null
  readonly target: string | null
  readonly status: number
  readonly code: string | null
  readonly userId: string | null
}

async function setUp(t: Test, isSecure: boolean) {
  const target = await startStrictTarget()
  t.teardown(() => target.close())
  const stage = await startStage({
    upstream: { targets: [target.url], retries: 0 },
    routes: ROUTES,
    env: isSecure ? { ...LIMITS, HEADERS_TIMEOUT_MS: '3000' } : LIMITS,
    certificate: isSecure ? createAuthority(t, 'a test').issue('app', ['DNS:app.example.com']) : null,
  })
  t.teardown(() => stage.close())
  return { stage, target }
}

/** Runs rounds of clients, and judges after each what the target has seen. */
async function fuzz<T>(
  t: Test,
  { stage, target }: { readonly stage: Stage; readonly target: StrictTarget },
  one: fc.Arbitrary<T>,
  {
    fire,
    runs,
    part,
  }: { readonly fire: (one: T) => Promise<void>; readonly runs: number; readonly part: number },
): Promise<void> {
  const tally = { clients: 0, seen: 0, refused: 0 }
  let rounds = 0
  const property = fc.asyncProperty(batch(one, WIDTH), async (all) => {
    const from = stage.gateway.lines.length
    await Promise.all(all.map(fire))
    const lines = await linesFrom(stage, from, ++rounds)
    // The last one is the round's own.
    const seen = target.take()
    try {
      judgeRound(stage, seen, lines)
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${JSON.stringify(all).slice(0, 4000)}`, {
        cause: error,
      })
    }
    tally.clients += all.length
    tally.seen += seen.length - 1
    tally.refused += lines.filter(({ status }) => status >= 400).length
  })
  const died = stage.gateway.exited.then((code) => {
    throw new Error(`the gateway ended with ${code}: ${stage.gateway.output().slice(-2000)}`)
  })
  await Promise.race([check(t, property, Math.ceil(runs / WIDTH), part), died])
  t.comment(JSON.stringify(tally))
  t.ok(tally.seen > tally.clients / 4, 'a fair share was let through')
  t.ok(tally.refused > tally.clients / 8, 'a fair share was refused')
}

/** The access lines of a round, once all of its exchanges have ended. */
async function linesFrom(stage: Stage, from: number, round: number): Promise<readonly Line[]> {
  await until(async () => (await stage.gateway.metric('gateway_requests_in_flight')) === 0)
  const path = `/public/round-${round}`
  const bytes = `GET ${path} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n\r\n`
  // A busy machine may be too slow for the limits.
  await until(async () => (await stage.ask(bytes)).responses.at(-1)?.status === 200)
  await stage.gateway.line((line) => line.path === path)
  return stage.gateway.lines.slice(from).filter(({ msg }) => msg === 'request') as unknown as Line[]
}

/** The target has seen what the access log has, as it has it, and no more than was authorised. */
function judgeRound(stage: Stage, seen: readonly TargetRequest[], lines: readonly Line[]): void {
  const byId = new Map(lines.map((line) => [line.requestId, line]))
  if (byId.size !== lines.length) throw new Error('one request has two lines')
  const ids = new Set<string>()
  for (const request of seen) {
    const [id = '', ...more] = valuesOf(request, 'x-request-id')
    if (more.length > 0 || ids.has(id)) throw new Error(`a request came twice: ${JSON.stringify(request)}`)
    ids.add(id)
    const problem = problemOf(stage, request, byId.get(id))
    if (problem !== null) throw new Error(`${problem}: ${JSON.stringify({ request, line: byId.get(id) })}`)
  }
  const answered = lines.filter(({ status, code }) => code === null && (status === 200 || status === 101))
  const unseen = answered.find(({ requestId }) => !ids.has(requestId))
  if (unseen !== undefined) throw new Error(`answered, but not by the target: ${JSON.stringify(unseen)}`)
  const forwarded = lines.filter(({ target }) => target !== null).length
  if (seen.length > forwarded) throw new Error(`${seen.length} requests were seen, ${forwarded} forwarded`)
}

function problemOf(stage: Stage, request: TargetRequest, line: Line | undefined): string | null {
  if (line === undefined) return 'the access log does not have it'
  if (line.target === null) return 'it was not to be forwarded'
  if (line.method !== request.method) return 'the methods differ'
  const origin = `${stage.scheme}://app.example.com`
  const path = line.path?.startsWith(origin) ? line.path.slice(origin.length) : line.path
  // A fragment is none of what a server gets (RFC 9110, section 7.1), and is not forwarded.
  if (path?.replace(/#.*$/, '') !== loggedTarget(request.target)) return 'the paths differ'
  const isGuarded = /^\/+(?:required|admin)(?:[/?]|$)/.test(request.target)
  if (isGuarded && line.userId !== 'alice') return 'it was not authorised'
  const identity = IDENTITY.flatMap((name) => valuesOf(request, name))
  const expected = line.userId === null ? [] : ['alice', 'acme', 's1', stage.tokenId]
  return JSON.stringify(identity) === JSON.stringify(expected) ? null : 'the identity is another one'
}

function valuesOf({ fields }: TargetRequest, name: string): string[] {
  return fields.filter(([each]) => each === name).map(([, value]) => value)
}

t.test('a strict target sees of clients of HTTP/1.1 what the access log has, and no more', async (t) => {
  const parts = await setUp(t, false)
  const { stage } = parts
  const fire = ({ pieces, leavesAfterMs }: Client) =>
    new Promise<void>((resolve) => {
      const socket = connect({ port: stage.port, host: '127.0.0.1', noDelay: true })
      const late = setTimeout(() => socket.destroy(), leavesAfterMs ?? LATE_MS)
      socket.on('error', () => {})
      socket.on('data', () => {})
      socket.once('close', () => {
        clearTimeout(late)
        resolve()
      })
      for (const piece of pieces)
        socket.write(piece.replaceAll(GOOD_COOKIE, `Cookie: ${stage.cookie}`), 'latin1')
    })
  await fuzz(t, parts, client, { fire, runs: FUZZ_RUNS, part: 0 })
})

t.test('a strict target sees of clients of HTTP/2 what the access log has, and no more', async (t) => {
  const parts = await setUp(t, true)
  const { stage } = parts
  const fire = async (streams: readonly HostileStream[]) => {
    // A busy machine may be too slow for a handshake.
    const client = await rawHttp2(stage.gateway.port).catch(() => null)
    if (client === null) return
    const late = setTimeout(() => client.socket.destroy(), LATE_MS)
    const last = { block: LAST, body: null, end: 'ends' } as const
    const all = [...streams, last]
    for (const [n, stream] of all.entries()) client.send(...framesOf(stream, 2 * n + 1, stage.cookie))
    const isDone = (stream: number) =>
      client.frames.some((frame) => {
        return frame.stream === stream && (frame.type === RST_STREAM || (frame.flags & END_STREAM) !== 0)
      })
    while (!client.socket.destroyed && !all.every(({ end }, n) => end === 'resets' || isDone(2 * n + 1)))
      await Promise.race([client.ended, new Promise((resolve) => setTimeout(resolve, 5))])
    clearTimeout(late)
    client.socket.destroy()
  }
  await fuzz(t, parts, http2Volley, { fire, runs: FUZZ_RUNS / 4, part: 1 })
})
