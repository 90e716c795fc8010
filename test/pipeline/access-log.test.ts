import t from 'tap'
import { loggedTarget, maskPath } from '../../gateway/telemetry/logging/masking.ts'
import { until } from '../support/plain-gateway.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

const stage = await startStage({ upstream: { retries: 1 } })
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

/** Sends a request, and returns its access line. */
async function lineOf(bytes: Buffer | string) {
  const { responses } = await stage.ask(bytes)
  const requestId = responses[0]?.header('x-request-id')
  return stage.gateway.line((each) => each.msg === 'request' && each.requestId === requestId)
}

/** The fields of an access line, with the types of their values. */
const FIELDS: Readonly<Record<string, unknown>> = {
  level: 'info',
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  requestId: /^[0-9a-f-]{36}$/,
  traceId: /^[0-9a-f]{32}$/,
  clientAddress: '127.0.0.1',
  method: 'POST',
  host: 'app.example.com',
  path: '/secure/reports?page=2&token=***&x=***',
  route: '/secure',
  upstream: 'main',
  target: stage.upstream.url,
  status: 200,
  code: null,
  retries: 0,
  userId: 'alice',
  mandateId: 'acme',
  bytesIn: 5,
  bytesOut: Number,
  durationMs: Number,
  lookupMs: Number,
  upstreamMs: Number,
  msg: 'request',
}

t.test('an access line has all fields, and masks values that look like secrets', async (t) => {
  const jwt = stage.cookie.slice('auth_token='.length)
  const line = await lineOf(
    request(
      `POST /secure/reports?page=2&token=hunter2&x=${jwt}`,
      [`Cookie: ${stage.cookie}`, 'Content-Length: 5', 'Origin: http://app.example.com'],
      'hello',
    ),
  )
  t.match(line, FIELDS)
  t.same(Object.keys(line).sort(), Object.keys(FIELDS).sort())
  const { durationMs, lookupMs, upstreamMs } = line as unknown as Record<string, number>
  t.ok(lookupMs! > 0 && upstreamMs! > 0 && durationMs! >= lookupMs! + upstreamMs! - 0.01)
})

t.test('whatever looks like a JWT is masked in any field, and nothing else is', async (t) => {
  for (const [path, masked] of [
    ['/a/eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJ4In0.c2ln/b', '/a/***/b'],
    ['/xeyJhbGciOiJIUzI1NiJ9.e30.c2ln', '/x***'],
    ['/eyJhbGciOiJI.e30?a=1', '/***?a=1'],
    ['/?a=eyJhbGciOiJIUzI1NiJ9.e30.c2ln&b=eyJhbGciOiJIUzI1NiJ9.e30.', '/?a=***&b=***'],
    ['/eyJhbGciOiJI.e30.c2ln.eyJhbGciOiJI.e30.c2ln.json', '/***.***.json'],
    ['/eyJshort.a/eyJhbGciOiJIUzI1NiJ9', '/eyJshort.a/eyJhbGciOiJIUzI1NiJ9'],
    ['/v1.2/file.tar.gz', '/v1.2/file.tar.gz'],
    ['/?author=a&authority=b&authorization=c&oauth=d', '/?author=a&authority=b&authorization=***&oauth=***'],
    ['/eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn/x', '/***/x'],
    ['/eyJhbGciOiJSU0EifQ.a2V5.aXY.Y2lwaGVy.dGFn', '/***'],
    ['/?x=eyJhbGciOiJIUzI1NiJ9%2EeyJqdGkiOiJ4In0%2Ec2ln', '/?x=***'],
    ['/a/eyJhbGciOiJIUzI1NiJ9%2ee30%2ec2ln/b', '/a/***/b'],
  ] as const) {
    t.equal(maskPath(path), masked)
  }
})

