import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { connect as connectPlain } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type PeerCertificate, type TLSSocket } from 'node:tls'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import { until } from '../support/plain-gateway.ts'
import { request, type Stage, startStage } from '../support/stage.ts'

const authority = createAuthority(t, 'the edge authority')
const app = authority.issue('app.example.com', ['DNS:app.example.com'])
const shop = authority.issue('shop.example.com', ['DNS:shop.example.com', 'DNS:*.shop.example.com'])
const folder = mkdtempSync(join(tmpdir(), 'gateway-certificates-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
put('shop', shop)

let stage: Stage

t.before(async () => {
  stage = await startStage({
    env: {
      TLS_CERT_FILE: app.certFile,
      TLS_KEY_FILE: app.keyFile,
      TLS_CERT_DIR: folder,
      WORKERS: '2',
      HSTS_MAX_AGE_S: '31536000',
      HSTS_INCLUDE_SUBDOMAINS: 'on',
      HSTS_PRELOAD: 'on',
    },
  })
})
t.teardown(() => stage.close())

function put(name: string, made: typeof app): void {
  copyFileSync(made.keyFile, join(folder, `${name}.key`))
  copyFileSync(made.certFile, join(folder, `${name}.crt`))
}

async function handshake(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    port: stage.port,
    host: '127.0.0.1',
    servername: 'app.example.com',
    ca: authority.cert,
    ...options,
  })
  await once(socket, 'secureConnect')
  return socket
}

async function subject(servername: string): Promise<string> {
  const socket = await handshake({ servername, rejectUnauthorized: false })
  const { subject } = socket.getPeerCertificate() as PeerCertificate
  socket.destroy()
  return String(subject.CN)
}

t.test('each host gets its own certificate, and an unknown one the fallback', async (t) => {
  t.equal(await subject('app.example.com'), 'app.example.com')
  t.equal(await subject('shop.example.com'), 'shop.example.com')
  t.equal(await subject('eu.shop.example.com'), 'shop.example.com')
  t.equal(await subject('unknown.example.com'), 'app.example.com')
  t.equal(await subject(''), 'app.example.com')
})

t.test('a certificate that is added to the folder is used for its host within two seconds', async (t) => {
  const open = http2Client(t, stage.port)
  t.equal((await askHttp2(open, { ':path': '/' })).status, 200)
  put('blog', authority.issue('blog.example.com', ['DNS:blog.example.com']))
  const began = performance.now()
  await until(async () => (await subject('blog.example.com')) === 'blog.example.com')
  t.ok(performance.now() - began < 2000)
  t.equal((await askHttp2(open, { ':path': '/' })).status, 200, 'an open connection goes on')
})

t.test(
  'each certificate has a series with its expiry, and the series without a label is the earliest',
  async (t) => {
    const name = 'gateway_tls_certificate_file_expiry_timestamp_seconds'
    const each = await Promise.all(
      [app.certFile, 'shop.crt'].map((file) => stage.gateway.metric(`${name}{file="${file}"}`)),
    )
    t.equal(await stage.gateway.metric('gateway_tls_certificate_expiry_timestamp_seconds'), Math.min(...each))
  },
)

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  t.test(`a session of ${version} is resumed by whichever worker gets the next connection`, async (t) => {
    const first = connect({
      port: stage.port,
      host: '127.0.0.1',
      servername: 'app.example.com',
      ca: authority.cert,
      maxVersion: version,
    })
    const [session] = (await once(first, 'session')) as [Buffer]
    first.destroy()
    for (let n = 0; n < 4; n++) {
      const next = await handshake({ session, maxVersion: version })
      t.ok(next.isSessionReused())
      t.equal(next.getProtocol(), version)
      next.destroy()
    }
  })
}

for (const [what, options] of [
  ['TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }],
  ['a cipher without forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256:AES128-SHA' }],
  ['a cipher without AEAD', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' }],
  ['a client whose protocols are all unknown (ALPN)', { ALPNProtocols: ['spdy/3', 'foo'] }],
] as const) {
  t.test(`${what} gets no connection`, async (t) => {
    await t.rejects(handshake(options as ConnectionOptions))
  })
}

t.test('a plain HTTP connection to the TLS port ends at once and affects no other', async (t) => {
  const socket = connectPlain(stage.port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(request('GET /'))
  socket.resume()
  await once(socket, 'close')
  t.equal((await askHttp2(http2Client(t, stage.port), { ':path': '/' })).status, 200)
})

const HSTS = 'max-age=31536000; includeSubDomains; preload'

async function overHttp1(bytes: Buffer | string): Promise<string> {
  const socket = await handshake()
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk
  })
  socket.write(bytes)
  await once(socket, 'end')
  return text
}

t.test('Strict-Transport-Security is in every answer over TLS, once', async (t) => {
  stage.upstream.respond((_request, socket) =>
    socket.write('HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 2\r\n\r\nok'),
  )
  for (const [what, path, status] of [
    ['an answer of an upstream, in place of its own', '/', 200],
    ['a refusal', '/secure', 401],
    ['an own endpoint', '/-/healthz', 200],
  ] as const) {
    const { headers, status: got } = await askHttp2(http2Client(t, stage.port), { ':path': path })
    t.equal(got, status)
    t.equal(headers['strict-transport-security'], HSTS, what)
    const text = await overHttp1(request(`GET ${path}`, ['Connection: close']))
    t.same(text.match(/^strict-transport-security: .*$/gim), [`Strict-Transport-Security: ${HSTS}`], what)
  }
  t.match(await overHttp1('nonsense\r\n\r\n'), `Strict-Transport-Security: ${HSTS}`, 'what cannot be parsed')
})
