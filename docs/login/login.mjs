/*
 * A backend with a login, for the gateway in front of it: it checks a password, writes the two rows of a session, and sets
 * the two cookies with the attributes that the gateway's refresh and logout use. docs/login.md says how to run it.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { SignJWT } from 'jose'
import postgres from 'postgres'

const { DATABASE_URL, JWT_SECRET_FILE, COOKIE_DOMAIN, PORT = '8001' } = process.env
const ACCESS_TTL_S = 900 // ACCESS_TOKEN_TTL_S of the gateway
const REFRESH_TTL_S = 604_800 // REFRESH_TOKEN_TTL_S
const DOMAIN = COOKIE_DOMAIN ? `; Domain=${COOKIE_DOMAIN}` : ''
// COOKIE_SAME_SITE=lax; the gateway leaves Secure out where the client speaks plain HTTP.
const ATTRIBUTES = `Path=/; HttpOnly; SameSite=Lax; Secure${DOMAIN}`

const sql = postgres(DATABASE_URL, { max: 2 })
// Of several secrets, one a line, the first one signs.
const key = new TextEncoder().encode(readFileSync(JWT_SECRET_FILE, 'utf8').split(/\r?\n/)[0])
const refreshScript = readFileSync(new URL('refresh.js', import.meta.url))

/** Stands for your users. A real login compares salted hashes of passwords. */
const USERS = new Map([['alice', { password: 'wonderland', mandateId: 'acme' }]])

async function answer(req, res) {
  const { pathname, searchParams } = new URL(req.url, 'http://backend')
  if (pathname === '/refresh.js') return send(res, 200, 'text/javascript', refreshScript)
  if (pathname === '/login' && req.method === 'POST') return logIn(req, res)
  if (pathname === '/login')
    return send(res, 200, 'text/html', loginPage(localPath(searchParams.get('next'))))
  // The gateway has let this request through, and says whose it is.
  const user = req.headers['x-user-id']
  if (pathname === '/api/me') return send(res, 200, 'application/json', JSON.stringify({ user }))
  return send(res, 200, 'text/html', homePage(user))
}

async function logIn(req, res) {
  // No other site may log a user in, to an account of its own (login CSRF).
  if (req.headers.origin !== `${req.headers['x-forwarded-proto']}://${req.headers.host}`) {
    return send(res, 403, 'text/plain', 'Open the login page, and log in there.')
  }
  const form = new URLSearchParams(await readBody(req))
  const next = localPath(form.get('next'))
  const user = USERS.get(form.get('user'))
  if (user === undefined || user.password !== form.get('password')) {
    return send(res, 401, 'text/html', loginPage(next, 'This name or this password is wrong.'))
  }
  res.setHeader('Set-Cookie', await startSession(form.get('user'), user.mandateId))
  res.writeHead(303, { Location: next, 'Cache-Control': 'no-store' }).end()
}

/** The rows come first: from then on the tokens are good. */
async function startSession(userId, mandateId) {
  const owner = { userId, mandateId, sessionId: randomUUID() }
  const now = Math.floor(Date.now() / 1000)
  const access = { ...owner, jti: randomUUID(), type: 'access', exp: now + ACCESS_TTL_S }
  const refresh = { ...owner, jti: randomUUID(), type: 'refresh', exp: now + REFRESH_TTL_S }
  const rows = [access, refresh].map(({ jti, exp }) => ({
    ...owner,
    id: jti,
    status: 'ACTIVE',
    expiresAt: new Date(exp * 1000),
  }))
  await sql`INSERT INTO "Token" ${sql(rows)}`
  // COOKIE_PERSISTENT=on: with Max-Age the cookies outlive the browser.
  return [
    `auth_token=${await sign(access)}; ${ATTRIBUTES}; Max-Age=${ACCESS_TTL_S}`,
    `refresh_token=${await sign(refresh)}; ${ATTRIBUTES}; Max-Age=${REFRESH_TTL_S}`,
  ]
}

function sign(claims) {
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(key)
}

/**
 * The path to go on with after the login. Whoever writes a link chooses `next`, so anything that a browser could take for
 * another site becomes `/` (an open redirect): it is read as browsers read it, and only its path is used.
 */
function localPath(next) {
  const here = 'http://here.invalid'
  const url = URL.parse(next ?? '/', here)
  if (url === null || url.origin !== here) return '/'
  // A path of "//evil.example" would be an address again.
  return `${url.pathname.replace(/^\/+/, '/')}${url.search}${url.hash}`
}

/** A refresh first: a person who comes by a link of another site may only lack a fresh access token. */
function loginPage(next, problem = '') {
  const goOn = JSON.stringify(next).replaceAll('<', '\\u003c')
  return page(
    'Log in',
    `<p role="alert">${escapeHtml(problem)}</p>
<form method="post" action="/login">
<p><label>Name <input name="user" autocomplete="username" required></label></p>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label></p>
<input name="next" type="hidden" value="${escapeHtml(next)}">
<button>Log in</button>
</form>
<script type="module">
import { refreshSession } from '/refresh.js'
if ((await refreshSession()) === null) location.replace(${goOn})
</script>`,
  )
}

function homePage(user) {
  return page(
    `Hello ${escapeHtml(user)}`,
    `<p>The API knows you as <output></output>.</p>
<button>Log out</button>
<script type="module">
import { fetchWithRefresh } from '/refresh.js'
const answer = await fetchWithRefresh('/api/me')
document.querySelector('output').textContent = (await answer.json()).user
document.querySelector('button').onclick = async () => {
  const { ok, status } = await fetch('/-/logout', { method: 'POST' })
  if (ok || status === 401) location.assign('/login')
}
</script>`,
  )
}

function page(title, content) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${content}</html>`
}

function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

async function readBody(req) {
  let body = ''
  for await (const chunk of req) {
    body += chunk
    if (body.length > 10_000) throw new Error('the form is too large')
  }
  return body
}

function send(res, status, type, body) {
  res.writeHead(status, { 'Content-Type': `${type}; charset=utf-8`, 'Cache-Control': 'no-store' }).end(body)
}

const server = createServer((req, res) => {
  answer(req, res).catch((error) => {
    console.error(error)
    if (!res.headersSent) res.writeHead(500)
    res.end()
  })
})
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port}`))
