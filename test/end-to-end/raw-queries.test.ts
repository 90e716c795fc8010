import { once } from 'node:events'
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startNginxFront } from '../support/nginx-front.ts'
import { programPath, run } from '../support/programs.ts'
import { request, startStage } from '../support/stage.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

const heard: string[] = []
const http2 = createHttp2Server()
http2.on('stream', (stream: ServerHttp2Stream, head) => {
  heard.push(String(head[':path']))
  stream.respond({ ':status': 200 })
  stream.end('ok')
})
http2.listen(0, '127.0.0.1')
await once(http2, 'listening')

const stage = await startStage({
  upstreams: {
    http2: {
      targets: [`http://127.0.0.1:${(http2.address() as AddressInfo).port}`],
      protocol: 'http2',
    },
  },
  routes: [
    { path: '/http2', upstream: 'http2', auth: 'none' },
    { path: '/stripped', auth: 'none', stripPrefix: true },
    { path: '/pages', loginRedirect: '/login?next={path}' },
  ],
})
t.teardown(async () => {
  await stage.close()
  http2.close()
})

const RAW = '?q=caf\xc3\xa9&latin1=\xe9'
const curl = programPath('curl')
const nginx = programPath('nginx')

t.test('a query with bytes above ASCII is forwarded to targets of HTTP/2', async (t) => {
  const { responses } = await stage.ask(request(`GET /http2${RAW}`))
  t.equal(responses[0]!.status, 200)
  t.same(heard, [`/http2${RAW}`])
})

t.test(
  'a query with bytes above ASCII is forwarded with a WebSocket handshake, and behind stripPrefix',
  async (t) => {
    await stage.ask(
      request(`GET /stripped/a${RAW}`, [
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Version: 13',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ]),
    )
    t.equal(stage.upstream.requests.at(-1)!.target, `/a${RAW}`)
  },
)

t.test('a query with bytes above ASCII is escaped in the Location of a login', async (t) => {
  const { responses } = await stage.ask(request(`GET /pages${RAW}`, ['Accept: text/html']))
  t.equal(responses[0]!.header('location'), '/login?next=%2Fpages%3Fq%3Dcaf%C3%A9%26latin1%3D%E9')
})

t.test('the access log has a query with bytes above ASCII escaped', async (t) => {
  await stage.ask(request(`GET /logged${RAW}`))
  const line = await stage.gateway.line(({ path }) => String(path).startsWith('/logged'))
  t.equal(line.path, '/logged?q=caf%C3%A9&latin1=%E9')
})

/** grüße, in UTF-8 */
const UNESCAPED = '/search?q=gr\u00fc\u00dfe'
const SENT = '/search?q=gr\xc3\xbc\xc3\x9fe'

t.test(
  'curl sends an unescaped umlaut in a query: the backend gets the same bytes as from nginx',
  curl === null || nginx === null ? { skip: 'curl or nginx is not installed' } : {},
  async (t) => {
    const other = await startRecordingUpstream()
    const front = await startNginxFront({ program: nginx!, target: other.port, lines: [] })
    t.teardown(() => Promise.all([front.close(), other.close()]))
    for (const port of [stage.gateway.port, front.port]) {
      t.equal((await run(curl!, ['-s', `http://127.0.0.1:${port}${UNESCAPED}`])).output, 'ok')
    }
    t.equal(other.requests[0]!.target, SENT)
    t.equal(stage.upstream.requests.at(-1)!.target, SENT)
  },
)

t.test(
  'curl sends an unescaped umlaut in a query over TLS, by HTTP/1.1 and by HTTP/2',
  curl === null ? { skip: 'curl is not installed' } : {},
  async (t) => {
    const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
    const tls = await startStage({ env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } })
    t.teardown(() => tls.close())
    for (const version of ['--http1.1', '--http2']) {
      const { output } = await run(curl!, [
        '-sk',
        version,
        `https://127.0.0.1:${tls.gateway.port}${UNESCAPED}`,
      ])
      t.equal(output, 'ok', version)
      t.equal(tls.upstream.requests.at(-1)!.target, SENT, version)
    }
  },
)
