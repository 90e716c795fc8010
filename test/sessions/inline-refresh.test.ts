import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const NAVIGATION = {
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
  'sec-fetch-site': 'same-origin',
  'sec-fetch-user': '?1',
  accept: 'text/html,application/xhtml+xml,*/*;q=0.8',
}

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 4, onnotice: () => {} })
const backend = createServer((req, res) => {
  if (req.url === '/missing') res.statusCode = 404
  if (req.url === '/logs-in') res.setHeader('Set-Cookie', ['auth_token=its-own; Path=/', 'theme=dark'])
  res.setHeader('Cache-Control', 'public, max-age=600')
  res.setHeader('Expires', 'Wed, 21 Oct 2099 07:28:00 GMT')
  res.end(JSON.stringify({ headers: req.headers }))
})
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const routing = {
  upstreams: { app: { targets: [target] }, gone: { targets: ['http://127.0.0.1:1'] } },
  routes: [
    { path: '/', upstream: 'app', refresh: 'auto' },
    { path: '/plain', upstream: 'app' },
    { path: '/pages', upstream: 'app', refresh: 'auto', loginRedirect: '/login?next={path}' },
    { path: '/tenants', upstream: 'app', refresh: 'auto', mandates: ['another'] },
    { path: '/gone', upstream: 'gone', refresh: 'auto' },
    { path: '/open', upstream: 'app', refresh: 'auto', auth: 'optional' },
    {
      path: '/edited',
      upstream: 'app',
      refresh: 'auto',
      responseHeaders: { set: { 'Cache-Control': 'public' }, remove: ['Set-Cookie'] },
    },
  ],
}
const start = (env: Record<string, string> = {}) =>
  startGateway({ databaseUrl, routing, env: { SESSION_ENDPOINTS: 'on', ...env } })
const gateways = await Promise.all([start(), start()])
const gateway: TestGateway = gateways[0]!
t.teardown(async () => {
  await Promise.all(gateways.map((each) => each.stop()))
  backend.closeAllConnections()
  backend.close()
  await sql.end({ timeout: 1 })
  await pg.close()
})

type Expiry = 'token' | 'row' | 'none'

/** A session whose access token has expired, by its own word or the row's, or has not. */
async function newSession(expired: Expiry = 'token', userId = 'alice') {
  const sessionId = randomUUID()
  const access = await insertToken(sql, {
    sessionId,
    userId,
    ...(expired === 'none' ? {} : { expiresAt: Date.now() - 60_000 }),
  })
  const refresh = await insertToken(sql, { sessionId, userId })
  const claims = { userId, mandateId: 'acme', sessionId }
  const [accessToken, refreshToken] = await Promise.all([
    signToken({ claims: { ...claims, jti: access.id, exp: inSeconds(expired === 'token' ? -60 : 3600) } }),
    signToken({ claims: { ...claims, jti: refresh.id, type: 'refresh', exp: inSeconds(3600) } }),
  ])
  const refreshCookie = `refresh_token=${refreshToken}`
  const cookie = `auth_token=${accessToken}; ${refreshCookie}`
  return { sessionId, access, refresh, accessToken, refreshToken, refreshCookie, cookie }
}

type Headers = Readonly<Record<string, string>>

const visit = (path: string, cookie: string, headers: Headers = NAVIGATION, instance = gateway) =>
  ask({ url: instance.url + path, headers: { cookie, ...headers } })
const setCookies = ({ headers }: Answer) => headers['set-cookie'] ?? []
/** Of the page that a browser gets. */
const codeOf = ({ body }: Answer) => /<dt>Code<\/dt><dd>(\w+)<\/dd>/.exec(body)?.[1]
const activeIds = async (sessionId: string) =>
  (await sql`select id from "Token" where "sessionId" = ${sessionId} and status = 'ACTIVE'`).map(
    ({ id }) => id,
  )

/** The answer is the refusal alone, and the refresh token was not touched. */
async function isNotRefreshed(
  t: Test,
  answer: Answer,
  { refresh, sessionId }: { refresh: { id: string }; sessionId: string },
) {
  t.equal(answer.status, 401)
  t.same(setCookies(answer), [])
  t.ok((await activeIds(sessionId)).includes(refresh.id), 'the refresh token is as it was')
}

