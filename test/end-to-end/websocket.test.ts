import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { openConnection } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk, type RecordedRequest } from '../support/upstream.ts'

/** A real backend that echoes every message unchanged. */
const server = createServer()
const accepted: { socket: WebSocket; req: IncomingMessage }[] = []
const sockets = new WebSocketServer({ server, handleProtocols: (offered) => [...offered].at(-1) ?? false })
sockets.on('connection', (socket, req) => {
  accepted.push({ socket, req })
  socket.on('message', (data, binary) => socket.send(data, { binary }))
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const stage = await startStage({
  upstreams: { sockets: { targets: [`http://127.0.0.1:${(server.address() as AddressInfo).port}`] } },
  routes: [
    { path: '/ws', upstream: 'sockets' },
    { path: '/open-ws', upstream: 'sockets', auth: 'none' },
    { path: '/partners', upstream: 'sockets', allowedOrigins: ['https://partner.example'] },
  ],
})
t.teardown(async () => {
  for (const { socket } of accepted) socket.terminate()
  await stage.close()
  sockets.close()
  server.close()
})
t.afterEach(() => stage.upstream.respond(answerOk))

const base = `ws://127.0.0.1:${stage.port}`
const cookie = stage.cookie

async function open(path: string, protocols: string[] = [], headers: Record<string, string> = { cookie }) {
  const client = new WebSocket(`${base}${path}`, protocols, { headers })
  await once(client, 'open')
  return { client, backend: accepted.at(-1)! }
}

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

function handshake(path: string, fields: readonly string[] = [], behind = ''): Buffer {
  return request(
    `GET ${path}`,
    [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Key: ${KEY}`,
      ...fields,
    ],
    behind,
  )
}

function switchOver(_request: RecordedRequest, socket: Socket): void {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`,
  )
}

for (const path of ['/ws', '/open-ws']) {
  t.test(`text and binary messages pass both ways unchanged on ${path}`, async (t) => {
    const { client } = await open(path)
    for (const message of ['hello', 'gr\u00fc\u00dfe \u{1f600}', '', randomBytes(3), randomBytes(300_000)]) {
      client.send(message)
      const [data, binary] = (await once(client, 'message')) as [Buffer, boolean]
      t.equal(binary, typeof message !== 'string')
      t.ok(data.equals(Buffer.from(message as string)))
    }
    client.close()
    await once(client, 'close')
  })
}

t.test('a message that the backend sends first arrives', async (t) => {
  const { client, backend } = await open('/ws')
  backend.socket.send('from the backend')
  const [data] = (await once(client, 'message')) as [Buffer]
  t.equal(data.toString(), 'from the backend')
  client.terminate()
})

t.test('the subprotocol that the backend chose reaches the client', async (t) => {
  const { client, backend } = await open('/ws', ['chat.v1', 'chat.v2'])
  t.equal(client.protocol, 'chat.v2')
  t.equal(backend.req.headers['sec-websocket-protocol'], 'chat.v1,chat.v2')
  client.terminate()
})

t.test('a close code and reason of the client reach the backend', async (t) => {
  const { client, backend } = await open('/ws')
  client.close(4001, 'enough')
  const [code, reason] = await once(backend.socket, 'close')
  t.equal(code, 4001)
  t.equal(String(reason), 'enough')
})

t.test('a close code and reason of the backend reach the client', async (t) => {
  const { client, backend } = await open('/ws')
  backend.socket.close(4002, 'later')
  const [code, reason] = await once(client, 'close')
  t.equal(code, 4002)
  t.equal(String(reason), 'later')
})

t.test("a client that disappears closes the backend's side", async (t) => {
  const { client, backend } = await open('/ws')
  client.terminate()
  const [code] = await once(backend.socket, 'close')
  t.equal(code, 1006)
})

t.test("a backend that disappears closes the client's side", async (t) => {
  const { client, backend } = await open('/ws')
  backend.socket.terminate()
  const [code] = await once(client, 'close')
  t.equal(code, 1006)
})

t.test('the identity arrives, a spoofed identity and token cookies do not', async (t) => {
  const { client, backend } = await open('/ws/path?x=%2F', [], {
    cookie: `a=1; ${cookie}; refresh_token=r`,
    'x-user-id': 'admin',
    X_User_Id: 'admin',
    'x-gateway-role': 'admin',
    'x-forwarded-for': '203.0.113.9',
  })
  const { headers, url } = backend.req
  t.equal(url, '/ws/path?x=%2F')
  t.equal(headers['x-user-id'], 'alice')
  t.equal(headers['x-mandate-id'], 'acme')
  t.equal(headers['x-session-id'], 's1')
  t.equal(headers['x-token-id'], stage.tokenId)
  t.equal(headers['x-forwarded-for'], '127.0.0.1')
  t.equal(headers.x_user_id, undefined)
  t.equal(headers['x-gateway-role'], undefined)
  t.equal(headers.cookie, 'a=1')
  client.terminate()
})

t.test('spoofed identity does not pass a handshake on an anonymous route either', async (t) => {
  const { client, backend } = await open('/open-ws', [], { 'x-user-id': 'admin', 'X-Gateway-A': '1' })
  t.equal(backend.req.headers['x-user-id'], undefined)
  t.equal(backend.req.headers['x-gateway-a'], undefined)
  client.terminate()
})

for (const [title, path, fields, status, code] of [
  ['without a token', '/secure', [], 401, 'credentials_missing'],
  ['with a forged token', '/secure', ['Cookie: auth_token=a.b.c'], 401, 'token_invalid'],
  [
    'from another origin (cross-site WebSocket hijacking)',
    '/secure',
    [`Cookie: ${cookie}`, 'Origin: https://evil.example'],
    403,
    'origin_forbidden',
  ],
  ['from the origin null', '/secure', [`Cookie: ${cookie}`, 'Origin: null'], 403, 'origin_forbidden'],
  ["to one of the gateway's own endpoints", '/-/session', [], 401, 'credentials_missing'],
  [
    'with a body in chunks',
    '/secure',
    [`Cookie: ${cookie}`, 'Transfer-Encoding: chunked'],
    400,
    'bad_request',
  ],
  ['with a body', '/secure', [`Cookie: ${cookie}`, 'Content-Length: 3'], 400, 'bad_request'],
] as const) {
  t.test(`a handshake ${title}: ${status} ${code}, and nothing reaches the backend`, async (t) => {
    const before = stage.upstream.connections.length
    const { responses, closed } = await stage.ask(handshake(path, fields), { until: 2, timeoutMs: 3000 })
    t.same(
      responses.map((each) => each.status),
      [status],
    )
    t.equal(JSON.parse(responses[0]!.body.toString()).code, code)
    t.ok(responses[0]!.header('x-request-id'))
    t.ok(closed)
    t.equal(stage.upstream.connections.length, before)
  })
}

for (const [path, origin] of [
  ['/ws', 'http://app.example.com'],
  ['/partners', 'https://partner.example'],
] as const) {
  t.test(`a handshake on ${path} from ${origin} passes`, async (t) => {
    const { responses } = await stage.ask(handshake(path, [`Cookie: ${cookie}`, `Origin: ${origin}`]))
    t.equal(responses[0]!.status, 101)
  })
}

t.test(
  'bytes pipelined behind a refused handshake are neither delivered nor read as a request',
  async (t) => {
    const before = stage.upstream.connections.length
    const { responses } = await stage.ask(handshake('/secure', [], request('GET /open').toString()), {
      until: 2,
      timeoutMs: 3000,
    })
    t.same(
      responses.map(({ status }) => status),
      [401],
    )
    t.equal(stage.upstream.connections.length, before)
  },
)

t.test(
  'bytes behind the handshake are held until the backend has switched protocols, then delivered',
  async (t) => {
    let backend: Socket | null = null
    const arrived = new Promise<void>((resolve) => {
      stage.upstream.respond((_request, socket) => {
        backend = socket
        resolve()
      }, 'head')
    })
    const client = await openConnection(stage.port)
    client.write(handshake('/raw', [], 'early data'))
    await arrived
    const connection = stage.upstream.connections.find(({ socket }) => socket === backend)!
    t.notOk(connection.bytes().includes('early data'), 'not before the 101')
    switchOver({} as RecordedRequest, backend!)
    await connection.sees('early data')
    t.equal((await client.response()).status, 101)
    client.destroy()
    await connection.closed
  },
)

t.test('bytes that the backend sends along with its 101 reach the client', async (t) => {
  stage.upstream.respond((asked, socket) => {
    switchOver(asked, socket)
    socket.write('first frame')
  }, 'head')
  const client = await openConnection(stage.port)
  client.write(handshake('/raw'))
  t.equal((await client.response()).status, 101)
  await client.sees('first frame')
  client.destroy()
})

t.test("the 101 carries the request id and the backend's fields", async (t) => {
  stage.upstream.respond(switchOver, 'head')
  const client = await openConnection(stage.port)
  client.write(handshake('/raw'))
  const answer = await client.response()
  t.same(answer.all('sec-websocket-accept'), [ACCEPT])
  t.same(answer.all('x-request-id'), stage.upstream.requests.at(-1)!.all('x-request-id'))
  t.same(
    answer.all('upgrade').map((each) => each.toLowerCase()),
    ['websocket'],
  )
  client.destroy()
})

for (const [title, bytes, status] of [
  ['401 with a body', 'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 4\r\n\r\nno!!', 401],
  ['404 in chunks', 'HTTP/1.1 404 None\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno!!\r\n0\r\n\r\n', 404],
  [
    '200 with a body',
    'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nno!!',
    200,
  ],
  ['426 to the end of the connection', 'HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\n\r\nno!!', 426],
] as const) {
  t.test(`the backend's ${title} to a handshake reaches the client whole`, async (t) => {
    stage.upstream.respond((_request, socket) => {
      socket.write(bytes)
      if (status === 426) socket.end()
    }, 'head')
    const { responses, cut } = await stage.ask(handshake('/raw'))
    t.equal(responses[0]!.status, status)
    t.equal(responses[0]!.body.toString(), 'no!!')
    t.equal(responses[0]!.all('set-cookie').length, status === 200 ? 2 : 0)
    t.ok(responses[0]!.header('x-request-id'))
    t.notOk(cut)
  })
}

t.test('a refusal of a handshake that the backend cuts off is cut off for the client', async (t) => {
  stage.upstream.respond((_request, socket) => {
    socket.write('HTTP/1.1 403 No\r\nContent-Length: 100\r\n\r\npart')
    setImmediate(() => socket.end())
  }, 'head')
  const { responses, cut } = await stage.ask(handshake('/raw'))
  t.same(responses, [])
  t.ok(cut)
})

t.test('a backend that is reset during the handshake: 502 upstream_reset', async (t) => {
  stage.upstream.respond((_request, socket) => socket.resetAndDestroy(), 'head')
  const { responses } = await stage.ask(handshake('/raw'))
  t.equal(responses[0]!.status, 502)
  t.equal(JSON.parse(responses[0]!.body.toString()).code, 'upstream_reset')
})

t.test("a client that leaves during the handshake ends the backend's exchange", async () => {
  let arrive = (_socket: Socket) => {}
  const arrived = new Promise<Socket>((resolve) => {
    arrive = resolve
  })
  stage.upstream.respond((_request, socket) => arrive(socket), 'head')
  const client = await openConnection(stage.port)
  client.write(handshake('/raw'))
  const backend = await arrived
  client.destroy()
  await stage.upstream.connections.find(({ socket }) => socket === backend)!.closed
})

for (const token of ['h2c', 'TLS/1.0', 'websocket2', 'h2c, websocket']) {
  t.test(`Upgrade: ${token} is not tunnelled (h2c smuggling)`, async (t) => {
    const { responses } = await stage.ask(
      request('GET /plain', [
        `Upgrade: ${token}`,
        'Connection: Upgrade, HTTP2-Settings',
        'HTTP2-Settings: AAMAAABkAAQAAP__',
      ]),
    )
    t.equal(responses[0]!.status, 200)
    const got = stage.upstream.requests.at(-1)!
    t.equal(got.header('upgrade'), null)
    t.equal(got.header('http2-settings'), null)
  })
}

t.test('a POST with Upgrade: websocket is forwarded as a plain POST', async (t) => {
  const { responses } = await stage.ask(
    request('POST /plain', ['Upgrade: websocket', 'Connection: Upgrade', 'Content-Length: 2'], 'hi'),
  )
  t.equal(responses[0]!.status, 200)
  const got = stage.upstream.requests.at(-1)!
  t.equal(got.header('upgrade'), null)
  t.equal(got.body.toString(), 'hi')
})

t.test('the access line of a WebSocket has the bytes transferred since the upgrade', async (t) => {
  const { client } = await open('/ws/bytes')
  client.send('x'.repeat(1000))
  await once(client, 'message')
  client.close()
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.path === '/ws/bytes')
  // Frames from the client have a mask of four bytes. Its close frame has only the mask; the reply has two bytes.
  t.match(line, { bytesIn: 1000 + 8 + 6, bytesOut: 1000 + 4 + 2 })
})

t.test('open WebSockets are counted while they are open, and logged as 101 when they end', async (t) => {
  const gauge = () => stage.gateway.metric('gateway_open_streams{kind="websocket"}')
  const before = await gauge()
  const { client } = await open('/ws/counted')
  t.equal(await gauge(), before + 1)
  client.terminate()
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.path === '/ws/counted')
  t.match(line, { status: 101, userId: 'alice', code: null })
})
