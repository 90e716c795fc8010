import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import postgres from 'postgres'
import t from 'tap'
import { WebSocket } from 'ws'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const NOTIFY = `
  CREATE FUNCTION notify_revoked() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('revoked', OLD.id); RETURN NULL; END $$;
  CREATE TRIGGER revoked AFTER UPDATE OF status ON "Token" FOR EACH ROW
    WHEN (OLD.status = 'ACTIVE' AND NEW.status <> 'ACTIVE') EXECUTE FUNCTION notify_revoked()`

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { onnotice: () => {} })
await sql.unsafe(NOTIFY)
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const routing = { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] }
const start = (env: Record<string, string>) =>
  startGateway({ databaseUrl, routing, env: { SESSION_ENDPOINTS: 'on', ...env } })
const gateways = await Promise.all([1, 2, 3].map(() => start({ REVOCATION_CHANNEL: 'revoked' })))
const [first, second, third] = gateways as [TestGateway, TestGateway, TestGateway]
t.teardown(async () => {
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await echo.close()
  await sql.end({ timeout: 1 })
  await pg.close()
})

async function newToken(sessionId: string, type: 'access' | 'refresh') {
  const { id } = await insertToken(sql, { sessionId })
  const claims = { jti: id, userId: 'alice', mandateId: 'acme', sessionId, type, exp: inSeconds(3600) }
  return { id, jwt: await signToken({ claims }) }
}

function post(gateway: TestGateway, path: string, cookie: string, headers: Record<string, string> = {}) {
  return fetch(gateway.url + path, { method: 'POST', headers: { cookie, ...headers } })
}

const cookiesOf = (answer: Response) => answer.headers.getSetCookie().map((cookie) => cookie.split(';')[0]!)
const statusWith = async (gateway: TestGateway, cookie: string) =>
  (await fetch(`${gateway.url}/x`, { headers: { cookie } })).status

t.test('fifty parallel refreshes at three instances give one pair of successors', async (t) => {
  const session = randomUUID()
  const access = await newToken(session, 'access')
  const refresh = await newToken(session, 'refresh')
  const cookie = `auth_token=${access.jwt}; refresh_token=${refresh.jwt}`
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) => post(gateways[i % 3]!, '/-/refresh', cookie)),
  )
  t.same(new Set(answers.map(({ status }) => status)), new Set([204]))
  t.equal(new Set(answers.map((answer) => answer.headers.getSetCookie().join('|'))).size, 1)
  const rows = await sql`select id, status from "Token" where "sessionId" = ${session}`
  t.equal(rows.filter(({ status }) => status === 'ACTIVE').length, 2)
  t.equal(rows.length, 4)
  const [newAccess = '', newRefresh = ''] = cookiesOf(answers[0]!)
  t.equal(await statusWith(second, newAccess), 200, 'nobody is logged out')
  t.equal(await statusWith(third, `auth_token=${access.jwt}`), 401, 'the old token is revoked')
  t.equal((await post(first, '/-/refresh', newRefresh)).status, 204, 'the new refresh token works')
})

t.test(
  'the cookies have exactly the documented attributes, Secure behind a TLS proxy that is trusted',
  async (t) => {
    const plain = await post(
      first,
      '/-/refresh',
      `refresh_token=${(await newToken(randomUUID(), 'refresh')).jwt}`,
    )
    for (const cookie of plain.headers.getSetCookie())
      t.match(cookie, /^(auth|refresh)_token=[\w-]+\.[\w-]+\.[\w-]+; Path=\/; HttpOnly; SameSite=Strict$/)
    const behind = await start({ TRUSTED_PROXIES: '127.0.0.1' })
    t.teardown(() => behind.stop())
    const secure = await post(
      behind,
      '/-/refresh',
      `refresh_token=${(await newToken(randomUUID(), 'refresh')).jwt}`,
      {
        'x-forwarded-proto': 'https',
      },
    )
    for (const cookie of secure.headers.getSetCookie())
      t.match(cookie, /; Path=\/; HttpOnly; SameSite=Strict; Secure$/)
  },
)

