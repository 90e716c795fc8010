import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import type { Status } from '../../gateway/admin/status.ts'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE, plainRouting, until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { rawRequest } from '../support/raw-http.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const backend = await startBackend()
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
t.teardown(() => backend.close())

/** Two workers, no database, and one target that does not exist. */
const gateway = await startGateway({
  databaseUrl: NO_DATABASE,
  routing: {
    upstreams: {
      api: { targets: [target], balance: 'round-robin' },
      broken: {
        targets: [{ url: 'http://127.0.0.1:1', weight: 2 }],
        health: { path: '/', interval: '100ms', timeout: '50ms', unhealthyAfter: 1 },
      },
    },
    routes: [
      { path: '/', upstream: 'api', auth: 'none' },
      { path: '/exact', upstream: 'broken', auth: 'none', exact: true, methods: ['GET'] },
    ],
  },
  env: {
    ACCESS_LOG: 'off',
    WORKERS: '2',
    ADMIN_ALLOWED_HOSTS: 'gateway.ops.example.com,*.admin.example.com',
  },
})
t.teardown(() => gateway.stop())
const admin = `http://127.0.0.1:${gateway.adminPort}`

function startBackend(): Promise<Server> {
  const server = createServer((_req, res) => void res.end('ok'))
  return new Promise((resolve) => void server.listen(0, '127.0.0.1', () => resolve(server)))
}

async function statusOf(of = admin, query = ''): Promise<Status> {
  const answer = await fetch(`${of}/status.json${query}`)
  return (await answer.json()) as Status
}

t.test('status.json has all that the page shows, also while the gateway is not ready', async (t) => {
  const answer = await fetch(`${admin}/status.json`)
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('content-type'), 'application/json')
  t.equal(answer.headers.get('cache-control'), 'no-store')
  const status = (await answer.json()) as Status
  t.match(status, {
    ready: false,
    reasons: ['token_store'],
    causes: [{ reason: 'token_store', cause: /^nothing accepts connections .*ECONNREFUSED/ }],
    instance: String,
    version: /^\d+\.\d+\.\d+/,
    node: process.version,
    uptimeS: Number,
    workers: 2,
    processes: [{ pid: Number, uptimeS: Number, residentBytes: Number, inFlight: 0 }, { pid: Number }],
    tokenStore: { up: false, code: 'ECONNREFUSED', reason: /ECONNREFUSED.*; start the database/ },
    routing: { file: gateway.upstreamsFile, loadedAt: /^\d{4}-.*Z$/, readAt: /^\d{4}-.*Z$/, problems: [] },
    routes: [
      { route: '/', methods: null, exact: false, auth: 'none', upstream: 'api' },
      { route: '/exact', methods: ['GET'], exact: true, auth: 'none', upstream: 'broken' },
    ],
    openStreams: { websocket: 0, sse: 0, other: 0 },
    totals: { requests: Number, errors: Number, lookups: 0, queries: Number, decisions: {}, inFlight: 0 },
    history: { intervalS: 2, cursor: String, whole: true, samples: Array },
  })
})

t.test('status.json has the state of each target, and why it is down', async (t) => {
  const broken = async () => (await statusOf()).upstreams.find(({ name }) => name === 'broken')!.targets[0]!
  await until(async () => (await broken()).upIn === 0)
  t.match(await broken(), {
    url: 'http://127.0.0.1:1',
    state: 'unhealthy',
    reason: /ECONNREFUSED/,
    weight: 2,
    ejectedForS: null,
  })
  const [api] = (await statusOf()).upstreams
  t.match(api, { name: 'api', balance: 'round-robin', targets: [{ url: target, state: 'up', upIn: 2 }] })
})

t.test(
  'the sums contain the requests of both workers, and after an interval so does the history',
  async (t) => {
    const before = (await statusOf()).totals.requests
    for (let n = 0; n < 20; n++) await (await fetch(`${gateway.url}/`)).text()
    t.equal((await statusOf()).totals.requests - before, 20)
    const counted = async () =>
      (await statusOf()).history.samples.reduce((sum, { decisions }) => sum + (decisions.anonymous ?? 0), 0)
    await until(async () => (await counted()) >= 20)
    const { history } = await statusOf()
    const busy = history.samples.find(({ requestsPerSecond }) => (requestsPerSecond ?? 0) > 0)!
    t.ok(busy.p50Ms! > 0 && busy.p50Ms! <= busy.p99Ms!)
    t.equal(busy.errorShare, 0)
    const next = (await statusOf(admin, `?since=${history.cursor}`)).history
    t.equal(next.whole, false)
    t.ok(next.samples.length < history.samples.length, 'who has a part is given what is new')
  },
)

