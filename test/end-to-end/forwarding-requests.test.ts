import { randomBytes } from 'node:crypto'
import t from 'tap'
import { request, startStage } from '../support/stage.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

const other = await startRecordingUpstream()
const stage = await startStage({
  upstreams: {
    target: { targets: [other.url], host: 'target' },
    literal: { targets: [other.url], host: 'inner.example' },
  },
  routes: [
    { path: '/strip', auth: 'none', stripPrefix: true },
    {
      path: '/edit',
      auth: 'none',
      requestHeaders: { set: { 'X-Set': 'by the route', 'X-Replaced': 'new' }, remove: ['X-Removed'] },
    },
    { path: '/target-host', auth: 'none', upstream: 'target' },
    { path: '/literal-host', auth: 'none', upstream: 'literal' },
  ],
})
t.teardown(async () => {
  await stage.close()
  await other.close()
})

/** Sends one request and returns what reached the backend. */
async function through(line: string, fields: readonly string[] = [], body: Buffer | string = '') {
  const { requests } = stage.upstream
  const before = requests.length
  const { responses, raw } = await stage.ask(request(line, fields, body))
  const got = requests[before]
  if (got === undefined) throw new Error(`the backend heard nothing: ${raw.toString('latin1')}`)
  return { status: responses.at(-1)?.status, got }
}

for (const target of [
  '/plain',
  '/a%20b%C3%A9%7E%41',
  '/a//b///c',
  '//a',
  '/p;v=1/q;w',
  "/!$&'()*+,;=:@-._~",
  '/?',
  '/x?a=b&a=c&&=&%zz&%00&/../..&"<>^`{|}',
  '/x?next=http://other.example/%2F..%2f\\',
]) {
  t.test(`the target ${JSON.stringify(target)} reaches the backend byte for byte`, async (t) => {
    const { status, got } = await through(`GET ${target}`)
    t.equal(status, 200)
    t.equal(got.target, target)
  })
}

for (const target of ['/caf\u00e9', '/\u00ff\u0080?q=1']) {
  t.test(`bytes above ASCII in a path are refused and not rewritten: ${target}`, async (t) => {
    const heard = stage.upstream.requests.length
    const { responses } = await stage.ask(request(`GET ${target}`))
    t.equal(responses[0]?.status, 400)
    t.equal(stage.upstream.requests.length, heard)
  })
}

for (const [target, expected] of [
  ['/strip/a%20b//c?x=%2F', '/a%20b//c?x=%2F'],
  ['/strip', '/'],
  ['/strip/', '/'],
  ['/strip?q', '/?q'],
  ['/%73trip/x', '/x'],
] as const) {
  t.test(`stripPrefix turns ${target} into ${expected}`, async (t) => {
    const { status, got } = await through(`GET ${target}`)
    t.equal(status, 200)
    t.equal(got.target, expected)
  })
}

const BODY = randomBytes(100_000)
for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS']) {
  t.test(`${method} with Content-Length passes its body byte for byte`, async (t) => {
    const { status, got } = await through(`${method} /body`, [`Content-Length: ${BODY.length}`], BODY)
    t.equal(status, 200)
    t.equal(got.method, method)
    t.ok(got.body.equals(BODY))
    t.same(got.all('content-length'), [String(BODY.length)])
    t.equal(got.header('transfer-encoding'), null)
  })

  t.test(`${method} in chunks passes its body byte for byte`, async (t) => {
    const chunks = Buffer.concat([
      Buffer.from('5;ext="1"\r\nfirst\r\n186a0\r\n'),
      BODY,
      Buffer.from('\r\n0\r\n\r\n'),
    ])
    const { status, got } = await through(`${method} /body`, ['Transfer-Encoding: chunked'], chunks)
    t.equal(status, 200)
    t.ok(got.body.equals(Buffer.concat([Buffer.from('first'), BODY])))
    t.same(got.all('transfer-encoding'), ['chunked'])
    t.equal(got.header('content-length'), null)
  })
}

for (const method of ['POST', 'PUT', 'PATCH']) {
  t.test(`${method} with an empty body is forwarded with Content-Length: 0`, async (t) => {
    const { got } = await through(`${method} /body`, ['Content-Length: 0'])
    t.equal(got.header('content-length'), '0')
    t.equal(got.body.length, 0)
  })
}

t.test('GET and DELETE without a body are forwarded without one', async (t) => {
  for (const method of ['GET', 'DELETE']) {
    const { got } = await through(`${method} /none`)
    t.equal(got.header('content-length'), null)
    t.equal(got.header('transfer-encoding'), null)
  }
})

t.test('header fields keep their order, spelling, values and duplicates', async (t) => {
  const fields = [
    'aCCept: */*',
    'X-Twice: 1',
    'x-other: a,b ;c="d"',
    'X-TWICE: 2',
    'X-Latin: \u00e9\u00ff',
    'X-Empty:',
  ]
  const { got } = await through('GET /fields', fields)
  const names = ['accept', 'x-twice', 'x-other', 'x-latin', 'x-empty']
  const passed = got.headers.filter(([name]) => names.includes(name.toLowerCase()))
  t.same(passed, [
    ['aCCept', '*/*'],
    ['X-Twice', '1'],
    ['x-other', 'a,b ;c="d"'],
    ['X-TWICE', '2'],
    ['X-Latin', '\u00e9\u00ff'],
    ['X-Empty', ''],
  ])
})

t.test('only the documented fields are added', async (t) => {
  const { got } = await through('GET /bare')
  const added = got.headers.map(([name]) => name.toLowerCase()).filter((name) => name !== 'connection')
  t.same(added.sort(), [
    'host',
    'traceparent',
    'x-forwarded-for',
    'x-forwarded-host',
    'x-forwarded-proto',
    'x-request-id',
  ])
})

