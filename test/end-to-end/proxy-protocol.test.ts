import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { haproxyIsInstalled, startHaproxyBefore } from '../support/haproxy.ts'
import { askHttp2 } from '../support/http2-client.ts'
import {
  ADDRESSES4,
  ADDRESSES6,
  allOf,
  balanced,
  TCP4,
  TCP6,
  VERSION1,
  version2,
} from '../support/proxy-protocol.ts'
import { request, type Stage, startStage } from '../support/stage.ts'

const TRUST = { TRUSTED_PROXIES: '127.0.0.1,198.51.100.0/24', PROXY_PROTOCOL: 'on' }
const GET = request('GET /', ['Connection: close'])

let plain: Stage
let tls: Stage
let redirectPort: number

t.before(async () => {
  const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
  const files = { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, HTTP_REDIRECT_PORT: '0' }
  ;[plain, tls] = await Promise.all([startStage({ env: TRUST }), startStage({ env: { ...TRUST, ...files } })])
  redirectPort = (await tls.gateway.line(({ msg }) => msg === 'listening')).redirectPort as number
})
t.teardown(() => Promise.all([plain.close(), tls.close()]))

function forwardedFor({ upstream }: Stage): readonly string[] {
  return upstream.requests
    .at(-1)!
    .headers.filter(([name]) => name.toLowerCase() === 'x-forwarded-for')
    .map(([, value]) => value)
}

const tlvs = Buffer.concat([
  Buffer.from([0x02, 0, 3]),
  Buffer.from('app'),
  Buffer.from([0x20, 0, 5, 1, 0, 0, 0, 0]),
])

for (const [what, header, client] of [
  ['version 1, IPv4', VERSION1, '203.0.113.9'],
  ['version 1, IPv6', 'PROXY TCP6 2001:db8::9 ::1 12345 80\r\n', '2001:db8::9'],
  ['version 1, UNKNOWN', 'PROXY UNKNOWN\r\n', '127.0.0.1'],
  ['version 1, UNKNOWN with more', 'PROXY UNKNOWN ff:f::1 whatever 1 2\r\n', '127.0.0.1'],
  ['version 2, IPv4', version2({ family: TCP4, payload: ADDRESSES4 }), '203.0.113.9'],
  ['version 2, IPv6', version2({ family: TCP6, payload: ADDRESSES6 }), '2001:db8::9'],
  [
    'version 2, IPv4 in IPv6',
    version2({
      family: TCP6,
      payload: Buffer.concat([Buffer.from(`${'00'.repeat(10)}ffffcb007109`, 'hex'), ADDRESSES6.subarray(16)]),
    }),
    '203.0.113.9',
  ],
  [
    'version 2 with TLVs, which are skipped',
    version2({ family: TCP4, payload: Buffer.concat([ADDRESSES4, tlvs]) }),
    '203.0.113.9',
  ],
  ['version 2, LOCAL', version2({ command: 0, family: 0, payload: Buffer.alloc(0) }), '127.0.0.1'],
  [
    'version 2, LOCAL with addresses',
    version2({ command: 0, family: TCP4, payload: ADDRESSES4 }),
    '127.0.0.1',
  ],
  ['version 2, UNSPEC', version2({ family: 0, payload: tlvs }), '127.0.0.1'],
  ['version 2, a unix socket', version2({ family: 0x31, payload: Buffer.alloc(216, 'x') }), '127.0.0.1'],
] as const) {
  t.test(`${what}: the client is ${client}, for upstreams and the log`, async (t) => {
    const socket = await balanced(plain.port, Buffer.concat([Buffer.from(header), GET]))
    const answer = await allOf(socket)
    t.match(answer, /^HTTP\/1\.1 200 /)
    t.same(forwardedFor(plain), [client])
    const id = /x-request-id: (\S+)/i.exec(answer)![1]
    t.match(await plain.gateway.line(({ requestId }) => requestId === id), { clientAddress: client })
  })
}

