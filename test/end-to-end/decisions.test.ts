import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { startGateway } from '../support/gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { insertToken, type NewToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/** The last request at the backend; null where none has arrived since this was read. */
let heard: Record<string, string | string[] | undefined> | null = null
const backend = createServer((req, res) => {
  heard = req.headers
  res.end('from the backend')
})
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const server = await startPostgres()
const databaseUrl = await server.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const gateway = await startGateway({
  databaseUrl,
  env: { TRUSTED_PROXIES: '127.0.0.1' },
  routing: {
    upstreams: { app: { targets: [target] } },
    routes: [
      { path: '/app', upstream: 'app' },
      { path: '/open', upstream: 'app', auth: 'none' },
      { path: '/-/open', upstream: 'app', auth: 'none' },
      { host: ['one.example', '*.two.example'], path: '/hosts', upstream: 'app', auth: 'none' },
      { path: '/maybe', upstream: 'app', auth: 'optional' },
      { path: '/maybe/ops', upstream: 'app', auth: 'optional', mandates: ['ops'] },
      { path: '/ops', upstream: 'app', mandates: ['ops', 'audit'] },
      { path: '/partner', upstream: 'app', allowedOrigins: ['https://partner.example'] },
      { path: '/page', upstream: 'app', loginRedirect: '/login?next={path}' },
      { path: '/read', upstream: 'app', methods: ['GET', 'HEAD'] },
      { path: '/small', upstream: 'app', maxBodyBytes: 10 },
    ],
  },
})
t.teardown(async () => {
  await gateway.stop()
  backend.closeAllConnections()
  backend.close()
  await sql.end({ timeout: 1 })
  await server.close()
})

async function session(row: NewToken = {}, claims: Record<string, unknown> = {}): Promise<string> {
  const { id } = await insertToken(sql, row)
  return `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600), ...claims } })}`
}

type Headers = Record<string, string>

function get(path: string, headers: Headers = {}, method = 'GET'): Promise<Answer> {
  heard = null
  return ask({ url: gateway.url + path, method, headers })
}

/** The answer is the gateway's own, of this code, as RFC 9457 and docs/forwarding.md describe it. */
function isProblem(t: Test, answer: Answer, status: number, code: string): void {
  t.equal(answer.status, status)
  t.equal(answer.headers['content-type'], 'application/problem+json')
  t.equal(answer.headers['cache-control'], 'no-store')
  const problem = JSON.parse(answer.body)
  t.match(problem, {
    type: `urn:poweron-gateway:${code}`,
    status,
    code,
    requestId: answer.headers['x-request-id'],
  })
  t.type(problem.title, 'string')
  const told = ['code', ...(status === 400 ? ['reason'] : []), 'requestId', 'status', 'title', 'type']
  t.same(Object.keys(problem).sort(), told.sort())
  if (status === 401) {
    t.equal(answer.headers['www-authenticate'], 'Cookie realm="gateway", cookie-name="auth_token"')
  }
  t.equal(heard, null, 'the backend hears nothing of it')
}

t.test('a good token is forwarded with the identity of its row', async (t) => {
  const answer = await get('/app', {
    cookie: await session({ userId: 'bob', mandateId: 'm1', sessionId: 'sess' }),
  })
  t.equal(answer.status, 200)
  t.match(heard, { 'x-user-id': 'bob', 'x-mandate-id': 'm1', 'x-session-id': 'sess', 'x-token-id': String })
  t.notOk(heard?.cookie, 'the token stays at the gateway')
})

t.test('a row without a mandate sends no mandate header', async (t) => {
  await get('/app', { cookie: await session({ mandateId: null }), 'x-mandate-id': 'ops' })
  t.equal(heard?.['x-user-id'], 'alice')
  t.notOk('x-mandate-id' in (heard ?? {}))
})

t.test('claims that are null or absent agree with any row', async (t) => {
  const cookie = await session({}, { userId: null, mandateId: null, sessionId: null })
  t.equal((await get('/app', { cookie })).status, 200)
})

t.test('no cookie: credentials_missing', async (t) =>
  isProblem(t, await get('/app'), 401, 'credentials_missing'),
)

t.test('an empty cookie counts as none: credentials_missing', async (t) => {
  isProblem(t, await get('/app', { cookie: 'auth_token=' }), 401, 'credentials_missing')
})

