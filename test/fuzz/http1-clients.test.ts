import fc from 'fast-check'
import t from 'tap'
import { connectionBytes } from '../http1/hostile-bytes.ts'
import { type NodeMessage, NodeOracle } from '../http1/node-oracle.ts'
import { readRequests } from '../http1/support.ts'
import { ByteReader, CutShortError, type RawResponse, readResponse } from '../support/http-message.ts'
import { makeVisits, type Plan, startClientRig, type Visit } from './client-rig.ts'
import { MANNERS, type Seen } from './manners.ts'
import { batch, check, FUZZ_RUNS, type NodeRequests, requestsForNode } from './support.ts'

/** Connections that are under way at once. */
const WIDTH = 20

const oracle = new NodeOracle()

const plan: fc.Arbitrary<Plan> = fc.record({
  pieces: connectionBytes,
  manners: fc.array(fc.constantFrom(...MANNERS.slice(0, 5), ...MANNERS), { minLength: 1, maxLength: 4 }),
  ending: fc.constantFrom('ends', 'ends', 'waits', 'leaves'),
  leavesAfter: fc.nat({ max: 4 }),
})

/** What the gateway refuses though Node does not; the reasons of `http1/` begin so. */
const REFUSED_ON_TOP = [
  'a version other than HTTP/1.0 and HTTP/1.1',
  'several spaces in the request line',
  'Transfer-Encoding in HTTP/1.0',
  'a Transfer-Encoding other than chunked',
  'several Transfer-Encoding fields',
  // A tab behind the number, which the llhttp of undici does not take for white space there.
  'HPE_INVALID_CONTENT_LENGTH: Invalid character in Content-Length',
]

for (const [transport, share, part] of [
  ['tcp', 1, 0],
  ['tls', 10, 1],
] as const) {
  t.test(`over ${transport} a connection takes what Node takes, reads it alike, and ends`, async (t) => {
    const rig = await startClientRig(t, transport)
    const tally = { connections: 0, whole: 0, refused: 0, nodeAlone: 0 }
    const property = fc.asyncProperty(batch(plan, WIDTH), async (plans) => {
      for (const visit of await makeVisits(rig, plans)) {
        const forNode = requestsForNode(visit.plan.pieces)
        const theirs = await oracle.readRequests(forNode.pieces)
        try {
          judgeRequests(visit, theirs, forNode.isSame)
          await judgeAnswers(visit)
        } catch (error) {
          throw new Error(`${(error as Error).message}: ${describe(visit, theirs)}`, { cause: error })
        }
        tally.connections++
        tally.whole += visit.seen.filter(({ request }) => request.complete).length
        tally.refused += visit.unparsed.length
        if (isNodeAlone(visit, theirs)) tally.nodeAlone++
      }
    })
    await check(t, property, Math.ceil(FUZZ_RUNS / WIDTH / share), part)
    t.comment(JSON.stringify(tally))
    t.ok(tally.whole > tally.connections / 4, 'a fair share was whole')
    t.ok(tally.refused > tally.connections / 8, 'a fair share was refused')
  })
}

function judgeRequests(visit: Visit, theirs: readonly NodeMessage[], isSame: NodeRequests['isSame']): void {
  if (visit.faults.length > 0) throw new Error(visit.faults.join(', '))
  for (const seen of visit.seen) {
    if (seen.closed !== 1) throw new Error(`an exchange was closed ${seen.closed} times`)
    if (seen.tunnelled !== null) {
      judgeTunnel(visit, seen.tunnelled)
      return
    }
    judgeRequest(seen, theirs[seen.nth], isSame)
    // Node drops what came in one piece with a request whose Upgrade it does not take.
    if (seen.request.headers.upgrade !== undefined) return
  }
  if (isNodeAlone(visit, theirs)) judgeRefusal(visit)
}

function judgeRequest(seen: Seen, theirs: NodeMessage | undefined, isSame: NodeRequests['isSame']): void {
  const { request, body, bodyEnd } = seen
  if (theirs === undefined) throw new Error('Node refuses what was accepted')
  if (!isSame(`${request.method} ${request.target}`, theirs.line)) throw new Error('the request lines differ')
  if (theirs.version !== request.httpVersion) throw new Error('the versions differ')
  if (!isSame(JSON.stringify(request.rawHeaders), JSON.stringify(theirs.fields)))
    throw new Error('the fields differ')
  if (request.complete && !theirs.complete) throw new Error('Node does not take for complete what was')
  if (!isSame(body, bodyEnd === 'end' ? theirs.body : theirs.body.slice(0, body.length)))
    throw new Error('the bodies differ')
}

