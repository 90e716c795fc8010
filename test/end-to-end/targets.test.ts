import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  createServer as createHttp2,
  createSecureServer,
  type Http2Server,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createHttps } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { createAuthority } from '../support/certificates.ts'
import { ask } from '../support/http-client.ts'
import { plainGateway } from '../support/plain-gateway.ts'
import { openConnection, rawRequest } from '../support/raw-http.ts'
import { connectionsTo, exchange } from '../support/target-client.ts'

async function listen(t: Test, server: Server | Http2Server, where: object): Promise<number> {
  server.listen('path' in where ? where : { host: '127.0.0.1', port: 0, ...where })
  await once(server, 'listening')
  const sessions = new Set<{ destroy(): void }>()
  server.on('connection', (socket) => sessions.add(socket))
  t.teardown(() => {
    for (const each of sessions) each.destroy()
    server.close()
  })
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function echo(req: IncomingMessage, res: ServerResponse) {
  let body = ''
  for await (const part of req) body += part
  res.end(`${req.method} ${req.url} ${body}`)
}

/** Sends one message through a WebSocket and returns what comes back. */
async function throughWebSocket(port: number, headers: Record<string, string> = {}): Promise<string> {
  const ws = new WebSocket(`ws://127.0.0.1:${port}/ws`, { headers })
  await once(ws, 'open')
  ws.send('hello')
  const [data] = await once(ws, 'message')
  ws.close()
  await once(ws, 'close')
  return String(data)
}

function answerWebSockets(server: Server) {
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (ws) => ws.on('message', (data) => ws.send(`back: ${data}`)))
}

const HEALTH = { path: '/healthz', interval: '50ms', timeout: '10s', unhealthyAfter: 1 }

t.test('a target on an IPv6 address: requests, checks and WebSockets', async (t) => {
  const server = createServer(echo)
  answerWebSockets(server)
  const port = await listen(t, server, { host: '::1' })
  const url = `http://[::1]:${port}`
  const gateway = await plainGateway(t, { targets: [url], upstream: { health: HEALTH, host: 'target' } })
  const answer = await ask({ url: `${gateway.url}/x`, method: 'POST', body: 'b' })
  t.same([answer.status, answer.body], [200, 'POST /x b'])
  t.equal(await throughWebSocket(gateway.port), 'back: hello')
  t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${url}"}`), 1)
})

t.test('a target on a unix socket: requests, checks and WebSockets', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-unix-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'api.sock')
  let checks = 0
  const server = createServer((req, res) => {
    if (req.url === '/healthz') checks++
    void echo(req, res)
  })
  answerWebSockets(server)
  await listen(t, server, { path })
  const gateway = await plainGateway(t, { targets: [`unix:${path}`], upstream: { health: HEALTH } })
  const answer = await ask({ url: `${gateway.url}/x`, method: 'POST', body: 'b' })
  t.same([answer.status, answer.body], [200, 'POST /x b'])
  t.equal(await throughWebSocket(gateway.port), 'back: hello')
  await new Promise((resolve) => setTimeout(resolve, 200))
  t.ok(checks > 1)
  t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="unix:${path}"}`), 1)
})

t.test('a unix socket that is not there: 502 upstream_unreachable', async (t) => {
  const gateway = await plainGateway(t, { targets: ['unix:/nowhere/at/all.sock'] })
  const answer = await ask({ url: gateway.url })
  t.equal(answer.status, 502)
  t.equal(JSON.parse(answer.body).code, 'upstream_unreachable')
})

t.test('the name of a target is resolved', async (t) => {
  const server = createServer(echo)
  const port = await listen(t, server, { host: 'localhost' })
  const gateway = await plainGateway(t, { targets: [`http://localhost:${port}`] })
  t.equal((await ask({ url: gateway.url })).status, 200)
})

