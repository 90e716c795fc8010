import fc from 'fast-check'
import t from 'tap'
import type { RequestHead, ResponseHead } from '../../gateway/http1/heads.ts'
import { requestBytes, responseBytes } from '../http1/hostile-bytes.ts'
import { type NodeMessage, NodeOracle } from '../http1/node-oracle.ts'
import { type ReadMessage, readRequests, readResponses } from '../http1/support.ts'
import { check, FUZZ_RUNS, requestsForNode } from './support.ts'

const RUNS = FUZZ_RUNS * 4

const oracle = new NodeOracle()
const tally = { accepted: 0, refused: 0, nodeAlone: 0 }

interface Reading {
  readonly ours: ReadMessage<RequestHead | ResponseHead>
  /** What stands in the first line, beside the version. */
  readonly line: string
  readonly theirs: NodeMessage | null | undefined
  /** Node's client gets trailers, and its server none. */
  readonly trailers: boolean
}

function expectAlike(
  { ours, line, theirs, trailers }: Reading,
  isSame: (ours: string, theirs: string) => boolean,
) {
  const fault = (what: string) => new Error(`${what}: ${JSON.stringify({ ours, theirs }).slice(0, 4000)}`)
  if (theirs == null) throw fault('Node refuses what was accepted')
  if (!theirs.complete) throw fault('Node does not take for complete what was')
  if (!isSame(line, theirs.line)) throw fault('the first lines differ')
  if (theirs.version !== `1.${ours.head.minor}`) throw fault('the versions differ')
  if (!isSame(JSON.stringify(ours.head.fields), JSON.stringify(theirs.fields)))
    throw fault('the fields differ')
  if (!isSame(ours.body, theirs.body)) throw fault('the bodies differ')
  if (trailers && JSON.stringify(theirs.trailers) !== JSON.stringify(ours.trailers))
    throw fault('the trailers differ')
}

t.test('no request is accepted that Node refuses, and each is read as Node reads it', async (t) => {
  const property = fc.asyncProperty(requestBytes, async (pieces) => {
    const { messages, end } = readRequests(pieces)
    const forNode = requestsForNode(pieces)
    const theirs = await oracle.readRequests(forNode.pieces)
    const complete = messages.filter(({ trailers }) => trailers !== null)
    for (const [i, message] of complete.entries()) {
      const line = `${message.head.method} ${message.head.target}`
      expectAlike({ ours: message, line, theirs: theirs[i], trailers: false }, forNode.isSame)
      // Node drops what came in one piece with a request whose Upgrade it does not take.
      if (message.head.fields.some((text) => text.toLowerCase() === 'upgrade')) break
    }
    tally.accepted += complete.length
    if (typeof end === 'object') tally.refused++
    if (theirs.filter((one) => one.complete).length > complete.length) tally.nodeAlone++
  })
  await check(t, property, RUNS)
  t.comment(JSON.stringify(tally))
  t.ok(tally.accepted > RUNS / 4, 'a fair share was accepted')
  t.ok(tally.refused > RUNS / 8, 'a fair share was refused')
})

t.test('no response is whole that is none to Node, and each is read as Node reads it', async (t) => {
  const found = { complete: 0, refused: 0 }
  const property = fc.asyncProperty(fc.constantFrom('GET', 'HEAD'), responseBytes, async (method, pieces) => {
    const decide = () => (method === 'HEAD' ? ('skip' as const) : ('read' as const))
    const { messages, end } = readResponses(pieces, { decide })
    if (typeof end === 'object') found.refused++
    const index = messages.findIndex(({ head }) => head.status >= 200)
    const ours = messages[index]
    if (ours === undefined || ours.trailers === null) return
    found.complete++
    const { status, reason } = ours.head
    const theirs = await oracle.readResponse(method, pieces)
    expectAlike({ ours, line: `${status} ${reason}`, theirs, trailers: true }, Object.is)
  })
  await check(t, property, RUNS, 1)
  t.comment(JSON.stringify(found))
  t.ok(found.complete > RUNS / 4, 'a fair share was whole')
  t.ok(found.refused > RUNS / 8, 'a fair share was refused')
})
