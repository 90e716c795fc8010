import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { request, startStage } from '../support/stage.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const GOOD = `00-${TRACE}-00f067aa0ba902b7-01`
const NEW_TRACEPARENT = /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/

const stage = await startStage({
  routes: [{ path: '/plain', auth: 'none', requestHeaders: { remove: ['traceparent'] } }],
})
t.teardown(() => stage.close())

/** What the upstream received, and the access line of the exchange. */
async function send(fields: readonly string[], line = 'GET /') {
  const { responses } = await stage.ask(request(line, fields))
  const requestId = responses[0]?.header('x-request-id')
  const access = await stage.gateway.line((each) => each.msg === 'request' && each.requestId === requestId)
  return { got: stage.upstream.requests.at(-1)!, access, status: responses[0]?.status }
}

t.test('a valid traceparent and its tracestate pass unchanged, including spelling and order', async (t) => {
  const { got, access } = await send([
    `TraceParent: ${GOOD}`,
    'tracestate: a=1',
    'X-Mine: 1',
    'TraceState: b=2',
  ])
  const sent = got.headers.filter(([name]) => /^(trace|x-mine)/i.test(name))
  t.same(sent, [
    ['TraceParent', GOOD],
    ['tracestate', 'a=1'],
    ['X-Mine', '1'],
    ['TraceState', 'b=2'],
  ])
  t.equal(access.traceId, TRACE)
})

t.test('a request without a traceparent goes upstream with the trace id of its access line', async (t) => {
  const { got, access } = await send([])
  t.match(got.header('traceparent'), NEW_TRACEPARENT)
  t.equal(got.all('traceparent').length, 1)
  t.equal(access.traceId, got.header('traceparent')?.slice(3, 35))
})

for (const [what, fields] of [
  ['version ff', [`traceparent: ff-${TRACE}-00f067aa0ba902b7-01`]],
  ['ids of zeros', [`traceparent: 00-${'0'.repeat(32)}-${'0'.repeat(16)}-01`]],
  ['upper case', [`traceparent: ${GOOD.toUpperCase()}`]],
  ['a wrong length', [`traceparent: ${GOOD}0`]],
  ['the field twice', [`traceparent: ${GOOD}`, `Traceparent: ${GOOD}`]],
  ['another field smuggled in behind it', [`traceparent: ${GOOD}, x-user-id=admin`]],
] as const) {
  t.test(`an invalid traceparent (${what}) does not pass, nor does its tracestate`, async (t) => {
    const { got, access } = await send([...fields, 'tracestate: a=1'])
    t.equal(got.all('traceparent').length, 1)
    t.match(got.header('traceparent'), NEW_TRACEPARENT)
    t.not(got.header('traceparent')?.slice(3, 35), TRACE)
    t.equal(got.header('tracestate'), null)
    t.equal(access.traceId, got.header('traceparent')?.slice(3, 35))
  })
}

t.test('a tracestate without a traceparent does not pass', async (t) => {
  const { got } = await send(['tracestate: a=1'])
  t.equal(got.header('tracestate'), null)
})

t.test(
  'the access line of a refused request has the trace id of its traceparent, or a new one',
  async (t) => {
    const refused = await send([], 'GET /secure')
    t.equal(refused.status, 401)
    t.match(refused.access.traceId, /^[0-9a-f]{32}$/)
    const known = await send([`traceparent: ${GOOD}`], 'GET /secure')
    t.equal(known.access.traceId, TRACE)
  },
)

t.test('a route that removes traceparent also removes the one that the gateway would add', async (t) => {
  const { got } = await send([], 'GET /plain')
  t.equal(got.header('traceparent'), null)
})

t.test('a WebSocket handshake goes upstream with its own traceparent, or with a new one', async (t) => {
  const fields = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  const before = stage.upstream.requests.length
  await stage.ask(request('GET /', [...fields, key]))
  await until(() => stage.upstream.requests.length > before)
  t.match(stage.upstream.requests.at(-1)?.header('traceparent'), NEW_TRACEPARENT)
  await stage.ask(request('GET /', [...fields, key, `traceparent: ${GOOD}`]))
  t.equal(stage.upstream.requests.at(-1)?.header('traceparent'), GOOD)
})
