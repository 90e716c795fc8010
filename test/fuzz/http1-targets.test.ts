import fc from 'fast-check'
import t from 'tap'
import { responseBytes } from '../http1/hostile-bytes.ts'
import { NodeOracle, type NodeResponse } from '../http1/node-oracle.ts'
import { readResponses } from '../http1/support.ts'
import type { TestClient } from '../support/target-client.ts'
import { judgeAnswer, judgeRefusal } from './judged-answers.ts'
import { turn } from './manners.ts'
import { batch, check, FUZZ_RUNS } from './support.ts'
import {
  ALL_LIMITS_MS,
  type AnswerPlan,
  type Attempted,
  startTargetRig,
  type TargetRig,
} from './target-rig.ts'

/** Exchanges that are under way at once. */
const WIDTH = 20

const oracle = new NodeOracle()

const plan: fc.Arbitrary<AnswerPlan> = fc.record({
  pieces: responseBytes,
  ending: fc.constantFrom('ends', 'ends', 'resets', 'stays', 'stays'),
  method: fc.constantFrom('GET', 'GET', 'HEAD', 'POST'),
  upload: fc.constantFrom('whole', 'held'),
  client: fc.constantFrom('takes', 'takes', 'takes', 'takes slowly', 'takes slowly', 'leaves'),
})

for (const [kind, share, part] of [
  ['tcp', 1, 0],
  ['tls', 10, 1],
] as const) {
  t.test(`over ${kind} an answer is whole where Node has it whole, is read alike, and ends`, async (t) => {
    const rig = await startTargetRig(t, kind)
    const tally = { answered: 0, reused: 0, failed: 0, gone: 0, nodeAlone: 0 }
    const property = fc.asyncProperty(batch(plan, WIDTH), async (plans) => {
      for (const attempted of await attemptAll(rig, plans)) {
        const { pieces, ending, method } = attempted.plan
        const theirs = await oracle.readResponse(method, pieces, ending === 'ends')
        try {
          judge(attempted, theirs)
        } catch (error) {
          throw new Error(`${(error as Error).message}: ${describe(attempted, theirs)}`, { cause: error })
        }
        const { outcome, reused } = attempted
        if (reused) tally.reused++
        if (outcome?.kind === 'answered') tally.answered++
        else if (outcome?.kind === 'client-gone') tally.gone++
        else tally.failed++
        if (outcome?.kind === 'failed' && theirs?.complete) tally.nodeAlone++
      }
    })
    await check(t, property, Math.ceil(FUZZ_RUNS / WIDTH / share), part)
    t.comment(JSON.stringify(tally))
    const all = tally.answered + tally.failed + tally.gone
    t.ok(tally.answered > all / 4, 'a fair share was answered')
    t.ok(tally.failed > all / 8, 'a fair share has failed')
  })
}

async function attemptAll(rig: TargetRig, plans: readonly AnswerPlan[]): Promise<readonly Attempted[]> {
  const all = await Promise.all(plans.map((plan) => rig.attempt(plan)))
  const ended = all.filter(({ outcome }) => outcome !== null)
  const problems = await Promise.all(ended.map((attempted) => attempted.askAgain()))
  for (const [n, problem] of problems.entries())
    if (problem !== null) throw new Error(`${problem}: ${describe(ended[n]!, null)}`)
  await rig.clock.advance(ALL_LIMITS_MS)
  for (let n = 0; n < 5; n++) await turn()
  return all
}

function judge({ plan, client, outcome, reused }: Attempted, theirs: NodeResponse | null): void {
  if (reused) judgeReuse(plan, client)
  if (outcome === null) throw new Error('the exchange does not end')
  if (outcome.kind === 'client-gone' && plan.client === 'leaves') return
  if (outcome.kind === 'answered') {
    judgeAnswer(plan.method, client, theirs)
    return
  }
  if (outcome.kind !== 'failed') throw new Error(`the outcome is ${outcome.kind}`)
  if (client.ended) throw new Error('an answer looks whole that failed')
  if (theirs === null) return
  if (theirs.complete) judgeRefusal(String(outcome.cause))
  if (!theirs.body.startsWith(client.body) && !client.body.startsWith(theirs.body))
    throw new Error('the bodies differ')
}

/** A connection goes on where nothing is left of request and answer, and neither ends it. */
function judgeReuse({ pieces, method }: AnswerPlan, { bodyRead }: TestClient): void {
  if (method === 'POST' && !bodyRead) throw new Error('another request came amid an upload')
  const decide = () => (method === 'HEAD' ? ('skip' as const) : ('read' as const))
  const { end, keepAlive, messages, rest } = readResponses(pieces, { decide })
  const answers = messages.filter(({ head }) => head.status >= 200).length
  if (answers !== 1 || rest !== '' || !keepAlive || typeof end === 'object')
    throw new Error('another request came on a connection that was not to be used again')
}

function describe({ plan, client, outcome }: Attempted, theirs: NodeResponse | null): string {
  const { status, reason, fields, body, trailers, informed, ended } = client
  return JSON.stringify({
    plan: { ...plan, pieces: plan.pieces.map((piece) => piece.toString('latin1')) },
    outcome: outcome?.kind === 'failed' ? { ...outcome, cause: String(outcome.cause) } : outcome,
    client: { status, reason, fields, body, trailers, informed, ended },
    theirs,
  }).slice(0, 6000)
}
