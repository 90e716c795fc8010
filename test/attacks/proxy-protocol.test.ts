import { once } from 'node:events'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import {
  ADDRESSES4,
  ADDRESSES6,
  allOf,
  balanced,
  SSL,
  TCP4,
  TCP6,
  tlv,
  VERSION1,
  version2,
} from '../support/proxy-protocol.ts'
import { request, type Stage, startStage } from '../support/stage.ts'

const ENV = { TRUSTED_PROXIES: '127.0.0.1', PROXY_PROTOCOL: 'on', HEADERS_TIMEOUT_MS: '1000' }
const STRANGER = '127.0.0.2'
const GET = request('GET /', ['Connection: close'])
const WHOLE2 = version2({ family: TCP4, payload: ADDRESSES4 })

let stage: Stage

t.before(async () => {
  stage = await startStage({ env: ENV })
})
t.teardown(() => stage.close())

function withRequest(header: Buffer | string): Buffer {
  return Buffer.concat([Buffer.from(header), GET])
}

function withTlvs(tlvs: Buffer): Buffer {
  return Buffer.concat([ADDRESSES4, tlvs])
}

for (const [what, header] of [
  ['version 1', VERSION1],
  ['version 2', WHOLE2],
] as const) {
  t.test(`a spoofed header of ${what} from a peer that is not trusted is a 400`, async (t) => {
    const before = stage.upstream.requests.length
    t.match(await allOf(await balanced(stage.port, withRequest(header), STRANGER)), /^HTTP\/1\.1 400 /)
    t.equal(stage.upstream.requests.length, before)
  })

  t.test(
    `a second header of ${what} smuggled behind the first is a 400, and does not change the client's address`,
    async (t) => {
      const before = stage.upstream.requests.length
      const bytes = Buffer.concat([Buffer.from(VERSION1), withRequest(header)])
      t.match(await allOf(await balanced(stage.port, bytes)), /^HTTP\/1\.1 400 /)
      t.equal(stage.upstream.requests.length, before)
    },
  )

  t.test(`a header of ${what} split over many packets is read`, async (t) => {
    const socket = await balanced(stage.port, '')
    socket.setNoDelay(true)
    for (const byte of Buffer.from(header)) {
      socket.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    socket.write(GET)
    t.match(await allOf(socket), /^HTTP\/1\.1 200 /)
    t.ok(
      stage.upstream.requests.at(-1)!.headers.some(([, value]) => value === '203.0.113.9'),
      'its client arrives',
    )
  })

  t.test(`a header of ${what} that is never finished (slowloris) ends the connection in time`, async (t) => {
    const began = performance.now()
    t.equal(await allOf(await balanced(stage.port, Buffer.from(header).subarray(0, -3))), '')
    const took = performance.now() - began
    t.ok(took > 900 && took < 3000, `${took} ms`)
  })
}

for (const [what, bytes] of [
  ['no header at all', GET],
  ['a handshake of TLS in its place', Buffer.from('16030100c8010000c403', 'hex')],
  ['a lower-case word', withRequest('proxy TCP4 203.0.113.9 10.0.0.1 1 80\r\n')],
  ['a line that ends with LF alone', withRequest('PROXY TCP4 203.0.113.9 10.0.0.1 1 80\n')],
  ['a line without an end', `PROXY TCP4 ${'1'.repeat(200)}`],
  ['a line of more than 107 bytes', withRequest(`PROXY UNKNOWN ${'x'.repeat(100)}\r\n`)],
  ['a family that is not known', withRequest('PROXY UDP4 203.0.113.9 10.0.0.1 1 80\r\n')],
  ['an IPv6 address said to be IPv4', withRequest('PROXY TCP4 2001:db8::9 10.0.0.1 1 80\r\n')],
  ['an address with a zone', withRequest('PROXY TCP6 fe80::1%eth0 ::1 1 80\r\n')],
  ['a name in place of an address', withRequest('PROXY TCP4 localhost 10.0.0.1 1 80\r\n')],
  ['an address with leading zeros', withRequest('PROXY TCP4 203.0.113.009 10.0.0.1 1 80\r\n')],
  [
    'a list of addresses (X-Forwarded-For injection)',
    withRequest('PROXY TCP4 1.1.1.1,2.2.2.2 10.0.0.1 1 80\r\n'),
  ],
  ['a port past 65535', withRequest('PROXY TCP4 203.0.113.9 10.0.0.1 65536 80\r\n')],
  ['two blanks', withRequest('PROXY TCP4  203.0.113.9 10.0.0.1 1 80\r\n')],
  ['one field too many', withRequest('PROXY TCP4 203.0.113.9 10.0.0.1 1 80 9\r\n')],
  ['one field too few', withRequest('PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n')],
  ['version 3', version2({ version: 3, family: TCP4, payload: ADDRESSES4 })],
  ['a command that is not known', version2({ command: 2, family: TCP4, payload: ADDRESSES4 })],
  ['a family that is not known in version 2', version2({ family: 0x44, payload: ADDRESSES4 })],
  ['an oversized length in version 2', version2({ family: TCP4, payload: ADDRESSES4, length: 65_535 })],
  ['an oversized LOCAL', version2({ command: 0, family: 0, payload: Buffer.alloc(0), length: 65_535 })],
  ['addresses cut short', withRequest(version2({ family: TCP4, payload: ADDRESSES4.subarray(0, 11) }))],
  ['a TLV without a length', withRequest(version2({ family: TCP4, payload: withTlvs(Buffer.from([4, 0])) }))],
  ['a TLV that is cut short', withRequest(version2({ family: TCP4, payload: withTlvs(tlv(4, 'abc', 4)) }))],
  ['a TLV of TLS without flags', withRequest(version2({ family: TCP4, payload: withTlvs(tlv(SSL, '')) }))],
  [
    'a TLV of TLS that is cut short',
    withRequest(version2({ family: TCP4, payload: withTlvs(tlv(SSL, '\x01\0\0\0')) })),
  ],
  ['an IPv4 address said to be IPv6', withRequest(version2({ family: TCP6, payload: ADDRESSES4 }))],
] as const) {
  t.test(`a trusted peer that sends ${what} is closed without an answer`, async (t) => {
    const before = stage.upstream.requests.length
    t.equal(await allOf(await balanced(stage.port, bytes)), '')
    t.equal(stage.upstream.requests.length, before)
    const line = await stage.gateway.line(({ msg }) => msg.includes('PROXY protocol'))
    t.match(line, { peer: '127.0.0.1', reason: String })
  })
}

t.test(
  'two thousand connections that never finish their header are closed and affect no other client',
  async (t) => {
    const idle = await Promise.all(Array.from({ length: 2000 }, () => balanced(stage.port, 'PROXY TCP4 ')))
    t.match(await allOf(await balanced(stage.port, withRequest(VERSION1))), /^HTTP\/1\.1 200 /)
    await Promise.all(idle.map((socket) => socket.destroyed || once(socket.resume(), 'close')))
    t.match(await allOf(await balanced(stage.port, withRequest(VERSION1))), /^HTTP\/1\.1 200 /)
  },
)

t.test(
  'over TLS a header from an untrusted peer, or none from a trusted one, ends the connection',
  async (t) => {
    const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])
    const secure = await startStage({ env: { ...ENV, TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile } })
    t.teardown(() => secure.close())
    const hello = Buffer.from('16030100c8010000c403', 'hex')
    for (const [bytes, from] of [
      [VERSION1, STRANGER],
      [version2({ family: TCP6, payload: ADDRESSES6 }), STRANGER],
      [hello, '127.0.0.1'],
    ] as const) {
      t.notMatch(await allOf(await balanced(secure.port, bytes, from)), 'HTTP/1.1 200')
    }
    t.equal(secure.upstream.requests.length, 0)
  },
)