t.test('a secret in the return URL of a login is masked as in the URL itself', async (t) => {
  for (const [path, masked] of [
    ['/login?next=%2Fcb%3Faccess_token%3DOPAQUE%26x%3D1', '/login?next=%2Fcb%3Faccess_token%3D***%26x%3D1'],
    ['/login?next=/cb?code=OPAQUE', '/login?next=/cb?code=***'],
    [
      '/a?redirect_uri=https%3A%2F%2Fa.example%2F%3Fnext%3D%252Fb%253Fcode%253DOPAQUE',
      '/a?redirect_uri=https%3A%2F%2Fa.example%2F%3Fnext%3D%252Fb%253Fcode%253D***',
    ],
    ['/a?b=1;token=OPAQUE;c=2', '/a?b=1;token=***;c=2'],
    [
      '/a?SAMLResponse=OPAQUE&otp=1&bearer=x&next=%2Fb%3Fc%3Dd',
      '/a?SAMLResponse=***&otp=***&bearer=***&next=%2Fb%3Fc%3Dd',
    ],
    ['/a?b=%zz&c=%E2%82&d=1%2B1%3D2', '/a?b=%zz&c=%E2%82&d=1%2B1%3D2'],
    ['/a?next=%2Fcb%3Fname%3DJos%E9%26token%3DOPAQUE', '/a?next=%2Fcb%3Fname%3DJos%E9%26token%3D***'],
    ['/a?next=%2Fcb%3Fname%3DJos%C3%A9%26token%3DOPAQUE', '/a?next=%2Fcb%3Fname%3DJos%C3%A9%26token%3D***'],
  ] as const) {
    t.equal(maskPath(path), masked)
  }
})

t.test('attack: bytes of a query that control terminals (C1) are escaped in the log', async (t) => {
  t.equal(loggedTarget('/a?b=\x9b31m\xc3\xa9&token=x'), '/a?b=%9B31m%C3%A9&token=***')
})

t.test('attack: masking a path of many token beginnings takes linear time (ReDoS)', async (t) => {
  const began = performance.now()
  for (const path of [
    `/${'eyJ'.repeat(200_000)}`,
    `/?${'eyJ'.repeat(200_000)}`,
    `/${'eyJ.'.repeat(200_000)}`,
    `/?${'a=%3F&'.repeat(100_000)}`,
    `/?${'=%;'.repeat(200_000)}`,
    `/?${'&'.repeat(600_000)}`,
    `/?${'a=?'.repeat(200_000)}`,
    `/?a=${'%253F'.repeat(100_000)}`,
  ])
    t.equal(maskPath(path), path)
  t.ok(performance.now() - began < 5000, 'a part of a second; by squares it were minutes')
})

t.test('the access line of a refusal has its code, and no upstream', async (t) => {
  const line = await lineOf(request('GET /secure'))
  t.match(line, {
    status: 401,
    code: 'credentials_missing',
    route: '/secure',
    target: null,
    upstreamMs: null,
    userId: null,
    mandateId: null,
  })
})

t.test('the access line of a failed exchange has its code and the target', async (t) => {
  stage.upstream.respond((_req, socket) => socket.destroy())
  const line = await lineOf(request('GET /'))
  t.match(line, { status: 502, code: 'upstream_reset', upstream: 'main', target: stage.upstream.url })
  t.type(line.upstreamMs, 'number')
})

t.test('the access line of an unmatched request has no route', async (t) => {
  t.match(await lineOf(request('GET /a/../b')), {
    status: 400,
    code: 'bad_request',
    route: null,
    upstream: null,
  })
})

t.test(
  'bytes that are no request get an access line with the id of the answer, and are counted',
  async (t) => {
    const count = () => stage.gateway.metric('gateway_requests_total{route="none",status="400"}')
    const before = await count()
    const line = await lineOf('GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n')
    t.match(line, { status: 400, code: 'bad_request', clientAddress: '127.0.0.1', method: null, path: null })
    t.same(Object.keys(line).sort(), Object.keys(FIELDS).sort())
    t.equal(await count(), before + 1)
  },
)

t.test('a client that disconnects before its answer gets an access line with 499', async (t) => {
  stage.upstream.respond(() => {})
  const asked = stage.ask(request('GET /left'), { timeoutMs: 300 })
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.path === '/left')
  await asked
  t.match(line, { status: 499, code: null, route: '/' })
  await until(async () => (await stage.gateway.metric('gateway_requests_in_flight')) === 0)
})
