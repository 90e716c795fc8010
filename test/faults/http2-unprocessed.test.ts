import { constants, type ServerHttp2Stream } from 'node:http2'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startCountingBackend } from '../support/counting-backend.ts'
import { ask, keepAliveAgent, many } from '../support/http-client.ts'
import { startHttp2Backend } from '../support/http2-backend.ts'
import { answerOf, http2Client } from '../support/http2-client.ts'
import { nginxIsInstalled, startNginx } from '../support/nginx.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'

const EJECTION = { consecutiveFailures: 2, duration: '1m', maxPercent: 100 }

/** A request as a target got it. */
interface Got {
  readonly stream: ServerHttp2Stream
  readonly method: string
  readonly body: string
  /** Counts from 1. */
  readonly nth: number
}

/**
 * A target of HTTP/2 by Node.
 *
 * @param answer called once the whole request has come
 * @param onPiece called for each piece of a body
 */
async function target(
  t: Test,
  answer: (got: Got) => void,
  onPiece: (stream: ServerHttp2Stream) => void = () => {},
  maxConcurrentStreams = 1000,
) {
  const got: Got[] = []
  const { url, connections } = await startHttp2Backend(
    t,
    (stream, _path, method) => {
      let body = ''
      stream.setEncoding('latin1')
      stream.on('data', (piece) => {
        body += piece
        onPiece(stream)
      })
      stream.on('end', () => {
        const one = { stream, method, body, nth: got.length + 1 }
        got.push(one)
        answer(one)
      })
    },
    { maxConcurrentStreams },
  )
  return { url, got, connections }
}

const ok = ({ stream, body }: Got) => {
  stream.respond({ ':status': 200 })
  stream.end(String(body.length))
}

const gatewayTo = (t: Test, targets: readonly string[], upstream: Record<string, unknown> = {}) =>
  plainGateway(t, { targets, upstream: { protocol: 'http2', ejection: EJECTION, ...upstream } })

const refuse = ({ stream }: Got) => stream.close(constants.NGHTTP2_REFUSED_STREAM)

t.test(
  'a POST whose body was taken goes out again, with that body, where its stream was refused',
  async (t) => {
    for (const bytes of [0, 5, 65_536, 131_072]) {
      const { url, got } = await target(t, (one) => (one.nth === 1 ? refuse(one) : ok(one)))
      const gateway = await gatewayTo(t, [url], { retries: 0 })
      const body = 'x'.repeat(bytes)
      const { status, body: answer } = await ask({ url: gateway.url, method: 'POST', body })
      t.same([status, answer], [200, String(bytes)])
      t.same(
        got.map((one) => one.body),
        [body, body],
      )
    }
  },
)

t.test('a body of which the first piece was taken goes out again from that piece', async (t) => {
  let refused = 0
  const refusing = await target(t, ok, (stream) => {
    refused++
    stream.close(constants.NGHTTP2_REFUSED_STREAM)
  })
  const { url, got } = await target(t, ok)
  const gateway = await gatewayTo(t, [refusing.url, url])
  const connection = await openConnection(gateway.port)
  t.teardown(() => connection.destroy())
  connection.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst')
  // The other target gets it after the second time.
  await until(() => refused === 2)
  connection.write('_last')
  t.equal((await connection.response()).status, 200)
  t.same(
    got.map(({ body }) => body),
    ['first_last'],
  )
})