t.test(
  "status.json has the position of a refused routing file's problem, and later reloads too",
  async (t) => {
    const good = JSON.stringify(plainRouting([target]), null, 2)
    await writeFile(gateway.upstreamsFile, good.replace('"auth": "none"', '"auht": "none"'))
    await until(async () => (await statusOf()).routing!.problems.length > 0)
    const refused = (await statusOf()).routing!
    t.match(refused.problems, [
      { line: 14, column: 7, pointer: '/routes/0/auht', message: /unknown key "auht".*"auth"/ },
    ])
    t.ok(refused.readAt > refused.loadedAt, 'the one before is in force')
    t.equal((await statusOf()).routes.length, 2)
    await writeFile(gateway.upstreamsFile, good)
    await until(async () => (await statusOf()).routing!.problems.length === 0)
    t.equal((await statusOf()).routes.length, 1, 'the good file is in force in both workers')
  },
)

t.test('a killed worker is shown as missing and then replaced, and no count is negative', async (t) => {
  const [first] = (await statusOf()).processes
  process.kill(first!.pid, 'SIGKILL')
  await until(async () => (await statusOf()).processes.every(({ pid }) => pid !== first!.pid))
  await until(async () => (await statusOf()).processes.length === 2)
  const { history } = await statusOf()
  await until(async () => (await statusOf(admin, `?since=${history.cursor}`)).history.samples.length > 0)
  for (const sample of (await statusOf()).history.samples) {
    t.ok((sample.requestsPerSecond ?? 0) >= 0)
  }
})

