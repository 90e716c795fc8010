import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { startChromium } from '../support/chromium.ts'
import { programPath } from '../support/programs.ts'
import { request, startStage } from '../support/stage.ts'

const FRIEND = 'https://friend.example'

/** A page of another origin, and the API that it uses: it answers preflights, and tells who it is asked by. */
const heard: { readonly method: string; readonly url: string; readonly headers: IncomingHttpHeaders }[] = []
const api = createServer(({ method, url, headers }, response) => {
  heard.push({ method: method!, url: url!, headers })
  response.writeHead(method === 'OPTIONS' ? 204 : 200, {
    'Access-Control-Allow-Origin': headers.origin ?? 'null',
    'Access-Control-Allow-Credentials': 'true',
    'Access-Control-Allow-Methods': 'PUT',
    'Access-Control-Allow-Headers': 'content-type',
  })
  response.end(method === 'OPTIONS' ? undefined : String(headers['x-user-id']))
})
const pages = createServer((_, response) => response.end('<!doctype html><title>page</title>'))
for (const server of [api, pages]) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
}
const portOf = (server: typeof api) => (server.address() as AddressInfo).port
const PAGE = `http://app.example.test:${portOf(pages)}`

const stage = await startStage({
  upstreams: { api: { targets: [`http://127.0.0.1:${portOf(api)}`] } },
  routes: [
    { path: '/api', upstream: 'api', allowedOrigins: [PAGE] },
    { path: '/closed', upstream: 'api' },
    { path: '/friends', allowedOrigins: [FRIEND] },
    { path: '/tenants', allowedOrigins: [FRIEND], mandates: ['other'] },
    { path: '/optional', auth: 'optional' },
    { path: '/secure/writes', methods: ['PUT'], allowedOrigins: [FRIEND] },
    { path: '/listed', methods: ['PUT', 'OPTIONS'], allowedOrigins: [FRIEND] },
  ],
})
t.teardown(async () => {
  await stage.close()
  for (const server of [api, pages]) {
    server.closeAllConnections()
    server.close()
  }
})

t.test(
  "Chromium's page of an allowed origin writes with the user's cookie, one of no allowed origin does not",
  programPath('chromium') === null ? { skip: 'Chromium is not installed' } : {},
  async (t) => {
    const browser = await startChromium(['--host-resolver-rules=MAP *.example.test 127.0.0.1'])
    t.teardown(() => browser.close())
    const page = await browser.newPage()
    const origin = `http://api.example.test:${stage.gateway.port}`
    const [name, value] = stage.cookie.split('=') as [string, string]
    await page.context().addCookies([{ name, value, url: origin, sameSite: 'Strict' }])
    await page.goto(PAGE)
    const put = (path: string) =>
      page.evaluate(`fetch('${origin}${path}', {
        method: 'PUT',
        credentials: 'include',
        headers: { 'Content-Type': 'application/json' },
        body: '{}',
      }).then((answer) => answer.text(), (error) => error.name)`)
    t.equal(await put('/api/orders'), 'alice')
    t.same(
      heard.map(({ method, url, headers }) => [method, url, headers['x-user-id']]),
      [
        ['OPTIONS', '/api/orders', undefined],
        ['PUT', '/api/orders', 'alice'],
      ],
    )
    t.equal(await put('/closed'), 'TypeError')
    t.equal(heard.length, 2, 'its preflight is refused')
  },
)

const ASKS = ['Access-Control-Request-Method: PUT', 'Access-Control-Request-Headers: content-type']

function preflight(path: string, fields: readonly string[] = []): Buffer {
  return request(`OPTIONS ${path}`, [`Origin: ${FRIEND}`, ...ASKS, ...fields])
}

/** The status, and the request that the backend has got for it. */
async function send(bytes: Buffer) {
  const before = stage.upstream.requests.length
  const { responses } = await stage.ask(bytes)
  return { status: responses[0]!.status, arrived: stage.upstream.requests[before] ?? null }
}