t.test('the body of a client that speaks HTTP/2 goes out again from its first piece, too', async (t) => {
  let refused = 0
  const { url, got } = await target(t, ok, (stream) => {
    if (++refused <= 3) stream.close(constants.NGHTTP2_REFUSED_STREAM)
  })
  const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('localhost', ['DNS:localhost'])
  const gateway = await plainGateway(t, {
    targets: [url],
    upstream: { protocol: 'http2' },
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  const stream = http2Client(t, gateway.port).request({
    ':method': 'POST',
    ':path': '/',
    ':authority': 'app.example.com',
  })
  stream.write('first')
  await until(() => refused === 4)
  stream.end('_last')
  t.match(await answerOf(stream), { status: 200, body: '10' })
  t.same(
    got.map(({ body }) => body),
    ['first_last'],
  )
})

t.test('a body of any size goes out again where its target has taken no more than its window', async (t) => {
  let refused = 0
  const bodies: number[] = []
  const { url } = await startHttp2Backend(t, (stream) => {
    if (++refused === 1) {
      // Nothing of it is read, so that its window is used up.
      const { socket } = stream.session!
      void until(() => socket.bytesRead > 65_535).then(() => stream.close(constants.NGHTTP2_REFUSED_STREAM))
      return
    }
    let bytes = 0
    stream.on('data', (piece: Buffer) => {
      bytes += piece.length
    })
    stream.on('end', () => {
      bodies.push(bytes)
      stream.respond({ ':status': 200 })
      stream.end()
    })
  })
  const gateway = await gatewayTo(t, [url], { retries: 0 })
  const { status } = await ask({ url: gateway.url, method: 'POST', body: 'x'.repeat(1_000_000) })
  t.same([status, bodies], [200, [1_000_000]])
})

t.test(
  'of a body beyond 128 KiB of which its target has taken more nothing is kept: 502 upstream_reset',
  async (t) => {
    const { url, got } = await target(t, refuse)
    const gateway = await gatewayTo(t, [url])
    const answer = await ask({ url: gateway.url, method: 'POST', body: 'x'.repeat(131_073) })
    t.same([answer.status, JSON.parse(answer.body).code], [502, 'upstream_reset'])
    t.equal(got.length, 1)
  },
)

t.test(
  'a request that nobody processes is sent eight times, outside the budget, and ejects nobody',
  async (t) => {
    const { url, got } = await target(t, refuse)
    const other = await target(t, refuse)
    const gateway = await gatewayTo(t, [url, other.url], { retries: 0 })
    // Far more than the budget's reserve of 20 would allow.
    for (let n = 1; n <= 20; n++) {
      const { status } = await ask({ url: gateway.url, method: 'POST', body: 'x' })
      t.equal(status, 502)
      t.equal(got.length + other.got.length, 8 * n)
    }
    for (const each of [url, other.url]) {
      const labels = `{upstream="api",target="${each}"}`
      t.equal(await gateway.metric(`gateway_upstream_ejections_total${labels}`), 0)
      t.equal(await gateway.metric(`gateway_upstream_target_up${labels}`), 1)
    }
  },
)

t.test(
  'a stream that was reset for another reason may have been processed: its POST is not sent again',
  async (t) => {
    const { url, got } = await target(t, ({ stream }) => stream.close(constants.NGHTTP2_INTERNAL_ERROR))
    const gateway = await gatewayTo(t, [url])
    t.equal((await ask({ url: gateway.url, method: 'POST', body: 'x' })).status, 502)
    t.equal(got.length, 1)
  },
)

t.test('a burst on a fresh connection stays within the limit of streams of its target', async (t) => {
  const waiting: Got[] = []
  const { url, got, connections } = await target(t, (one) => waiting.push(one), undefined, 10)
  const gateway = await gatewayTo(t, [url], { maxConnections: 1 })
  const agent = keepAliveAgent(60)
  t.teardown(() => agent.destroy())
  const statuses: number[] = []
  const all = many(60, 60, async () => {
    statuses.push((await ask({ url: gateway.url, method: 'POST', body: 'x', agent })).status)
  })
  while (statuses.length < 60) {
    await until(() => waiting.length > 0 || statuses.length === 60, 10_000, 1)
    t.ok(waiting.length <= 10)
    for (const one of waiting.splice(0)) ok(one)
  }
  await all
  t.same(new Set(statuses), new Set([200]))
  t.equal(got.length, 60)
  t.equal(connections.size, 1)
})

for (const [requests, bytes] of [
  [10, 3_000],
  [100, 200_000],
  [1000, 3_000],
] as const) {
  t.test(`nginx that ends each connection after ${requests} requests: no request fails`, async (t) => {
    if (!nginxIsInstalled()) {
      t.pass('nginx is not installed here: it was not tried')
      return
    }
    const { port, seen } = await startCountingBackend(t)
    const nginx = await startNginx(t, port, [`keepalive_requests ${requests};`])
    const gateway = await gatewayTo(t, [nginx.url, nginx.url.replace('127.0.0.1', 'localhost')])
    const agent = keepAliveAgent(64)
    t.teardown(() => agent.destroy())
    const answers = new Map<string, number>()
    await many(3000, 64, async (n) => {
      const post = n % 2 === 0
      const { status, body } = await ask({
        url: gateway.url,
        method: post ? 'POST' : 'GET',
        headers: { 'X-Id': String(n) },
        agent,
        ...(post ? { body: 'x'.repeat(bytes) } : {}),
      })
      const answer = `${post ? 'POST' : 'GET'} ${status} ${body}`
      answers.set(answer, (answers.get(answer) ?? 0) + 1)
    })
    t.same(Object.fromEntries(answers), { [`POST 200 ${bytes}`]: 1500, 'GET 200 0': 1500 })
    t.equal(seen.size, 3000)
    t.ok([...seen.values()].every((times) => times === 1))
    t.equal(gateway.lines.filter(({ msg }) => msg === 'the target is down').length, 0)
  })
}