t.test('two different access cookies: credentials_ambiguous', async (t) => {
  const [a, b] = [await session(), await session()]
  isProblem(t, await get('/app', { cookie: `${a}; ${b}` }), 401, 'credentials_ambiguous')
})

t.test('two access cookies with equal values count as one', async (t) => {
  const cookie = await session()
  t.equal((await get('/app', { cookie: `${cookie}; x=1; ${cookie}` })).status, 200)
})

t.test('a cookie that holds no token: token_invalid', async (t) => {
  isProblem(t, await get('/app', { cookie: 'auth_token=abc' }), 401, 'token_invalid')
})

t.test('a token past its exp: token_expired', async (t) => {
  isProblem(t, await get('/app', { cookie: await session({}, { exp: inSeconds(-1) }) }), 401, 'token_expired')
})

t.test("a token whose row has expired by the database's clock: token_expired", async (t) => {
  const cookie = await session({ expiresAt: Date.now() - 1000 })
  isProblem(t, await get('/app', { cookie }), 401, 'token_expired')
})

t.test('a token without a row: token_unknown', async (t) => {
  const cookie = `auth_token=${await signToken({ claims: { jti: 'nowhere', exp: inSeconds(60) } })}`
  isProblem(t, await get('/app', { cookie }), 401, 'token_unknown')
})

t.test('a row that is not active: token_revoked', async (t) => {
  isProblem(t, await get('/app', { cookie: await session({ status: 'REVOKED' }) }), 401, 'token_revoked')
})

for (const claim of ['userId', 'mandateId', 'sessionId']) {
  t.test(`a good signature with a row that has another ${claim}: token_mismatch, counted`, async (t) => {
    const before = await gateway.metric('gateway_auth_decisions_total{decision="token_mismatch"}')
    isProblem(
      t,
      await get('/app', { cookie: await session({}, { [claim]: 'somebody else' }) }),
      401,
      'token_mismatch',
    )
    t.equal(await gateway.metric('gateway_auth_decisions_total{decision="token_mismatch"}'), before + 1)
  })
}

t.test('a token with a mandate whose row has none: token_mismatch', async (t) => {
  isProblem(
    t,
    await get('/app', { cookie: await session({ mandateId: null }, { mandateId: 'acme' }) }),
    401,
    'token_mismatch',
  )
})

t.test('a mandate that the route does not allow: mandate_forbidden', async (t) => {
  isProblem(t, await get('/ops', { cookie: await session({ mandateId: 'acme' }) }), 403, 'mandate_forbidden')
  isProblem(t, await get('/ops', { cookie: await session({ mandateId: null }) }), 403, 'mandate_forbidden')
  t.equal((await get('/ops', { cookie: await session({ mandateId: 'audit' }) })).status, 200)
})

t.test('an optional route with mandates refuses an anonymous request: mandate_forbidden', async (t) => {
  isProblem(t, await get('/maybe/ops'), 403, 'mandate_forbidden')
})

t.test('on an optional route a bad token counts as none, and no identity is sent', async (t) => {
  for (const cookie of ['a=1', 'auth_token=abc', await session({ status: 'REVOKED' })]) {
    t.equal((await get('/maybe', { cookie, 'x-user-id': 'admin' })).status, 200)
    t.notOk(heard?.['x-user-id'])
    t.notMatch(heard?.cookie ?? '', /auth_token/)
  }
  await get('/maybe', { cookie: await session({ userId: 'carol' }) })
  t.equal(heard?.['x-user-id'], 'carol')
})

t.test('a route without authentication makes no look-up and keeps the cookies', async (t) => {
  const lookups = await gateway.metric('gateway_token_lookups_total{result="active"}')
  const cookie = `${await session()}; a=1`
  t.equal((await get('/open', { cookie, 'x-user-id': 'admin' })).status, 200)
  t.equal(heard?.cookie, cookie)
  t.notOk(heard?.['x-user-id'])
  t.equal(await gateway.metric('gateway_token_lookups_total{result="active"}'), lookups)
})

t.test('a request without a matching route: route_not_found', async (t) =>
  isProblem(t, await get('/nowhere'), 404, 'route_not_found'),
)