t.test('refresh and logout use the attributes of the settings, byte for byte the same', async (t) => {
  const gateway = await start({
    COOKIE_SAME_SITE: 'none',
    COOKIE_DOMAIN: 'example.com',
    COOKIE_PERSISTENT: 'on',
    ACCESS_TOKEN_TTL_S: '60',
  })
  t.teardown(() => gateway.stop())
  const { jwt } = await newToken(randomUUID(), 'refresh')
  const refreshed = await post(gateway, '/-/refresh', `refresh_token=${jwt}`)
  const attributes = 'Path=/; HttpOnly; SameSite=None; Secure; Domain=example.com'
  t.same(
    refreshed.headers.getSetCookie().map((cookie) => cookie.replace(/=[\w-]+\.[\w-]+\.[\w-]+/, '=JWT')),
    [`auth_token=JWT; ${attributes}; Max-Age=60`, `refresh_token=JWT; ${attributes}; Max-Age=604800`],
  )
  const left = await post(gateway, '/-/logout', cookiesOf(refreshed).join('; '))
  t.same(left.headers.getSetCookie(), [
    `auth_token=; ${attributes}; Max-Age=0`,
    `refresh_token=; ${attributes}; Max-Age=0`,
  ])
})

t.test('attack: a refresh token that was used long ago ends the whole session', async (t) => {
  const session = randomUUID()
  const stolen = await newToken(session, 'refresh')
  const answer = await post(first, '/-/refresh', `refresh_token=${stolen.jwt}`)
  const [access = '', refresh = ''] = cookiesOf(answer)
  // The refresh happened an hour ago, by what the table says of its successors.
  await sql`update "Token" set "expiresAt" = "expiresAt" - interval '1 hour' where "sessionId" = ${session} and status = 'ACTIVE' and "expiresAt" > now() + interval '2 hours'`
  const again = await post(second, '/-/refresh', `refresh_token=${stolen.jwt}`)
  t.equal(again.status, 401)
  t.equal(((await again.json()) as { code: string }).code, 'token_revoked')
  t.equal(await statusWith(third, access), 401)
  t.equal((await post(third, '/-/refresh', refresh)).status, 401)
})

t.test('a refresh token that is revoked, unknown or of another type is refused', async (t) => {
  const revoked = await newToken(randomUUID(), 'refresh')
  await sql`update "Token" set status = 'REVOKED' where id = ${revoked.id}`
  const code = async (cookie: string) =>
    ((await (await post(first, '/-/refresh', cookie)).json()) as { code: string }).code
  t.equal(await code(`refresh_token=${revoked.jwt}`), 'token_revoked')
  t.equal(await code(`refresh_token=${(await newToken(randomUUID(), 'access')).jwt}`), 'token_invalid')
  t.equal(await code('a=b'), 'credentials_missing')
  const unknown = await signToken({ claims: { jti: 'nowhere', type: 'refresh', exp: inSeconds(60) } })
  t.equal(await code(`refresh_token=${unknown}`), 'token_unknown')
})

t.test('logout revokes every token of the session everywhere and clears the cookies', async (t) => {
  const session = randomUUID()
  const access = await newToken(session, 'access')
  const other = await newToken(session, 'access')
  const answer = await post(first, '/-/logout', `auth_token=${access.jwt}`)
  t.equal(answer.status, 204)
  t.same(answer.headers.getSetCookie(), [
    'auth_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0',
    'refresh_token=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0',
  ])
  t.equal(await statusWith(second, `auth_token=${other.jwt}`), 401)
})

t.test('a logout needs a good refresh token only', async (t) => {
  const session = randomUUID()
  const access = await newToken(session, 'access')
  const refresh = await newToken(session, 'refresh')
  t.equal((await post(first, '/-/logout', `refresh_token=${refresh.jwt}`)).status, 204)
  t.equal(await statusWith(second, `auth_token=${access.jwt}`), 401)
})