for (const [what, expired] of [
  ['has expired by its own word', 'token'],
  ['has expired by its row', 'row'],
] as const) {
  t.test(`a navigation whose access token ${what} is forwarded with new cookies`, async (t) => {
    const session = await newSession(expired)
    const answer = await visit('/page?x=1', session.cookie)
    t.equal(answer.status, 200)
    const { headers } = JSON.parse(answer.body)
    t.equal(headers['x-user-id'], 'alice')
    t.equal(headers['x-mandate-id'], 'acme')
    t.equal(headers['x-session-id'], session.sessionId)
    t.equal(headers.cookie, undefined, 'no token reaches the backend')
    const cookies = setCookies(answer)
    t.equal(cookies.length, 2)
    t.match(cookies[0], /^auth_token=[\w-]+\.[\w-]+\.[\w-]+; Path=\/; HttpOnly; SameSite=Strict$/)
    t.match(cookies[1], /^refresh_token=[\w-]+\.[\w-]+\.[\w-]+; Path=\/; HttpOnly; SameSite=Strict$/)
    t.equal(answer.headers['cache-control'], 'no-store', 'no cache keeps the cookies for others')
    t.equal(answer.headers.expires, undefined)
    const active = await activeIds(session.sessionId)
    t.equal(active.length, 2)
    t.ok(active.includes(headers['x-token-id']), 'the backend gets the new token')
    const now = cookies.map((cookie) => cookie.split(';')[0]).join('; ')
    const next = await visit('/page', now, {})
    t.equal(next.status, 200, 'the new cookies are good for everything')
    t.same(setCookies(next), [])
  })
}

t.test('a navigation without an access cookie is refreshed', async (t) => {
  const { refreshCookie } = await newSession()
  const answer = await visit('/', refreshCookie)
  t.equal(answer.status, 200)
  t.equal(setCookies(answer).length, 2)
})

t.test('a request for HTML without Fetch Metadata counts as a navigation', async (t) => {
  const { cookie } = await newSession()
  t.equal((await visit('/', cookie, { accept: 'text/html' })).status, 200)
})

t.test("the gateway's own responses set the new cookies too, since the old ones are used up", async (t) => {
  for (const [path, status] of [
    ['/tenants', 403],
    ['/gone', 502],
  ] as const) {
    const { cookie } = await newSession()
    const answer = await visit(path, cookie)
    t.equal(answer.status, status)
    t.equal(setCookies(answer).length, 2, path)
  }
})

t.test(
  'every response of an upstream sets the new cookies, whatever its status and the header rules of the route',
  async (t) => {
    for (const [path, status] of [
      ['/missing', 404],
      ['/edited', 200],
    ] as const) {
      const { cookie } = await newSession()
      const answer = await visit(path, cookie)
      t.equal(answer.status, status)
      t.equal(setCookies(answer).length, 2, path)
      t.equal(answer.headers['cache-control'], 'no-store', path)
    }
  },
)

t.test('cookies that the backend sets replace those of the refresh', async (t) => {
  const { cookie } = await newSession()
  t.same(setCookies(await visit('/logs-in', cookie)).slice(2), ['auth_token=its-own; Path=/', 'theme=dark'])
})

t.test('behind a trusted proxy with TLS the cookies are Secure', async (t) => {
  const behind = await start({ TRUSTED_PROXIES: '127.0.0.1' })
  t.teardown(() => behind.stop())
  const { cookie } = await newSession()
  const cookies = setCookies(
    await visit('/', cookie, { ...NAVIGATION, 'x-forwarded-proto': 'https' }, behind),
  )
  t.equal(cookies.length, 2)
  for (const each of cookies) t.match(each, /; Path=\/; HttpOnly; SameSite=Strict; Secure$/)
})

const NO_NAVIGATIONS: Readonly<Record<string, Headers>> = {
  'a script that fetches': { ...NAVIGATION, 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
  'an image': { ...NAVIGATION, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' },
  'cross-site request forgery: a link on another site': { ...NAVIGATION, 'sec-fetch-site': 'cross-site' },
  'a link on a sibling domain': { ...NAVIGATION, 'sec-fetch-site': 'same-site' },
  'clickjacking: a frame': { ...NAVIGATION, 'sec-fetch-dest': 'iframe' },
  'a prefetch, which may be thrown away': { ...NAVIGATION, 'sec-purpose': 'prefetch;prerender' },
  'a prefetch of an older browser': { ...NAVIGATION, purpose: 'prefetch' },
  'a foreign Origin': { ...NAVIGATION, origin: 'https://evil.example' },
  'a program that takes anything': { accept: '*/*' },
}
for (const [what, headers] of Object.entries(NO_NAVIGATIONS)) {
  t.test(`is not refreshed: ${what}`, async (t) => {
    const session = await newSession()
    await isNotRefreshed(t, await visit('/', session.cookie, headers), session)
  })
}

t.test('is not refreshed: a form that is posted, and a WebSocket', async (t) => {
  const session = await newSession()
  const url = `${gateway.url}/`
  const posted = await ask({
    url,
    method: 'POST',
    headers: { cookie: session.cookie, ...NAVIGATION },
    body: 'a=b',
  })
  await isNotRefreshed(t, posted, session)
  const upgrade = {
    ...NAVIGATION,
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  }
  await isNotRefreshed(t, await visit('/ws', session.cookie, upgrade), session)
})

t.test('is not refreshed: a route without the setting', async (t) => {
  const session = await newSession()
  await isNotRefreshed(t, await visit('/plain', session.cookie), session)
})

t.test('with SESSION_ENDPOINTS off nothing is refreshed, and a warning is logged', async (t) => {
  const off = await start({ SESSION_ENDPOINTS: 'off' })
  t.teardown(() => off.stop())
  const session = await newSession()
  await isNotRefreshed(t, await visit('/', session.cookie, NAVIGATION, off), session)
  t.ok(off.lines.some(({ msg }) => msg.includes('SESSION_ENDPOINTS is off')))
})

t.test('racing navigations at two instances are all forwarded, with the same pair', async (t) => {
  const { cookie, sessionId } = await newSession()
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, n) => visit(`/page-${n}`, cookie, NAVIGATION, gateways[n % 2])),
  )
  t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
  t.equal(new Set(answers.map((answer) => setCookies(answer).join('|'))).size, 1)
  t.equal((await activeIds(sessionId)).length, 2)
})