t.test('a route for other methods: method_not_allowed, with Allow', async (t) => {
  const answer = await get('/read', {}, 'POST')
  isProblem(t, answer, 405, 'method_not_allowed')
  t.equal(answer.headers.allow, 'GET, HEAD')
})

t.test('TRACE: method_not_allowed, with Allow', async (t) => {
  const answer = await get('/open', {}, 'TRACE')
  isProblem(t, answer, 405, 'method_not_allowed')
  t.match(answer.headers.allow, /GET/)
})

t.test('an encoded slash behind which another route begins: bad_request, with the reason', async (t) => {
  const answer = await get('/app%2Fhunter2')
  isProblem(t, answer, 400, 'bad_request')
  const { reason } = JSON.parse(answer.body)
  t.equal(reason, 'the path has another route where an escaped slash is decoded')
  const requestId = answer.headers['x-request-id']
  t.match(await gateway.line((line) => line.requestId === requestId), { code: 'bad_request', reason })
})

for (const [path, reason] of [
  ['/app/..%2Fopen', 'the path holds a dot segment where an escaped slash is decoded'],
  ['/app;x', 'the path has another route without its parameters'],
  ['/app%5Cx', 'the path holds an escaped backslash or NUL'],
  ['/app%zz', 'the path holds a malformed escape'],
]) {
  t.test(`a 400 for ${path} says which rule it was`, async (t) => {
    t.equal(JSON.parse((await get(path!)).body).reason, reason)
  })
}

t.test('a route for a list of hosts is for each of them, and for no other', async (t) => {
  for (const [host, status] of [
    ['one.example', 200],
    ['a.two.example', 200],
    ['three.example', 404],
  ] as const) {
    t.equal((await get('/hosts', { host })).status, status, host)
  }
})

t.test('a path below the prefix of the own endpoints that is none of them is routed', async (t) => {
  t.equal((await get('/-/open/v1/search')).status, 200)
  t.ok(heard, 'the backend hears of it')
})

t.test("attack: no spelling of an own endpoint's path is forwarded to a backend", async (t) => {
  for (const path of [
    '/-%2Fsession',
    '/%2D/session',
    '/-//session',
    '/-/session;x',
    '/-/open%2F..%2Fsession',
  ]) {
    const answer = await get(path)
    t.ok(answer.status === 400 || answer.status === 401, `${path} ${answer.status}`)
    t.equal(heard, null, path)
  }
})

t.test('an expectation other than 100-continue: expectation_failed', async (t) => {
  isProblem(t, await get('/app', { expect: 'the-spanish-inquisition' }), 417, 'expectation_failed')
})

t.test("a body longer than the route's maxBodyBytes: body_too_large", async (t) => {
  const cookie = await session()
  heard = null
  isProblem(
    t,
    await ask({ url: `${gateway.url}/small`, method: 'POST', headers: { cookie }, body: 'x'.repeat(11) }),
    413,
    'body_too_large',
  )
  t.equal(
    (await ask({ url: `${gateway.url}/small`, method: 'POST', headers: { cookie }, body: 'x'.repeat(10) }))
      .status,
    200,
  )
})

const OWN = gateway.url
const host = new URL(OWN).host
for (const [name, method, headers, allowed] of [
  ['no Origin', 'POST', {}, true],
  ['its own Origin', 'POST', { origin: OWN }, true],
  ['its own Origin in other letters', 'POST', { origin: OWN.toUpperCase() }, true],
  ['a foreign Origin on GET', 'GET', { origin: 'https://evil.example' }, true],
  ['a foreign Origin on POST', 'POST', { origin: 'https://evil.example' }, false],
  ['a foreign Origin on DELETE', 'DELETE', { origin: 'https://evil.example' }, false],
  ['Origin: null', 'POST', { origin: 'null' }, false],
  ['its own host by another scheme', 'POST', { origin: OWN.replace('http:', 'https:') }, false],
  [
    'its own host by the scheme of a trusted proxy',
    'POST',
    { origin: `https://${host}`, 'x-forwarded-proto': 'https' },
    true,
  ],
  ['its own name with another port', 'POST', { origin: 'http://127.0.0.1:1' }, false],
  ['an Origin that begins like its own', 'POST', { origin: `${OWN}.evil.example` }, false],
] as [string, string, Headers, boolean][]) {
  t.test(`cross-site request forgery: ${name} ${allowed ? 'passes' : 'is origin_forbidden'}`, async (t) => {
    const answer = await get('/app', { cookie: await session(), ...headers }, method)
    if (allowed) t.equal(answer.status, 200)
    else isProblem(t, answer, 403, 'origin_forbidden')
  })
}