t.test('a preflight passes without a token, without identity, and without a look-up', async (t) => {
  const lookups = () => stage.gateway.metric('gateway_token_queries_total')
  const before = await lookups()
  const { status, arrived } = await send(preflight('/friends/x?a=b', ['X-User-Id: admin', 'X-Gateway-A: 1']))
  t.equal(status, 200)
  t.equal(arrived!.method, 'OPTIONS')
  t.equal(arrived!.target, '/friends/x?a=b')
  t.equal(arrived!.header('access-control-request-method'), 'PUT')
  for (const name of ['x-user-id', 'x-session-id', 'x-token-id', 'x-gateway-a']) {
    t.equal(arrived!.header(name), null, name)
  }
  t.equal(await lookups(), before)
})

t.test(
  'a preflight with a token passes as an anonymous request, and the token is not forwarded',
  async (t) => {
    const { status, arrived } = await send(preflight('/friends', [`Cookie: ${stage.cookie}; a=1`]))
    t.equal(status, 200)
    t.equal(arrived!.header('x-user-id'), null)
    t.equal(arrived!.header('cookie'), 'a=1')
  },
)

t.test('a preflight passes on a route with mandates, since it has none', async (t) => {
  t.equal((await send(preflight('/tenants'))).status, 200)
})

t.test('a preflight is counted as an anonymous request', async (t) => {
  const series = 'gateway_auth_decisions_total{decision="anonymous"}'
  const before = await stage.gateway.metric(series)
  await send(preflight('/friends'))
  t.equal(await stage.gateway.metric(series), before + 1)
})

t.test(
  'the route of a preflight is that for OPTIONS, not that for the method that it asks for',
  async (t) => {
    t.match(await send(preflight('/listed')), { status: 200, arrived: { method: 'OPTIONS' } })
    t.match(await send(preflight('/secure/writes')), { status: 401, arrived: null })
  },
)

t.test('a preflight where auth is optional passes, as before', async (t) => {
  t.equal((await send(preflight('/optional'))).status, 200)
})

const ORIGIN = `Origin: ${FRIEND}`
for (const [what, line, fields] of [
  ['an origin that is not allowed', 'OPTIONS /friends', ['Origin: https://evil.example', ...ASKS]],
  ['its own origin', 'OPTIONS /friends', ['Origin: http://app.example.com', ...ASKS]],
  ['the origin null', 'OPTIONS /friends', ['Origin: null', ...ASKS]],
  ['two origins', 'OPTIONS /friends', [ORIGIN, 'Origin: https://evil.example', ...ASKS]],
  ['an allowed origin with a path', 'OPTIONS /friends', [`${ORIGIN}/x`, ...ASKS]],
  ['an allowed origin as user name', 'OPTIONS /friends', [`${ORIGIN}@evil.example`, ...ASKS]],
  ['an allowed origin by another scheme', 'OPTIONS /friends', ['Origin: http://friend.example', ...ASKS]],
  ['no origin', 'OPTIONS /friends', ASKS],
  ['no method that it asks for', 'OPTIONS /friends', [ORIGIN, ASKS[1]!]],
  ['an empty method that it asks for', 'OPTIONS /friends', [ORIGIN, 'Access-Control-Request-Method:']],
  ['another route’s allowed origin', 'OPTIONS /secure', [ORIGIN, ...ASKS]],
  ['the method GET', 'GET /friends', [ORIGIN, ...ASKS]],
  ['the method POST', 'POST /friends', [ORIGIN, ...ASKS, 'Content-Length: 0']],
  [
    'another method by X-HTTP-Method-Override',
    'POST /friends',
    [ORIGIN, ...ASKS, 'X-HTTP-Method-Override: OPTIONS', 'Content-Length: 0'],
  ],
] as const) {
  t.test(`attack: a preflight with ${what} does not get around the token`, async (t) => {
    t.match(await send(request(line, fields)), { status: 401, arrived: null })
  })
}
