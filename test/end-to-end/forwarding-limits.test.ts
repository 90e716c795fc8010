import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

const stage = await startStage({
  routes: [{ path: '/small', auth: 'none', maxBodyBytes: 1000 }],
  env: { TRUSTED_PROXIES: '127.0.0.0/8' },
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

const EXPECT = ['Expect: 100-continue', 'Content-Length: 5']

/** The number of requests that have reached the backend. */
const heard = () => stage.upstream.requests.length

for (const path of ['/open', '/secure']) {
  t.test(
    `Expect: 100-continue on ${path}: 100 is sent, then the body is forwarded, then the answer comes`,
    async (t) => {
      const client = await openConnection(stage.port)
      client.write(request(`PUT ${path}`, [...EXPECT, `Cookie: ${stage.cookie}`]))
      t.equal((await client.response()).status, 100)
      client.write('hello')
      t.equal((await client.response()).status, 200)
      const got = stage.upstream.requests.at(-1)!
      t.equal(got.body.toString(), 'hello')
      t.equal(got.header('expect'), null)
      client.destroy()
    },
  )
}

t.test(
  'Expect: 100-continue without a token: 401 at once, no 100, and nothing reaches the backend',
  async (t) => {
    const before = heard()
    const { responses } = await stage.ask(request('PUT /secure', EXPECT))
    t.same(
      responses.map(({ status }) => status),
      [401],
    )
    t.equal(heard(), before)
  },
)

t.test('Expect: 100-continue with a body past the limit: 413, no 100', async (t) => {
  const { responses } = await stage.ask(
    request('PUT /small', ['Expect: 100-continue', 'Content-Length: 1001']),
  )
  t.same(
    responses.map(({ status }) => status),
    [413],
  )
})

t.test('an expectation other than 100-continue: 417 expectation_failed', async (t) => {
  const before = heard()
  const { responses } = await stage.ask(
    request('PUT /open', ['Expect: 200-maybe', 'Content-Length: 5'], 'hello'),
  )
  t.equal(responses[0]!.status, 417)
  t.equal(JSON.parse(responses[0]!.body.toString()).code, 'expectation_failed')
  t.equal(heard(), before)
})

t.test('a body of exactly maxBodyBytes passes', async (t) => {
  const { responses } = await stage.ask(request('POST /small', ['Content-Length: 1000'], 'a'.repeat(1000)))
  t.equal(responses[0]!.status, 200)
})

t.test(
  'a Content-Length past maxBodyBytes: 413 body_too_large, and nothing reaches the backend',
  async (t) => {
    const before = heard()
    const { responses } = await stage.ask(request('POST /small', ['Content-Length: 1001'], 'a'.repeat(1001)))
    t.equal(responses[0]!.status, 413)
    t.equal(JSON.parse(responses[0]!.body.toString()).code, 'body_too_large')
    t.equal(heard(), before)
  },
)

t.test(
  'chunks that add up to more than maxBodyBytes: 413, and the backend gets no whole request',
  async (t) => {
    const before = heard()
    const chunk = `1f4\r\n${'a'.repeat(500)}\r\n`
    const { responses } = await stage.ask(
      request('POST /small', ['Transfer-Encoding: chunked'], `${chunk}${chunk}1\r\na\r\n0\r\n\r\n`),
    )
    t.equal(responses[0]!.status, 413)
    t.equal(heard(), before)
  },
)

t.test('a client whose large upload is refused with 401 gets the answer', async (t) => {
  const client = await openConnection(stage.port)
  client.write(request('POST /secure', ['Content-Length: 10000000']))
  const block = Buffer.alloc(100_000, 'x')
  // Like a browser, the client reads the answer only after it has written everything.
  client.socket.pause()
  for (let i = 0; i < 8; i++) client.write(block)
  await new Promise<void>((resolve) => client.socket.write('x', () => resolve()))
  client.socket.resume()
  const answer = await client.response()
  t.equal(answer.status, 401)
  t.equal(answer.header('connection'), 'close')
  client.destroy()
})

t.test('request smuggling: the rest of a refused upload is not read as the next request', async (t) => {
  const before = heard()
  const smuggled = request('GET /smuggled')
  const { responses } = await stage.ask(
    request('POST /secure', [`Content-Length: ${smuggled.length + 10}`], smuggled),
    { until: 2, timeoutMs: 4000 },
  )
  t.same(
    responses.map(({ status }) => status),
    [401],
  )
  t.equal(heard(), before)
})

t.test('address, scheme, host and request id from a trusted proxy are used', async (t) => {
  const { responses } = await stage.ask(
    request('GET /trusted', [
      'X-Forwarded-For: 203.0.113.9, 127.0.0.5',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: public.example',
      'X-Request-Id: from-the-edge',
    ]),
  )
  const got = stage.upstream.requests.at(-1)!
  t.same(got.all('x-forwarded-for'), ['203.0.113.9, 127.0.0.5, 127.0.0.1'])
  t.same(got.all('x-forwarded-proto'), ['https'])
  t.same(got.all('x-forwarded-host'), ['public.example'])
  t.same(got.all('x-request-id'), ['from-the-edge'])
  t.equal(responses[0]!.header('x-request-id'), 'from-the-edge')
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.path === '/trusted')
  t.equal(line.clientAddress, '203.0.113.9')
})

t.test(
  'a request id that could forge a log line is replaced, even from a trusted proxy (CWE-117)',
  async (t) => {
    const { responses } = await stage.ask(request('GET /id', ['X-Request-Id: a","x":"b']))
    t.match(responses[0]!.header('x-request-id'), /^[0-9a-f-]{36}$/)
  },
)

t.test('an access line has every field that the manual lists', async (t) => {
  const { responses } = await stage.ask(
    request('POST /secure/line?a=1', [`Cookie: ${stage.cookie}`, 'Content-Length: 5'], 'hello'),
  )
  const id = responses[0]!.header('x-request-id')
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.requestId === id)
  t.match(line, {
    requestId: id,
    clientAddress: '127.0.0.1',
    method: 'POST',
    host: 'app.example.com',
    path: '/secure/line?a=1',
    route: '/secure',
    upstream: 'main',
    target: stage.upstream.url,
    status: 200,
    code: null,
    userId: 'alice',
    mandateId: 'acme',
    bytesIn: 5,
    bytesOut: 2,
    durationMs: Number,
    lookupMs: Number,
    upstreamMs: Number,
  })
})

