import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect as connectHttp2 } from 'node:http2'
import { dirname, join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { haproxyIsInstalled, startHaproxyBefore, startHaproxyFront } from '../support/haproxy.ts'
import { askHttp2 } from '../support/http2-client.ts'
import {
  ADDRESSES4,
  ADDRESSES6,
  AUTHORITY,
  allOf,
  balanced,
  SSL,
  sslTlv,
  TCP4,
  TCP6,
  tlv,
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

const tlvs = Buffer.concat([tlv(AUTHORITY, 'app'), sslTlv(1), tlv(0xea, 'vpc')])

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
    'version 2 with TLVs',
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

/** Details of TLS within the TLV (version, cipher), as HAProxy writes them. */
const DETAILS = Buffer.concat([
  Buffer.from([0x07, 0, 0, 0, 0]),
  tlv(0x21, 'TLSv1.3'),
  tlv(0x23, 'TLS_AES_128_GCM_SHA256'),
])

for (const [what, told, scheme] of [
  ['a client of TLS', [sslTlv(1)], 'https'],
  ['a client of TLS with details', [tlv(0x01, 'h2'), tlv(SSL, DETAILS)], 'https'],
  ['a client without TLS', [sslTlv(0)], 'http'],
  ['a client that has shown a certificate, but does not speak TLS', [sslTlv(6)], 'http'],
  ['nothing of TLS, but a name', [tlv(AUTHORITY, 'app.example.com')], 'http'],
  ['padding alone', [tlv(0x04, Buffer.alloc(20))], 'http'],
] as const) {
  t.test(`version 2 with TLVs that tell of ${what}: the scheme is ${scheme}`, async (t) => {
    const header = version2({ family: TCP4, payload: Buffer.concat([ADDRESSES4, ...told]) })
    const answer = await allOf(await balanced(plain.port, Buffer.concat([header, GET])))
    t.match(answer, /^HTTP\/1\.1 200 /)
    t.same(plain.upstream.requests.at(-1)!.all('x-forwarded-proto'), [scheme])
    t.same(forwardedFor(plain), ['203.0.113.9'])
  })
}

t.test('TLVs without addresses: the scheme is https, and the peer is the balancer', async (t) => {
  const header = version2({ family: 0, payload: sslTlv(1) })
  await allOf(await balanced(plain.port, Buffer.concat([header, GET])))
  t.same(plain.upstream.requests.at(-1)!.all('x-forwarded-proto'), ['https'])
  t.same(forwardedFor(plain), ['127.0.0.1'])
})

t.test('TLVs of LOCAL tell of no client', async (t) => {
  const header = version2({ command: 0, family: 0, payload: sslTlv(1) })
  await allOf(await balanced(plain.port, Buffer.concat([header, GET])))
  t.same(plain.upstream.requests.at(-1)!.all('x-forwarded-proto'), ['http'])
})

for (const [name, logged] of [
  ['app.example.com', 'app.example.com'],
  ['APP.example.com', 'app.example.com'],
  ['evil","userId":"x', undefined],
] as const) {
  t.test(`the name that a client has asked the balancer for, ${name}, is logged as ${logged}`, async (t) => {
    const payload = Buffer.concat([ADDRESSES4, sslTlv(1), tlv(AUTHORITY, name)])
    const answer = await allOf(
      await balanced(plain.port, Buffer.concat([version2({ family: TCP4, payload }), GET])),
    )
    const id = /x-request-id: (\S+)/i.exec(answer)![1]
    t.equal((await plain.gateway.line(({ requestId }) => requestId === id)).serverName, logged)
  })
}

t.test('behind a balancer that ends TLS the own origin is https:, and an http: one is foreign', async (t) => {
  const header = version2({ family: TCP4, payload: Buffer.concat([ADDRESSES4, sslTlv(1)]) })
  for (const [origin, status] of [
    ['https://app.example.com', 200],
    ['http://app.example.com', 403],
  ] as const) {
    const fields = [`Cookie: ${plain.cookie}`, `Origin: ${origin}`, 'Content-Length: 0', 'Connection: close']
    const post = request('POST /secure', fields)
    t.match(await allOf(await balanced(plain.port, Buffer.concat([header, post]))), `HTTP/1.1 ${status} `)
  }
})

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

t.test('HAProxy ends TLS and says so with send-proxy-v2-ssl: the scheme is https', haproxy, async (t) => {
  const { certFile, cert, key } = createAuthority(t, 'the balancer').issue('edge', ['DNS:app.example.com'])
  const bundle = join(dirname(certFile), 'bundle.pem')
  await writeFile(bundle, Buffer.concat([cert, key]))
  const balancer = await startHaproxyFront({
    mode: 'tcp',
    bind: `ssl crt ${bundle} alpn http/1.1`,
    server: `127.0.0.1:${plain.port} send-proxy-v2-ssl proxy-v2-options authority`,
  })
  t.teardown(() => balancer.close())
  const secure = connectTls({
    port: balancer.port,
    host: '127.0.0.1',
    localAddress: '127.0.0.77',
    servername: 'app.example.com',
    rejectUnauthorized: false,
  } as never)
  await once(secure, 'secureConnect')
  const fields = [`Cookie: ${plain.cookie}`, 'Origin: https://app.example.com', 'Content-Length: 0']
  secure.write(request('POST /secure/by-haproxy', [...fields, 'Connection: close']))
  t.match(await allOf(secure), /^HTTP\/1\.1 200 /)
  t.same(plain.upstream.requests.at(-1)!.all('x-forwarded-proto'), ['https'])
  t.same(forwardedFor(plain), ['127.0.0.77'])
  const line = await plain.gateway.line(({ path }) => path === '/secure/by-haproxy')
  t.match(line, { serverName: 'app.example.com', clientAddress: '127.0.0.77' })
})

t.test('HAProxy without TLS and with send-proxy-v2-ssl: the scheme is http', haproxy, async (t) => {
  const balancer = await startHaproxyBefore(plain.port, 'send-proxy-v2-ssl')
  t.teardown(() => balancer.close())
  t.match(await allOf(await balanced(balancer.port, GET, '127.0.0.77')), /^HTTP\/1\.1 200 /)
  t.same(plain.upstream.requests.at(-1)!.all('x-forwarded-proto'), ['http'])
})

t.test('a drain does not wait for an unfinished header', async (t) => {
  const socket = await balanced(plain.port, 'PROXY')
  plain.gateway.signal('SIGTERM')
  await new Promise((resolve) => socket.once('close', resolve))
  t.equal(await plain.gateway.exited, 0)
})
