import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import { insertToken } from '../support/postgres.ts'
import { openConnection } from '../support/raw-http.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { shot, startRange, valuesOf } from './support.ts'

const range = await startRange(t)

/** A frame and a request that must not reach the backend when the handshake is refused. */
const BEHIND = 'GET /admin/smuggled HTTP/1.1\r\nHost: app.example.com\r\nX-User-Id: admin\r\n\r\n'

async function revokedCookie(): Promise<string> {
  const row = await insertToken(range.sql, { status: 'REVOKED' })
  return `auth_token=${await signToken({ claims: { jti: row.id, exp: inSeconds(600) } })}`
}

t.test(
  'a handshake without a token, with a revoked or forged one or a foreign Origin does not reach the upstream',
  async (t) => {
    const cases: [number, string, string[]][] = [
      [401, 'credentials_missing', []],
      [401, 'token_revoked', [`Cookie: ${await revokedCookie()}`]],
      [401, 'token_invalid', ['Cookie: auth_token=a.b.c']],
      [403, 'origin_forbidden', [`Cookie: ${range.cookie}`, 'Origin: https://evil.example']],
      [403, 'origin_forbidden', [`Cookie: ${range.cookie}`, 'Origin: null']],
      [
        403,
        'origin_forbidden',
        [`Cookie: ${range.cookie}`, `Origin: ${range.scheme}://app.example.com.evil.example`],
      ],
      [
        403,
        'origin_forbidden',
        [
          `Cookie: ${range.cookie}`,
          `Origin: ${range.scheme === 'http' ? 'https' : 'http'}://app.example.com`,
        ],
      ],
    ]
    for (const [status, code, fields] of cases) {
      const connections = range.upstream.connections.length
      const hit = await range.fire(shot('upgrade', '/required/ws', fields) + BEHIND, {
        until: 2,
        timeoutMs: 1000,
      })
      t.same([hit.status, hit.code], [status, code])
      t.equal(hit.responses.length, 1, 'bytes behind the refused handshake are answered by nobody')
      t.equal(hit.closed, true)
      t.same(hit.arrived, [], 'nothing arrives')
      t.equal(hit.tunnelled.length, 0)
      t.ok(range.upstream.connections.length <= connections + 1, 'but the sentinel’s connection none is made')
    }
  },
)

t.test('a good handshake with the own Origin opens a tunnel, and bytes sent behind it pass', async (t) => {
  const hit = await range.fire(
    `${shot('upgrade', '/required/ws', [`Cookie: ${range.cookie}`, `Origin: ${range.scheme}://app.example.com`])}frame`,
  )
  t.equal(hit.status, 101)
  t.same(
    hit.arrived.map((request) => [request.target, valuesOf(request, 'x-user-id')]),
    [['/required/ws', ['alice']]],
  )
  t.equal(hit.tunnelled.toString(), 'frame')
})

const OTHER_TOKENS = [
  'h2c',
  'HTTP/2.0',
  'TLS/1.0',
  'websocket, h2c',
  'h2c, websocket',
  'websocketx',
  'connect-udp',
  '',
]

t.test(
  'h2c smuggling: Upgrade: h2c opens no tunnel, and what follows is authenticated as a request',
  async (t) => {
    for (const token of OTHER_TOKENS) {
      for (const path of ['/public', '/required']) {
        const head = [
          `GET ${path} HTTP/1.1`,
          'Host: app.example.com',
          `Upgrade: ${token}`,
          'Connection: Upgrade, HTTP2-Settings',
          'HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA',
          '',
          '',
        ].join('\r\n')
        const hit = await range.fire(head + BEHIND, { until: 2, timeoutMs: 300 })
        t.not(hit.status, 101, `${token} ${path}`)
        t.equal(hit.tunnelled.length, 0)
        for (const request of hit.arrived) {
          t.equal(request.target, '/public')
          t.same([...valuesOf(request, 'upgrade'), ...valuesOf(request, 'http2-settings')], [])
        }
        t.equal(hit.arrived.length, path === '/public' && hit.status === 200 ? 1 : 0)
        const later = hit.responses[1]
        t.ok(
          later === undefined || later.status === 401,
          'the request behind it meets the guarded route’s rule',
        )
      }
    }
  },
)

t.test('the HTTP/2 preface on a plain connection is not forwarded as a request', async (t) => {
  const hit = await range.fire('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', { timeoutMs: 1000 })
  t.ok(hit.status === 400 || hit.status === 405 || hit.status === 0)
  t.same(hit.arrived, [])
})

t.test('a handshake with a body, by POST or in HTTP/1.0 opens no tunnel', async (t) => {
  const fields =
    'Host: app.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
  const heads = [
    `GET /public HTTP/1.1\r\n${fields}Content-Length: ${BEHIND.length}\r\n\r\n${BEHIND}`,
    `GET /public HTTP/1.1\r\n${fields}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${BEHIND}`,
    `POST /public HTTP/1.1\r\n${fields}Content-Length: 0\r\n\r\n`,
    `GET /public HTTP/1.0\r\n${fields}\r\n`,
  ]
  for (const bytes of heads) {
    const hit = await range.fire(bytes, { until: 2, timeoutMs: 500 })
    t.not(hit.status, 101)
    t.equal(hit.tunnelled.length, 0)
    t.notOk(hit.arrived.some(({ target }) => target.includes('smuggled')))
    t.ok(hit.arrived.every((request) => valuesOf(request, 'upgrade').length === 0))
  }
})

t.test(
  'a handshake or CONNECT pipelined behind an unanswered request opens no tunnel and ends no process',
  async (t) => {
    const plain = shot('request', '/public/first', [])
    for (const behind of [
      shot('upgrade', '/public/second', []),
      shot('upgrade', '/required/second', []),
      'CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n',
      `GET /public/second HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 3\r\n\r\nabc`,
    ]) {
      const hit = await range.fire(plain + behind + BEHIND, { until: 3, timeoutMs: 500 })
      t.equal(hit.tunnelled.length, 0)
      t.notOk(hit.responses.some(({ status }) => status === 101))
      t.ok(hit.arrived.every((request) => valuesOf(request, 'upgrade').length === 0))
      t.notOk(hit.arrived.some(({ target }) => target.includes('smuggled') || target.startsWith('/required')))
    }
    await until(async () => (await range.gateway.metric('gateway_requests_in_flight')) === 0)
  },
)

t.test('an upstream that answers a handshake without 101 gets no further byte from the client', async (t) => {
  range.upstream.respond(
    (_request, socket) => void socket.write('HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n'),
  )
  const client = await openConnection(range.port)
  const before = range.upstream.connections.length
  client.write(shot('upgrade', '/public', []))
  t.equal((await client.response()).status, 403)
  client.write(BEHIND)
  await client.closed
  const bytes = Buffer.concat(range.upstream.connections.slice(before).map((each) => each.bytes()))
  t.notMatch(bytes.toString(), /smuggled/)
})