t.test(
  'attack: cross-site request forgery from a foreign origin neither refreshes nor logs out',
  async (t) => {
    const access = await newToken(randomUUID(), 'access')
    const refresh = await newToken(randomUUID(), 'refresh')
    const foreign = { origin: 'https://evil.example' }
    t.equal((await post(first, '/-/logout', `auth_token=${access.jwt}`, foreign)).status, 403)
    t.equal((await post(first, '/-/refresh', `refresh_token=${refresh.jwt}`, foreign)).status, 403)
    t.equal(await statusWith(second, `auth_token=${access.jwt}`), 200)
    t.equal(
      (await post(first, '/-/refresh', `refresh_token=${refresh.jwt}`, { origin: first.url })).status,
      204,
    )
  },
)

async function openSocket(gateway: TestGateway, jwt: string): Promise<WebSocket> {
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, {
    headers: { cookie: `auth_token=${jwt}` },
  })
  await once(socket, 'open')
  return socket
}

t.test('an open WebSocket is closed at once by the notification that its token was revoked', async (t) => {
  const token = await newToken(randomUUID(), 'access')
  const socket = await openSocket(first, token.jwt)
  t.equal(await first.metric('gateway_open_streams{kind="websocket"}'), 1)
  const closed = once(socket, 'close')
  const before = performance.now()
  await sql`update "Token" set status = 'REVOKED' where id = ${token.id}`
  await closed
  t.ok(performance.now() - before < 1000)
  t.ok((await first.metric('gateway_streams_closed_total{reason="revoked"}')) >= 1)
})

t.test(
  'without a channel open exchanges end by the recheck: WebSocket, server-sent events, reassigned, expired',
  async (t) => {
    const gateway = await start({ STREAM_RECHECK_MS: '200' })
    t.teardown(() => gateway.stop())
    const revoked = await newToken(randomUUID(), 'access')
    const reassigned = await newToken(randomUUID(), 'access')
    const expired = await newToken(randomUUID(), 'access')
    const kept = await newToken(randomUUID(), 'access')
    const sockets = await Promise.all([reassigned, expired, kept].map(({ jwt }) => openSocket(gateway, jwt)))
    const events = await fetch(`${gateway.url}/events`, { headers: { cookie: `auth_token=${revoked.jwt}` } })
    const ended = events.text().then(
      () => 'ended',
      () => 'broken',
    )
    await sql`update "Token" set status = 'REVOKED' where id = ${revoked.id}`
    await sql`update "Token" set "userId" = 'mallory' where id = ${reassigned.id}`
    await sql`update "Token" set "expiresAt" = now() where id = ${expired.id}`
    t.equal(await ended, 'broken')
    await Promise.all(
      sockets.slice(0, 2).map((socket) => socket.readyState === WebSocket.CLOSED || once(socket, 'close')),
    )
    t.equal(sockets[2]!.readyState, WebSocket.OPEN, 'a good session goes on')
    sockets[2]!.terminate()
  },
)

t.test('a fault of the database closes no stream before STREAM_FAULT_GRACE_MS', async (t) => {
  const gateway = await start({
    STREAM_RECHECK_MS: '100',
    STREAM_FAULT_GRACE_MS: '1500',
    LOOKUP_TIMEOUT_MS: '200',
  })
  t.teardown(() => gateway.stop())
  const socket = await openSocket(gateway, (await newToken(randomUUID(), 'access')).jwt)
  const closed = once(socket, 'close').then(() => performance.now())
  const before = performance.now()
  await pg.stop('immediate')
  const lasted = (await closed) - before
  await pg.start()
  t.ok(lasted >= 1300, `${lasted}`)
  t.equal(await gateway.metric('gateway_streams_closed_total{reason="fault"}'), 1)
})