t.test('the policy of the page allows only its own script and styles, by their hashes', async (t) => {
  const answer = await fetch(admin)
  const html = await answer.text()
  const policy = answer.headers.get('content-security-policy') ?? ''
  const inside = (tag: string) =>
    [...html.matchAll(new RegExp(`<${tag}[^>]*>(.*?)</${tag}>`, 'gs'))].map(([, text = '']) => text)
  const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  for (const tag of ['script', 'style']) {
    t.equal(inside(tag).length, 1)
    t.ok(policy.includes(`${tag}-src ${hash(inside(tag)[0]!)};`), tag)
  }
  for (const part of [
    "default-src 'none'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ])
    t.ok(policy.split('; ').includes(part), part)
  t.notMatch(policy, /unsafe|https?:|\*/)
  t.notMatch(html, /\bsrc=|@import|url\(|\son\w+=|\sstyle=/, 'nothing is fetched or run but what is hashed')
  t.notMatch(html, /^(?:import|export) /m, 'its modules have become one')
})

t.test('no answer may be framed, sniffed, or read by another origin', async (t) => {
  for (const path of ['/', '/status.json', '/metrics', '/readyz', '/healthz', '/none']) {
    const { headers } = await fetch(admin + path)
    t.match(headers.get('content-security-policy'), /default-src 'none'.*frame-ancestors 'none'/, path)
    t.equal(headers.get('x-frame-options'), 'DENY')
    t.equal(headers.get('x-content-type-options'), 'nosniff')
    t.equal(headers.get('cross-origin-resource-policy'), 'same-origin')
    t.equal(headers.get('cross-origin-opener-policy'), 'same-origin')
    t.equal(headers.get('access-control-allow-origin'), null)
  }
})

const BROWSER = { 'accept-language': 'en', 'user-agent': 'Mozilla/5.0' }

async function asked(headers: Record<string, string>, path = '/status.json', method = 'GET') {
  return (await ask({ url: admin + path, method, headers })).status
}

t.test('attack: DNS rebinding, a page whose name resolves to the admin listener gets 403', async (t) => {
  const pages = ['evil.example', 'evil.example:9090', 'evil.example.', '127.0.0.1.evil.example', 'evil.com']
  for (const host of [...pages, 'xlocalhost.com', 'localhost.evil.example', 'admin.example.com']) {
    for (const path of ['/', '/status.json', '/metrics'])
      t.equal(await asked({ ...BROWSER, host }, path), 403, `${host} ${path}`)
  }
  for (const field of ['accept-language', 'referer', 'sec-fetch-site'])
    t.equal(
      await asked({ host: 'evil.example', [field]: 'none' }),
      403,
      `a browser is told by ${field} alone`,
    )
})

t.test('a browser is answered for IP addresses, private names and allowed names', async (t) => {
  const private_ = ['localhost:9090', 'app.localhost', 'gateway', 'gateway.prod.svc', 'a.b.svc.cluster.local']
  const allowed = ['gateway.ops.example.com', 'GATEWAY.ops.example.com:81', 'one.admin.example.com']
  for (const host of ['127.0.0.1:9090', '10.1.2.3', '[::1]:9090', ...private_, ...allowed])
    t.equal(await asked({ ...BROWSER, host }), 200, host)
})

t.test('Prometheus may scrape with any Host', async (t) => {
  const headers = {
    host: 'gateway-1.example.com:9090',
    'user-agent': 'Prometheus/3.1.0',
    accept: 'text/plain',
  }
  t.equal(await asked(headers, '/metrics'), 200)
  t.equal(await asked(headers, '/healthz'), 200)
})

t.test('a page of another site cannot send requests, but may link to the page', async (t) => {
  const host = `127.0.0.1:${gateway.adminPort}`
  const cross = { ...BROWSER, host, 'sec-fetch-site': 'cross-site' }
  t.equal(await asked({ ...cross, 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'script' }, '/metrics'), 403)
  t.equal(await asked({ ...cross, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'iframe' }, '/'), 403)
  t.equal(await asked({ ...cross, 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' }), 403)
  t.equal(await asked({ ...BROWSER, host, origin: 'https://evil.example' }), 403)
  t.equal(await asked({ ...BROWSER, host, origin: 'null' }), 403)
  t.equal(
    await asked({ ...cross, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }, '/'),
    200,
    'a link',
  )
  t.equal(await asked({ ...BROWSER, host, 'sec-fetch-site': 'same-origin' }), 200, 'the page itself')
})

t.test('GET / returns JSON if Accept names it, else the page', async (t) => {
  const typed = async (accept?: string) =>
    (await fetch(admin, accept === undefined ? {} : { headers: { accept } })).headers.get('content-type')
  t.equal(await typed('application/json'), 'application/json')
  for (const accept of [undefined, '*/*', 'text/html,application/json;q=0.9'])
    t.equal(await typed(accept), 'text/html; charset=utf-8')
})

t.test('an unknown path gets 404, another method 405', async (t) => {
  t.equal(await asked({}, '/status'), 404)
  t.equal(await asked({}, '//status.json'), 404)
  const { responses } = await rawRequest(
    gateway.adminPort,
    'GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  )
  t.equal(responses[0]?.status, 200, 'absolute-form (RFC 9112, section 3.2.2)')
  t.equal(await asked({}, '/status.json', 'POST'), 405)
  t.equal(await asked({}, '/status.json', 'HEAD'), 200)
})

t.test('neither the page nor status.json contains a token or an identity', async (t) => {
  const server = await startPostgres()
  t.teardown(() => server.close())
  const databaseUrl = await server.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql, {
    userId: 'user-7f3a',
    sessionId: 'session-7f3a',
    mandateId: 'mandate-7f3a',
  })
  await sql.end()
  const token = await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })
  const routing = { upstreams: { api: { targets: [target] } }, routes: [{ path: '/', upstream: 'api' }] }
  const another = await startGateway({ databaseUrl, routing })
  t.teardown(() => another.stop())
  const answer = await fetch(`${another.url}/private?who=alice`, {
    headers: { cookie: `auth_token=${token}` },
  })
  t.equal(answer.status, 200)
  const of = `http://127.0.0.1:${another.adminPort}`
  const told = JSON.stringify(await statusOf(of)) + (await (await fetch(of)).text())
  t.match(await statusOf(of), { ready: true, totals: { decisions: { authenticated: 1 } } })
  for (const secret of [row.id, row.userId, row.sessionId, row.mandateId, token, '/private'])
    t.notOk(told.includes(`${secret}`), `${secret}`)
})