t.test('the access log masks query values that look like tokens; no log holds token or cookie', async (t) => {
  const token = stage.cookie.slice('auth_token='.length)
  await stage.ask(
    request(`GET /secure/masked?token=s3cret&access_token=s3cret&x=${token}&page=2`, [
      `Cookie: ${stage.cookie}`,
    ]),
  )
  const line = await stage.gateway.line((each) => String(each.path).startsWith('/secure/masked'))
  t.equal(line.path, '/secure/masked?token=***&access_token=***&x=***&page=2')
  t.notOk(stage.gateway.output().includes('s3cret'))
  t.notOk(stage.gateway.output().includes(token))
  t.ok(stage.upstream.requests.at(-1)!.target.includes('token=s3cret'), 'the backend gets it unmasked')
})

t.test('requests, decisions, look-ups and upstream answers are counted', async (t) => {
  const series = [
    'gateway_requests_total{route="/secure",status="200"}',
    'gateway_requests_total{route="/secure",status="401"}',
    'gateway_auth_decisions_total{decision="authenticated"}',
    'gateway_auth_decisions_total{decision="credentials_missing"}',
    'gateway_auth_decisions_total{decision="anonymous"}',
    'gateway_token_lookups_total{result="active"}',
    'gateway_request_duration_seconds_count{route="/secure"}',
    `gateway_upstream_requests_total{upstream="main",target="${stage.upstream.url}",outcome="ok"}`,
    'gateway_upstream_request_duration_seconds_count{upstream="main"}',
  ]
  const read = () => Promise.all(series.map((each) => stage.gateway.metric(each)))
  const before = await read()
  await stage.ask(request('GET /secure', [`Cookie: ${stage.cookie}`]))
  await stage.ask(request('GET /secure'))
  await stage.ask(request('GET /open'))
  const after = await read()
  t.same(
    after.map((value, i) => value - before[i]!),
    [1, 1, 1, 1, 1, 1, 2, 2, 2],
  )
})

t.test(
  'a request that waits behind another one is not under way, and ends with its connection',
  async (t) => {
    const inFlight = () => stage.gateway.metric('gateway_requests_in_flight')
    const before = heard()
    stage.upstream.respond(() => {})
    const connection = await openConnection(stage.port)
    connection.write(request('GET /slow').toString() + request('GET /x', ['Expect: x']).toString())
    await until(() => heard() === before + 1)
    t.equal(await inFlight(), 1)
    connection.destroy()
    await until(async () => (await inFlight()) === 0)
    stage.upstream.respond(answerOk)
  },
)

t.test('gateway_requests_in_flight counts requests while they are under way', async (t) => {
  const gauge = () => stage.gateway.metric('gateway_requests_in_flight')
  const before = await gauge()
  let finish = () => {}
  const arrived = new Promise<void>((resolve) => {
    stage.upstream.respond((asked, socket) => {
      finish = () => answerOk(asked, socket)
      resolve()
    })
  })
  const answer = stage.ask(request('GET /held'))
  await arrived
  t.equal(await gauge(), before + 1)
  finish()
  await answer
  t.equal(await gauge(), before)
})