t.test('hop-by-hop fields and those that Connection names are removed', async (t) => {
  const { got } = await through('GET /hop', [
    'Connection: keep-alive, X-Named, Cookie, Host',
    'Keep-Alive: timeout=9',
    'Proxy-Connection: keep-alive',
    'Proxy-Authorization: Basic x',
    'TE: trailers',
    'Trailer: X-T',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAAQAAP__',
    'X-Named: 1',
    'X-Kept: 1',
    'Cookie: theme=dark',
  ])
  for (const name of [
    'keep-alive',
    'proxy-connection',
    'proxy-authorization',
    'te',
    'trailer',
    'upgrade',
    'http2-settings',
    'x-named',
  ]) {
    t.equal(got.header(name), null, name)
  }
  t.equal(got.header('x-kept'), '1')
  t.equal(got.header('cookie'), 'theme=dark', 'Connection cannot remove Cookie (hop-by-hop abuse)')
  t.equal(got.header('host'), 'app.example.com')
})

t.test('Connection cannot remove the identity (CVE-2024-45410)', async (t) => {
  const { got } = await through('GET /secure', [
    `Cookie: ${stage.cookie}`,
    'Connection: X-User-Id, x-forwarded-for',
  ])
  t.equal(got.header('x-user-id'), 'alice')
  t.equal(got.header('x-forwarded-for'), '127.0.0.1')
})

t.test("an authenticated request carries the row's identity and no token cookie", async (t) => {
  const { status, got } = await through('GET /secure', [`Cookie: a=1; ${stage.cookie}; refresh_token=r; b=2`])
  t.equal(status, 200)
  t.same(
    ['x-user-id', 'x-mandate-id', 'x-session-id', 'x-token-id'].map((name) => got.all(name)),
    [['alice'], ['acme'], ['s1'], [stage.tokenId]],
  )
  t.equal(got.header('cookie'), 'a=1; b=2')
})

t.test('a spoofed identity in trailers of a request is never forwarded as a field', async (t) => {
  const body = '3\r\nabc\r\n0\r\nX-User-Id: admin\r\nX-Request-Id: mine\r\n\r\n'
  const { status, got } = await through(
    'POST /secure',
    [`Cookie: ${stage.cookie}`, 'Transfer-Encoding: chunked', 'Trailer: X-User-Id'],
    body,
  )
  t.equal(status, 200)
  t.same(got.all('x-user-id'), ['alice'])
  t.same(
    got.trailers.filter(([name]) => name.toLowerCase() === 'x-user-id'),
    [],
  )
})

t.test("Host is the client's by default, unchanged", async (t) => {
  const { responses } = await stage.ask('GET /h HTTP/1.1\r\nHost: App.Example.COM:8080\r\n\r\n')
  t.equal(responses[0]?.status, 200)
  const got = stage.upstream.requests.at(-1)!
  t.same(got.all('host'), ['App.Example.COM:8080'])
  t.equal(got.header('x-forwarded-host'), 'App.Example.COM:8080')
})

t.test("Host is the target's where host is target", async (t) => {
  await stage.ask(request('GET /target-host'))
  t.same(other.requests.at(-1)?.all('host'), [`127.0.0.1:${other.port}`])
})

t.test('Host is the literal value where host is one', async (t) => {
  await stage.ask(request('GET /literal-host'))
  const got = other.requests.at(-1)!
  t.same(got.all('host'), ['inner.example'])
  t.equal(got.header('x-forwarded-host'), 'app.example.com')
})

t.test('requestHeaders of the route set, replace and remove', async (t) => {
  const { got } = await through('GET /edit', [
    'X-Replaced: old',
    'x-replaced: older',
    'X-Removed: 1',
    'X-Kept: 1',
  ])
  t.same(got.all('x-set'), ['by the route'])
  t.same(got.all('x-replaced'), ['new'])
  t.same(got.all('x-removed'), [])
  t.same(got.all('x-kept'), ['1'])
})

t.test("without TRUSTED_PROXIES a client's forwarding fields are removed", async (t) => {
  const { got } = await through('GET /f', [
    'X-Forwarded-For: 203.0.113.9',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Host: evil.example',
    'X_Forwarded_For: 203.0.113.9',
    'X-Forwarded-Prefix: /x',
    'Forwarded: for=203.0.113.9',
    'X-Real-IP: 203.0.113.9',
    'X-Request-Id: chosen',
  ])
  t.same(got.all('x-forwarded-for'), ['127.0.0.1'])
  t.same(got.all('x-forwarded-proto'), ['http'])
  t.same(got.all('x-forwarded-host'), ['app.example.com'])
  for (const name of ['x_forwarded_for', 'x-forwarded-prefix', 'forwarded', 'x-real-ip'])
    t.same(got.all(name), [], name)
  t.not(got.header('x-request-id'), 'chosen')
})

t.test('the request and its answer carry the same request id', async (t) => {
  const { responses } = await stage.ask(request('GET /id'))
  const got = stage.upstream.requests.at(-1)!
  t.same(responses[0]?.all('x-request-id'), got.all('x-request-id'))
  t.match(got.header('x-request-id'), /^[0-9a-f-]{36}$/)
})

t.test("the gateway's own refusals carry the same request id in header and body", async (t) => {
  const { responses } = await stage.ask(request('GET /secure'))
  t.equal(responses[0]?.status, 401)
  t.equal(JSON.parse(responses[0]!.body.toString()).requestId, responses[0]!.header('x-request-id'))
})

t.test('traceparent passes', async (t) => {
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const { got } = await through('GET /trace', [`traceparent: ${trace}`])
  t.equal(got.header('traceparent'), trace)
})