t.test('TLS to targets', async (t) => {
  const authority = createAuthority(t, 'the test authority')
  const own = authority.issue('api.internal', ['DNS:api.internal'])
  const client = authority.issue('gateway', ['DNS:gateway'])
  const names: (string | false | null)[] = []
  const clients: string[] = []
  let plain = 0
  const server = createHttps(
    { cert: own.cert, key: own.key, ca: authority.cert, requestCert: true },
    (req, res) => {
      const socket = req.socket as TLSSocket
      names.push((socket as TLSSocket & { servername: string }).servername)
      clients.push(String(socket.getPeerCertificate().subject?.CN))
      void echo(req, res)
    },
  )
  server.on('tlsClientError', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_SSL_HTTP_REQUEST') plain++
  })
  answerWebSockets(server)
  const port = await listen(t, server, {})
  const url = `https://127.0.0.1:${port}`
  const tls = { caFile: authority.certFile, serverName: 'api.internal' }

  await t.test('the authority, the name and the client certificate of the file are used', async (t) => {
    const gateway = await plainGateway(t, {
      targets: [url],
      upstream: { health: HEALTH, tls: { ...tls, certFile: client.certFile, keyFile: client.keyFile } },
    })
    names.length = clients.length = 0
    const hosts = ['a.example', 'b.example', 'a.example']
    for (const host of hosts) t.equal((await ask({ url: gateway.url, headers: { Host: host } })).status, 200)
    t.equal(await throughWebSocket(gateway.port), 'back: hello')
    t.same([...new Set(names)], ['api.internal'], "the client's Host is never the name that is asked for")
    t.same([...new Set(clients)], ['gateway'])
    t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${url}"}`), 1)
  })

  const refused = async (t: Test, targets: readonly string[], own: object, headers = {}) => {
    const gateway = await plainGateway(t, { targets, upstream: { tls: own, retries: 0 } })
    const answer = await ask({ url: gateway.url, headers })
    t.equal(answer.status, 502)
    t.equal(JSON.parse(answer.body).code, 'upstream_unreachable')
    const ws = new WebSocket(`ws://127.0.0.1:${gateway.port}/ws`, { headers })
    const [, res] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage]
    t.equal(res.statusCode, 502)
    ws.on('error', () => {}).terminate()
  }

  await t.test('a target certificate of another authority: 502 upstream_unreachable', async (t) => {
    const other = createAuthority(t, 'another authority')
    await refused(t, [url], { caFile: other.certFile, serverName: 'api.internal' })
  })

  await t.test('a target certificate of a private authority without caFile: 502 upstream_unreachable', (t) =>
    refused(t, [url], {}),
  )

  await t.test('a certificate for another name: 502 upstream_unreachable', async (t) => {
    await refused(t, [url], { caFile: authority.certFile, serverName: 'other.internal' })
  })

  await t.test("attack: Host with the certificate's name does not make the certificate valid", async (t) => {
    await refused(t, [url], { caFile: authority.certFile }, { Host: 'api.internal' })
  })

  await t.test(
    "for a WebSocket the certificate is checked against the target's name, not against Host",
    async (t) => {
      const local = authority.issue('localhost', ['DNS:localhost'])
      const server = createHttps({ cert: local.cert, key: local.key }, echo)
      answerWebSockets(server)
      const port = await listen(t, server, { host: 'localhost' })
      const gateway = await plainGateway(t, {
        targets: [`https://localhost:${port}`],
        upstream: { tls: { caFile: authority.certFile } },
      })
      t.equal(await throughWebSocket(gateway.port, { Host: 'app.example.com' }), 'back: hello')
    },
  )

  await t.test('no failed TLS connection was retried in plain text', async (t) => {
    t.equal(plain, 0)
  })
})

const LARGE = 'x'.repeat(5_000_000)

function answerHttp2(stream: ServerHttp2Stream, headers: Record<string, unknown>) {
  if (headers[':path'] === '/trailers' || headers[':path'] === '/large') {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': 'fine' }))
    stream.end(headers[':path'] === '/large' ? LARGE : 'message')
    return
  }
  stream.respond({ ':status': 200, 'x-authority': String(headers[':authority']) })
  stream.write(`${headers[':method']} `)
  stream.pipe(stream)
}

async function speaksHttp2(t: Test, target: string, upstream: Record<string, unknown>) {
  const gateway = await plainGateway(t, { targets: [target], upstream: { protocol: 'http2', ...upstream } })
  const got = await ask({ url: `${gateway.url}/x`, headers: { Host: 'a.example' } })
  t.same([got.status, got.body, got.headers['x-authority']], [200, 'GET ', 'a.example'])
  const body = 'x'.repeat(500_000)
  const posted = await ask({ url: `${gateway.url}/x`, method: 'POST', body })
  t.equal(posted.body.length, body.length + 5)
  const called = await ask({
    url: `${gateway.url}/trailers`,
    method: 'POST',
    body: 'call',
    headers: { TE: 'trailers' },
  })
  t.equal(called.body, 'message')
  t.match(called.trailers, { 'grpc-status': '0', 'grpc-message': 'fine' })
  const many = await Promise.all(Array.from({ length: 50 }, () => ask({ url: `${gateway.url}/x` })))
  t.ok(many.every(({ status }) => status === 200))
  const streamed = await ask({
    url: `${gateway.url}/x`,
    method: 'POST',
    headers: { 'Transfer-Encoding': 'chunked' },
    body: 'chunks',
  })
  t.equal(streamed.body, 'POST chunks')
  t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${target}"}`), 1)
}

t.test('HTTP/2 without TLS (prior knowledge): bodies both ways and trailers', async (t) => {
  const server = createHttp2()
  server.on('stream', answerHttp2)
  const port = await listen(t, server, {})
  await speaksHttp2(t, `http://127.0.0.1:${port}`, { health: HEALTH })
})

t.test('HTTP/2 over TLS: bodies both ways and trailers', async (t) => {
  const authority = createAuthority(t, 'the test authority')
  const own = authority.issue('api.internal', ['DNS:api.internal'])
  const server = createSecureServer({ cert: own.cert, key: own.key })
  server.on('stream', answerHttp2)
  const port = await listen(t, server as unknown as Http2Server, {})
  await speaksHttp2(t, `https://127.0.0.1:${port}`, {
    health: HEALTH,
    tls: { caFile: authority.certFile, serverName: 'api.internal' },
  })
})