t.test('an allowed origin passes only on its route', async (t) => {
  const headers = { cookie: await session(), origin: 'https://partner.example' }
  t.equal((await get('/partner', headers, 'POST')).status, 200)
  isProblem(t, await get('/app', headers, 'POST'), 403, 'origin_forbidden')
})

t.test('the origin is checked after the token, and only where auth is required', async (t) => {
  const headers = { origin: 'https://evil.example' }
  isProblem(t, await get('/app', headers, 'POST'), 401, 'credentials_missing')
  t.equal((await get('/open', headers, 'POST')).status, 200)
  t.equal((await get('/maybe', headers, 'POST')).status, 200)
})

t.test('cross-site WebSocket hijacking: a handshake from a foreign origin is refused', async (t) => {
  const url = `${OWN.replace('http', 'ws')}/app`
  const socket = new WebSocket(url, { headers: { cookie: await session(), origin: 'https://evil.example' } })
  socket.on('error', () => {})
  const [, response] = await once(socket, 'unexpected-response')
  t.equal(response.statusCode, 403)
})

t.test('a navigation without a session is redirected to the login; other requests get 401', async (t) => {
  const html = { accept: 'text/html' }
  const answer = await get('/page/a%20b?c=d&e=%26', html)
  t.equal(answer.status, 303)
  t.equal(answer.headers.location, '/login?next=%2Fpage%2Fa%2520b%3Fc%3Dd%26e%3D%2526')
  t.equal(answer.headers['cache-control'], 'no-store')
  isProblem(t, await get('/page', { accept: 'application/json' }), 401, 'credentials_missing')
  isProblem(t, await get('/page', { ...html, 'sec-fetch-mode': 'cors' }), 401, 'credentials_missing')
  t.equal((await get('/page', html, 'POST')).status, 401, 'a form that is sent would be lost')
  t.equal((await get('/page', { 'sec-fetch-mode': 'navigate' })).status, 303)
  t.equal((await get('/page', { ...html, cookie: await session() })).status, 200)
})

t.test('open redirect: a path that looks like another host stays on this one', async (t) => {
  const answer = await get('//page/..evil'.replace('..', ''), { accept: 'text/html' })
  t.equal(answer.status, 303)
  t.equal(answer.headers.location, '/login?next=%2Fpage%2Fevil')
})

t.test('GET /-/session answers with the session, or with 401', async (t) => {
  const expiresAt = Date.now() + 60_000
  const cookie = await session({ userId: 'dora', mandateId: null, sessionId: 's9', expiresAt })
  const answer = await get('/-/session', { cookie })
  t.equal(answer.status, 200)
  t.same(JSON.parse(answer.body), {
    userId: 'dora',
    mandateId: null,
    sessionId: 's9',
    expiresAt: new Date(expiresAt).toISOString(),
  })
  isProblem(t, await get('/-/session'), 401, 'credentials_missing')
  const posted = await get('/-/session', {}, 'POST')
  isProblem(t, posted, 405, 'method_not_allowed')
  t.ok(posted.headers.allow)
  isProblem(t, await get('/-/nothing'), 404, 'route_not_found')
  isProblem(t, await get('/-/refresh', {}, 'POST'), 404, 'route_not_found')
})

t.test('liveness and readiness are answered without a token', async (t) => {
  t.equal((await get('/-/healthz')).status, 200)
  t.equal((await get('/-/readyz')).status, 200)
})

t.test('header injection by the table: a row that no header can carry is 503, not a refusal', async (t) => {
  for (const userId of ['a\r\nX-User-Id: admin', ' padded', '', 'tab\there']) {
    const answer = await get('/app', { cookie: await session({ userId }) })
    isProblem(t, answer, 503, 'token_store_unavailable')
    t.ok(answer.headers['retry-after'])
  }
  t.equal((await get('/app', { cookie: await session({ userId: 'Jürgen 😀' }) })).status, 200)
  t.equal(Buffer.from(String(heard?.['x-user-id']), 'latin1').toString(), 'Jürgen 😀')
})
