import fc from 'fast-check'
import t from 'tap'
import { clientHeaders } from '../../gateway/http/headers.ts'
import { handshakeBytes } from '../http1/hostile-bytes.ts'
import { type NodeHandshake, NodeOracle } from '../http1/node-oracle.ts'
import { WEBSOCKET_ACCEPT } from '../support/handshake.ts'
import {
  EARLY,
  type Handshake,
  type HandshakePlan,
  type HandshakeRig,
  startHandshakeRig,
} from './handshake-rig.ts'
import { judgeAnswer, judgeRefusal } from './judged-answers.ts'
import { batch, check, FUZZ_RUNS } from './support.ts'
import { ALL_LIMITS_MS } from './target-rig.ts'

/** Handshakes that are under way at once. */
const WIDTH = 20

const oracle = new NodeOracle()

const plan: fc.Arbitrary<HandshakePlan> = fc.record({
  pieces: handshakeBytes,
  ending: fc.constantFrom('ends', 'resets', 'stays'),
})

t.test('a connection is switched over where Node has it so, carries the same, and ends', async (t) => {
  const rig = await startHandshakeRig(t)
  const tally = { opened: 0, answered: 0, failed: 0, nodeAlone: 0 }
  const property = fc.asyncProperty(batch(plan, WIDTH), async (plans) => {
    for (const handshake of await attemptAll(rig, plans)) {
      const { pieces, ending } = handshake.plan
      const theirs = await oracle.readHandshake(pieces, ending === 'ends')
      try {
        judge(handshake, theirs)
      } catch (error) {
        throw new Error(`${(error as Error).message}: ${describe(handshake, theirs)}`, { cause: error })
      }
      if (handshake.opened) tally.opened++
      else if (handshake.outcome?.kind === 'answered') tally.answered++
      else tally.failed++
      if (theirs.switched !== null && !handshake.opened) tally.nodeAlone++
    }
  })
  await check(t, property, Math.ceil(FUZZ_RUNS / WIDTH))
  t.comment(JSON.stringify(tally))
  const all = tally.opened + tally.answered + tally.failed
  t.ok(tally.opened > all / 8, 'a fair share was switched over')
  t.ok(tally.failed > all / 8, 'a fair share has failed')
})

async function attemptAll(rig: HandshakeRig, plans: readonly HandshakePlan[]): Promise<readonly Handshake[]> {
  const all = await Promise.all(plans.map((plan) => rig.attempt(plan)))
  await rig.clock.advance(ALL_LIMITS_MS)
  await Promise.all(all.map((handshake) => handshake.leave()))
  return all
}

function judge(handshake: Handshake, { switched, answer }: NodeHandshake): void {
  const { client, got, heard, opened, outcome, plan } = handshake
  if (outcome === null) throw new Error('the handshake does not end')
  if (opened) {
    if (switched === null) throw new Error('Node does not switch over')
    if (outcome.kind !== 'closed') throw new Error(`a switched connection ends as ${outcome.kind}`)
    const end = got.indexOf('\r\n\r\n') + 4
    if (!got.startsWith('HTTP/1.1 101 ') || end < 4) throw new Error('the client was not told')
    // What is on its way when the target resets its connection may be lost.
    const rest = got.slice(end)
    if (plan.ending === 'resets' ? !switched.rest.startsWith(rest) : switched.rest !== rest)
      throw new Error('the tunnel carried something else')
    if (!heard.endsWith(`\r\n\r\n${EARLY}`) && plan.ending !== 'resets')
      throw new Error('early frames did not arrive')
    judgeFields(got.slice(0, end), switched.fields)
    return
  }
  if (got !== '') throw new Error('the client got bytes that no answer was')
  if (heard.includes(EARLY)) throw new Error('frames arrived before the switch')
  if (outcome.kind === 'answered') judgeAnswer('GET', client, answer)
  else if (outcome.kind !== 'failed') throw new Error(`the outcome is ${outcome.kind}`)
  else if (client.ended) throw new Error('an answer looks whole that failed')
  else if (answer?.complete) judgeRefusal(String(outcome.cause))
  else if (switched !== null) judgeRefusedSwitch(switched.fields, String(outcome.cause))
}

/** The client gets the fields that Node has read. */
function judgeFields(head: string, fields: readonly string[]): void {
  const lines = head.split('\r\n').slice(1, -2)
  const expected = [
    'Upgrade',
    'websocket',
    'Connection',
    'Upgrade',
    ...clientHeaders(fields, 'r1', null, false).fields,
  ]
  const pairs = lines.flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])
  if (JSON.stringify(pairs) !== JSON.stringify(expected)) throw new Error('the fields differ')
}

/** Node leaves it to its user whether a 101 is for this handshake (RFC 6455, section 4.1). */
function judgeRefusedSwitch(fields: readonly string[], cause: string): void {
  const all = (wanted: string) =>
    fields
      .filter((_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === wanted)
      .map((value) => value.toLowerCase())
  const upgrade = all('upgrade')
  const accept = fields.filter(
    (_, i) => i % 2 === 1 && fields[i - 1]!.toLowerCase() === 'sec-websocket-accept',
  )
  const isFor =
    upgrade.length === 1 &&
    upgrade[0] === 'websocket' &&
    accept.length === 1 &&
    accept[0] === WEBSOCKET_ACCEPT
  if (isFor) judgeRefusal(cause)
}

function describe({ plan, client, outcome, opened, got, heard }: Handshake, theirs: NodeHandshake): string {
  const { status, fields, body, ended } = client
  return JSON.stringify({
    plan: { ...plan, pieces: plan.pieces.map((piece) => piece.toString('latin1')) },
    outcome: outcome?.kind === 'failed' ? { ...outcome, cause: String(outcome.cause) } : outcome,
    client: { status, fields, body, ended },
    opened,
    got,
    heard,
    theirs,
  }).slice(0, 6000)
}