/** What went through the tunnel is what stood behind the handshake. */
function judgeTunnel(visit: Visit, tunnelled: string): void {
  const { rest } = readRequests(visit.plan.pieces, {
    decide: ({ fields }) => (fields.some((text) => text === 'websocket') ? 'upgrade' : 'read'),
  })
  if (!rest.startsWith(tunnelled)) throw new Error('the tunnel carried what it should not')
}

/** Whether Node has read more, of a connection that was neither left nor to be ended. */
function isNodeAlone({ plan, seen, unparsed }: Visit, theirs: readonly NodeMessage[]): boolean {
  if (plan.ending === 'leaves' || seen.some(({ response }) => !isKept(response))) return false
  if (seen.some(({ request }) => request.headers.upgrade !== undefined)) return false
  const whole = theirs.filter(({ complete }) => complete).length
  return whole > seen.length || (unparsed.length === 0 && whole > seen.filter(isWhole).length)
}

const isWhole = ({ request }: Seen) => request.complete
const isKept = (response: Seen['response']) =>
  response.writableFinished && (response as { readonly keepAlive?: boolean }).keepAlive === true

function judgeRefusal(visit: Visit): void {
  const { end } = readRequests(visit.plan.pieces)
  const reason = typeof end === 'object' ? end.reason : end
  if (!REFUSED_ON_TOP.some((each) => reason.startsWith(each)))
    throw new Error(`Node alone accepts: ${reason}`)
}

/** The client got the answers that were sent, in order, each whole or recognizably cut, and nothing else. */
async function judgeAnswers(visit: Visit): Promise<void> {
  const { left, seen, unparsed } = visit
  const { answers, wasCut } = await readAnswers(visit)
  const final = answers.filter(({ status }) => status === 101 || status >= 200)
  for (const [n, answer] of final.entries()) judgeAnswer(answer, seen[n], unparsed.length)
  if (final.length > seen.length + unparsed.length) throw new Error('more answers than requests')
  if (left) return
  const sent = seen.filter(
    ({ response, tunnelled }) => response.writableFinished || tunnelled !== null,
  ).length
  if (final.length < sent + unparsed.length) throw new Error(`${final.length} answers of ${sent} came`)
  if (wasCut && seen.every(({ response, tunnelled }) => response.writableFinished || tunnelled !== null))
    throw new Error('an answer was cut that was sent whole')
}

function judgeAnswer(answer: RawResponse, seen: Seen | undefined, unparsed: number): void {
  const { status, body, header } = answer
  if (seen === undefined) {
    if (unparsed !== 1 || ![400, 408, 431].includes(status)) throw new Error('an answer without a request')
    return
  }
  if (seen.tunnelled !== null) return
  // A client in Node does not see by which end of TLS it is cut.
  const endsOpen = header('content-length') === null && header('transfer-encoding') === null
  if (seen.sent === null && endsOpen && 'encrypted' in seen.request.socket) return
  if (seen.sent === null) throw new Error('an answer looks whole that is not')
  const expected = seen.request.method === 'HEAD' ? '' : seen.sent.body
  if (status !== seen.sent.status || body.toString('latin1') !== expected)
    throw new Error('another answer came')
  // The other way round it may be: trailers that say so come when the answer has begun.
  if (header('connection') === 'close' && isKept(seen.response))
    throw new Error('the connection goes on behind an answer that says it ends')
}

async function readAnswers({ got, left, reset, seen }: Visit) {
  const reader = new ByteReader()
  const answers: RawResponse[] = []
  let nth = 0
  // Who sends more to a connection that is closed behind its answer may see a reset behind that.
  const isCut = left || (reset && seen.at(-1)?.sent === null)
  reader.push(got)
  reader.finish(isCut ? new Error('reset') : null)
  try {
    for (;;) {
      const answer = await readResponse(reader, seen[nth]?.request.method ?? 'GET')
      if (answer === null) return { answers, wasCut: false }
      answers.push(answer)
      if (answer.status === 101) return { answers, wasCut: false }
      if (answer.status >= 200) nth++
    }
  } catch (error) {
    if (!(error instanceof CutShortError)) throw error
    return { answers, wasCut: true }
  }
}

function describe({ plan, seen, unparsed, got }: Visit, theirs: readonly NodeMessage[]): string {
  const text = (bytes: Buffer) => bytes.toString('latin1')
  return JSON.stringify({
    plan: { ...plan, pieces: plan.pieces.map(text) },
    seen: seen.map(({ request, response, arrival, onChange, ...rest }) => ({
      line: `${request.method} ${request.target}`,
      fields: request.rawHeaders,
      complete: request.complete,
      refusal: arrival.refusal,
      finished: response.writableFinished,
      kept: isKept(response),
      ...rest,
    })),
    unparsed: unparsed.map(({ code }) => code),
    got: text(got),
    theirs,
  }).slice(0, 6000)
}