t.test('a revoked access token is not refreshed', async (t) => {
  const session = await newSession('none')
  await sql`update "Token" set status = 'REVOKED' where id = ${session.access.id}`
  const answer = await visit('/', session.cookie)
  await isNotRefreshed(t, answer, session)
  t.equal(codeOf(answer), 'token_revoked')
})

t.test('a forged access token, one of another row, and two of them are not refreshed', async (t) => {
  const session = await newSession('none')
  const other = await newSession('none', 'bob')
  const mixed = await signToken({ claims: { jti: other.access.id, userId: 'alice', exp: inSeconds(60) } })
  for (const [access, code] of [
    [`auth_token=${session.accessToken.slice(0, -4)}AAAA`, 'token_invalid'],
    [`auth_token=${mixed}`, 'token_mismatch'],
    [`auth_token=${session.accessToken}; auth_token=${other.accessToken}`, 'credentials_ambiguous'],
  ] as const) {
    const answer = await visit('/', `${access}; ${session.refreshCookie}`)
    await isNotRefreshed(t, answer, session)
    t.equal(codeOf(answer), code)
  }
})

t.test('attack: a refresh token that was used long ago ends the session and admits no request', async (t) => {
  const { cookie, sessionId } = await newSession()
  const owner = setCookies(await visit('/', cookie)).map((each) => each.split(';')[0])
  await sql`update "Token" set "expiresAt" = "expiresAt" - interval '11 seconds' where "sessionId" = ${sessionId}`
  const thief = await visit('/', cookie)
  t.equal(thief.status, 401)
  t.same(setCookies(thief), [])
  t.same(await activeIds(sessionId), [])
  t.equal((await visit('/', owner.join('; '))).status, 401)
})

t.test('a bad refresh token leads to the login redirect', async (t) => {
  const revoked = await newSession()
  await sql`update "Token" set status = 'REVOKED' where id = ${revoked.refresh.id}`
  const access = `auth_token=${revoked.accessToken}`
  for (const cookie of [
    revoked.cookie,
    access,
    `${access}; refresh_token=garbage`,
    'a=b',
    revoked.accessToken,
  ]) {
    const answer = await visit('/pages/1?a=b', cookie)
    t.equal(answer.status, 303)
    t.equal(answer.headers.location, '/login?next=%2Fpages%2F1%3Fa%3Db')
    t.same(setCookies(answer), [])
  }
  const misused = await visit('/pages', `refresh_token=${(await newSession('none')).accessToken}`)
  t.equal(misused.status, 303, 'an access token in the refresh cookie')
})

t.test('on an optional route an expired session is refreshed', async (t) => {
  const { cookie } = await newSession()
  const answer = await visit('/open', cookie)
  t.equal(JSON.parse(answer.body).headers['x-user-id'], 'alice')
  t.equal(setCookies(answer).length, 2)
  const anonymous = await visit('/open', 'a=b')
  t.equal(anonymous.status, 200)
  t.equal(JSON.parse(anonymous.body).headers['x-user-id'], undefined)
})

t.test('a fault of the database is 503, and changes neither cookies nor session', async (t) => {
  const { cookie, sessionId } = await newSession()
  await pg.stop('immediate')
  for (const path of ['/', '/pages', '/open']) {
    const answer = await visit(path, cookie)
    t.equal(answer.status, 503)
    t.equal(codeOf(answer), 'token_store_unavailable')
    t.same(setCookies(answer), [])
  }
  await pg.start()
  const answer = await visit('/', cookie)
  t.equal(answer.status, 200, 'recovered by itself')
  t.equal((await activeIds(sessionId)).length, 2)
})