t.test('the header applies to all requests of a connection', async (t) => {
  const socket = await balanced(plain.port, VERSION1)
  socket.write(request('GET /1'))
  await once(socket, 'data')
  socket.write(request('POST /2', ['Content-Length: 2', 'Connection: close'], 'ok'))
  await allOf(socket)
  t.equal(plain.upstream.requests.at(-1)!.target, '/2')
  t.same(forwardedFor(plain), ['203.0.113.9'])
})

t.test('forwarding fields of a client behind the balancer that is a trusted proxy are used', async (t) => {
  const header = 'PROXY TCP4 198.51.100.7 10.0.0.1 1 80\r\n'
  const get = request('GET /', ['X-Forwarded-For: 192.0.2.1', 'Connection: close'])
  await allOf(await balanced(plain.port, Buffer.concat([Buffer.from(header), get])))
  t.same(forwardedFor(plain), ['192.0.2.1, 198.51.100.7'])
})

t.test('forwarding fields of an untrusted client behind the balancer are ignored', async (t) => {
  const get = request('GET /', ['X-Forwarded-For: 192.0.2.1', 'Connection: close'])
  await allOf(await balanced(plain.port, Buffer.concat([Buffer.from(VERSION1), get])))
  t.same(forwardedFor(plain), ['203.0.113.9'])
})

t.test('a peer that is not trusted needs no header', async (t) => {
  t.match(await allOf(await balanced(plain.port, GET, '127.0.0.2')), /^HTTP\/1\.1 200 /)
  t.same(forwardedFor(plain), ['127.0.0.2'])
})

for (const [what, split] of [
  ['in a packet of its own', false],
  ['in one packet with the beginning of the handshake', true],
] as const) {
  t.test(`the header before TLS, ${what}, over HTTP/2 and HTTP/1.1`, async (t) => {
    for (const protocol of ['h2', 'http/1.1']) {
      const socket = await balanced(tls.port, split ? '' : VERSION1)
      const write = socket.write.bind(socket)
      if (split) {
        // In one write with the first bytes of TLS.
        socket.cork()
        write(VERSION1)
        setImmediate(() => socket.uncork())
      }
      const secure = connectTls({
        socket,
        servername: 'app.example.com',
        rejectUnauthorized: false,
        ALPNProtocols: [protocol],
      })
      await once(secure, 'secureConnect')
      if (protocol === 'h2') {
        const session = connectHttp2('https://app.example.com', { createConnection: () => secure })
        t.equal((await askHttp2(session, { ':path': '/' })).status, 200)
        session.destroy()
      } else {
        secure.write(GET)
        t.match(await allOf(secure), /^HTTP\/1\.1 200 /)
      }
      t.same(forwardedFor(tls), ['203.0.113.9'], protocol)
    }
  })
}

t.test('the redirect listener accepts the header too', async (t) => {
  const socket = await balanced(redirectPort, Buffer.concat([Buffer.from(VERSION1), GET]))
  t.match(await allOf(socket), /^HTTP\/1\.1 308 /)
})

t.test('a drain does not wait for an unfinished header', async (t) => {
  const socket = await balanced(plain.port, 'PROXY')
  plain.gateway.signal('SIGTERM')
  await new Promise((resolve) => socket.once('close', resolve))
  t.equal(await plain.gateway.exited, 0)
})

const haproxy = haproxyIsInstalled() ? {} : { skip: 'HAProxy is not installed' }
for (const option of ['send-proxy', 'send-proxy-v2', 'send-proxy-v2-ssl', 'send-proxy-v2-ssl-cn']) {
  t.test(`HAProxy in TCP mode with ${option}`, haproxy, async (t) => {
    const balancer = await startHaproxyBefore(tls.port, option)
    t.teardown(() => balancer.close())
    const session = connectHttp2(`https://127.0.0.1:${balancer.port}`, {
      rejectUnauthorized: false,
      localAddress: '127.0.0.77',
    } as never)
    t.equal((await askHttp2(session, { ':path': '/' })).status, 200)
    session.destroy()
    t.same(forwardedFor(tls), ['127.0.0.77'])
  })
}
