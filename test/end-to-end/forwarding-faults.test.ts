import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { openConnection, rawRequest } from '../support/raw-http.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

const timeouts = { connect: '500ms', response: '300ms', idle: '300ms' }
const stage = await startStage({
  upstream: { timeouts, retries: 0 },
  upstreams: { gone: { targets: ['http://127.0.0.1:1'], retries: 3 } },
  routes: [{ path: '/gone', auth: 'none', upstream: 'gone' }],
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

/** The whole answer is the gateway's own error, it names no target, and the log says the code. */
async function refused(
  t: Test,
  line: string,
  status: number,
  code: string,
  fields: string[] = [],
  body = '',
) {
  const { responses } = await stage.ask(request(line, fields, body))
  const answer = responses.at(-1)!
  t.equal(answer.status, status)
  t.equal(answer.header('content-type'), 'application/problem+json')
  t.equal(answer.header('cache-control'), 'no-store')
  const problem = JSON.parse(answer.body.toString())
  t.match(problem, {
    type: `urn:poweron-gateway:${code}`,
    status,
    code,
    requestId: answer.header('x-request-id'),
  })
  t.notOk(answer.body.includes('127.0.0.1'), 'no address of a target')
  const logged = await stage.gateway.line(
    (each) => each.msg === 'request' && each.requestId === answer.header('x-request-id'),
  )
  t.match(logged, { status, code })
}

t.test('a target that refuses connections: 502 upstream_unreachable', async (t) => {
  await refused(t, 'GET /gone', 502, 'upstream_unreachable')
})

t.test('a sole target is asked once, whatever "retries" says', async (t) => {
  const { responses } = await stage.ask(request('GET /gone'))
  const requestId = responses[0]!.header('x-request-id')
  const line = await stage.gateway.line((each) => each.msg === 'request' && each.requestId === requestId)
  t.match(line, { code: 'upstream_unreachable', retries: 0 })
})

for (const method of ['GET', 'POST']) {
  t.test(`a reset before the answer to ${method}: 502 upstream_reset, sent once`, async (t) => {
    const heard = stage.upstream.requests.length
    stage.upstream.respond((_request, socket) => socket.resetAndDestroy())
    const body = method === 'POST' ? 'abc' : ''
    await refused(
      t,
      `${method} /reset`,
      502,
      'upstream_reset',
      body === '' ? [] : ['Content-Length: 3'],
      body,
    )
    t.equal(stage.upstream.requests.length, heard + 1)
  })
}

t.test('a connection that ends before the answer: 502 upstream_reset', async (t) => {
  stage.upstream.respond((_request, socket) => socket.end())
  await refused(t, 'GET /fin', 502, 'upstream_reset')
})

t.test('a connection that ends within the head: 502 upstream_reset', async (t) => {
  stage.upstream.respond((_request, socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le'))
  await refused(t, 'GET /head', 502, 'upstream_reset')
})

for (const [title, bytes] of [
  ['two different Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokokok'],
  [
    'Content-Length with Transfer-Encoding',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['a negative Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
  ['a list as Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok'],
  ['a status line that is none', 'HTTQ/1.1 200 OK\r\n\r\n'],
  ['a status that is no number', 'HTTP/1.1 abc OK\r\n\r\n'],
  ['a status above 599', 'HTTP/1.1 999 Word\r\nContent-Length: 0\r\n\r\n'],
  ['an answer of no HTTP at all', 'SSH-2.0-OpenSSH_9.6\r\n'],
  [
    'a 101 that nobody asked for',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
  ],
  ['NUL in a field', 'HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n'],
  ['a field name with a space', 'HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n'],
  [
    'a head larger than any limit',
    `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}\r\nContent-Length: 0\r\n\r\n`,
  ],
] as const) {
  t.test(`${title} in the answer: 502 upstream_invalid`, async (t) => {
    stage.upstream.respond((_request, socket) => socket.write(bytes))
    await refused(t, 'GET /invalid', 502, 'upstream_invalid')
  })
}

t.test('response smuggling: bytes behind an answer are not read as the next one', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write(
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
    ),
  )
  await stage.ask(request('GET /first'))
  stage.upstream.respond(answerOk)
  for (let i = 0; i < 3; i++) {
    const { responses } = await stage.ask(request('GET /second'))
    t.notOk(responses[0]?.body.includes('evil'))
  }
})

t.test(
  "no answer within the response timeout: 504 upstream_timeout, and the backend's exchange ends",
  async (t) => {
    stage.upstream.respond(() => {})
    await refused(t, 'GET /slow', 504, 'upstream_timeout')
    await stage.upstream.connections.at(-1)!.closed
  },
)

const PARTIAL: readonly (readonly [string, string])[] = [
  ['with Content-Length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'],
  ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'],
  ['without framing', 'HTTP/1.1 200 OK\r\n\r\npart'],
]
const BREAKS: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['is reset', (socket) => void setImmediate(() => socket.resetAndDestroy())],
  ['ends', (socket) => void socket.end()],
  ['says nothing for too long', () => {}],
]
for (const [framing, bytes] of PARTIAL) {
  for (const [how, breakOff] of BREAKS) {
    // An answer that ends with the connection is not cut off by an orderly end of it.
    if (framing === 'without framing' && how === 'ends') continue
    for (const version of ['1.1', '1.0']) {
      t.test(
        `an answer ${framing} that ${how} in the middle is cut off for an HTTP/${version} client too`,
        async (t) => {
          let backend: Socket | null = null
          stage.upstream.respond((_request, socket) => {
            backend = socket
            socket.write(bytes)
          })
          const client = await openConnection(stage.port)
          client.write(`GET /cut HTTP/${version}\r\nHost: a\r\n\r\n`)
          await client.sees('part')
          breakOff(backend!)
          await client.closed
          await t.rejects(client.response(), 'never a complete short answer')
        },
      )
    }
  }
}

t.test('a malformed chunk in the middle of an answer cuts it off for the client', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nxyz\r\n'),
  )
  const { responses, cut, closed } = await rawRequest(stage.port, request('GET /chunk'))
  t.ok(cut || (closed && responses.length === 0) || responses[0]?.status === 502)
})

t.test('the next request after each of these faults is served', async (t) => {
  const { responses } = await stage.ask(request('GET /well'))
  t.equal(responses[0]?.body.toString(), 'ok')
})

t.test('faults of the upstream are counted by outcome', async (t) => {
  const target = `upstream="main",target="${stage.upstream.url}"`
  const failed = () => stage.gateway.metric(`gateway_upstream_requests_total{${target},outcome="failed"}`)
  const before = await failed()
  stage.upstream.respond((_request, socket) => socket.resetAndDestroy())
  await stage.ask(request('GET /reset'))
  t.equal(await failed(), before + 1)
  stage.upstream.respond((_request, socket) => socket.write('HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n'))
  const errors = () => stage.gateway.metric(`gateway_upstream_requests_total{${target},outcome="error"}`)
  const errorsBefore = await errors()
  await stage.ask(request('GET /500'))
  t.equal(await errors(), errorsBefore + 1)
})