t.test('data held back for a slow reader is not lost when the trailers come', async (t) => {
  const server = createHttp2()
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end('x'.repeat(40_000))
  })
  const port = await listen(t, server, {})
  const connections = connectionsTo({ url: `http://127.0.0.1:${port}`, http2: true })
  t.teardown(() => connections.close())
  const { client, outcome } = exchange(connections)
  client.onBody = () => {
    client.full = true
    setTimeout(() => client.drain(), 50)
  }
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(client.body.length, 40_000)
  t.same(client.trailers, [['grpc-status', '0']])
})

t.test('a client that reads slowly gets all of an answer and its trailers from HTTP/2', async (t) => {
  const server = createHttp2()
  server.on('stream', answerHttp2)
  const port = await listen(t, server, {})
  const gateway = await plainGateway(t, {
    targets: [`http://127.0.0.1:${port}`],
    upstream: { protocol: 'http2' },
  })
  const res = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${gateway.url}/large`, resolve).once('error', reject)
  })
  await new Promise((resolve) => setTimeout(resolve, 500))
  let length = 0
  for await (const part of res) {
    length += part.length
    if (length % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  }
  t.equal(length, LARGE.length)
  t.match(res.trailers, { 'grpc-status': '0' })
})

t.test(
  "HTTP/2 targets: a client's pauses do not count towards the target's time-outs, both ways",
  async (t) => {
    const server = createHttp2({ maxSessionMemory: 100 })
    const size = 20_000_000
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.on('error', () => {})
      if (headers[':path'] === '/down') {
        stream.respond({ ':status': 200 })
        stream.end(Buffer.alloc(size))
        return
      }
      let body = ''
      stream.on('data', (data) => {
        body += data
      })
      stream.once('end', () => {
        stream.respond({ ':status': 200 })
        stream.end(body)
      })
    })
    const port = await listen(t, server, {})
    const gateway = await plainGateway(t, {
      targets: [`http://127.0.0.1:${port}`],
      upstream: { protocol: 'http2', retries: 0, timeouts: { idle: '1s', response: '1s' } },
    })
    const res = await new Promise<IncomingMessage>((resolve, reject) => {
      get(`${gateway.url}/down`, resolve).once('error', reject)
    })
    const sending = await openConnection(gateway.port)
    t.teardown(() => sending.destroy())
    sending.write('POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello')
    await new Promise((resolve) => setTimeout(resolve, 2500))
    sending.write('world')
    t.equal((await sending.response()).body.toString(), 'helloworld')
    let length = 0
    for await (const part of res) length += part.length
    t.equal(length, size)
  },
)

t.test(
  "HTTP/2 targets: a field that a client sends twice passes and does not count as the target's failure",
  async (t) => {
    const server = createHttp2()
    server.on('stream', (stream: ServerHttp2Stream, _headers, _flags, raw) => {
      stream.respond({ ':status': 200 })
      stream.end(raw.filter((_, i) => raw[i - 1] === 'user-agent').join())
    })
    const port = await listen(t, server, {})
    const gateway = await plainGateway(t, {
      targets: [`http://127.0.0.1:${port}`],
      upstream: { protocol: 'http2', ejection: { consecutiveFailures: 1 } },
    })
    const { responses } = await rawRequest(
      gateway.port,
      'GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nUser-Agent: y\r\n\r\n',
    )
    t.same([responses[0]?.status, responses[0]?.body.toString()], [200, 'x,y'])
  },
)

t.test(
  'HTTP/2 targets: a stream that is reset during the answer cuts it off; before the answer it is 502',
  async (t) => {
    const server = createHttp2()
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.on('error', () => {})
      if (headers[':path'] === '/early') stream.close(2)
      else {
        stream.respond({ ':status': 200 })
        stream.write('half', () => {
          if (headers[':path'] === '/reset') stream.destroy(new Error('reset'))
          else stream.session?.socket.destroy()
        })
      }
    })
    const port = await listen(t, server, {})
    const gateway = await plainGateway(t, {
      targets: [`http://127.0.0.1:${port}`],
      upstream: { protocol: 'http2' },
    })
    const early = await ask({ url: `${gateway.url}/early` })
    t.same([early.status, JSON.parse(early.body).code], [502, 'upstream_reset'])
    await t.rejects(ask({ url: `${gateway.url}/reset` }))
    await t.rejects(ask({ url: `${gateway.url}/cut` }))
  },
)

t.test(
  'HTTP/2 targets: a stream that hangs is 504, and its connection stays usable for others',
  async (t) => {
    const server = createHttp2()
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      if (headers[':path'] !== '/hang') answerHttp2(stream, headers)
    })
    const port = await listen(t, server, {})
    const gateway = await plainGateway(t, {
      targets: [`http://127.0.0.1:${port}`],
      upstream: { protocol: 'http2', timeouts: { response: '200ms' } },
    })
    t.equal((await ask({ url: `${gateway.url}/x` })).status, 200)
    t.equal((await ask({ url: `${gateway.url}/hang` })).status, 504)
    t.equal((await ask({ url: `${gateway.url}/x` })).status, 200, 'the others on its connection go on')
  },
)
