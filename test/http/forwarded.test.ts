import t from 'tap'
import { createPeerTrust } from '../../gateway/http/forwarded.ts'
import { namedFields } from '../../gateway/http/request-head.ts'

const trust = createPeerTrust(['10.0.0.0/8', 'fd00::/8'])
const proxy = trust.peerOf({ remoteAddress: '10.0.0.2' })
const stranger = trust.peerOf({ remoteAddress: '192.0.2.7' })

type Field = readonly [name: string, value: string]

const head = (fields: readonly Field[]) => ({ headers: namedFields(fields.flat()) })
const scheme = (...fields: Field[]) => trust.clientScheme(proxy, head(fields))
const address = (...fields: Field[]) => trust.clientAddress(proxy, head(fields))

for (const [told, expected] of [
  ['https', 'https'],
  ['wss', 'https'],
  ['WSS', 'https'],
  ['http', 'http'],
  ['ws', 'http'],
  ['https, http', 'https'],
  ['gopher', 'http'],
  ['', 'http'],
] as const) {
  t.test(`X-Forwarded-Proto: ${told} of a trusted proxy is the scheme ${expected}`, async (t) => {
    t.equal(scheme(['X-Forwarded-Proto', told]), expected)
  })
}

t.test('ws of a trusted proxy is http also where the connection to it is encrypted', async (t) => {
  const peer = trust.peerOf({ remoteAddress: '10.0.0.3', encrypted: true })
  t.equal(trust.clientScheme(peer, head([['X-Forwarded-Proto', 'ws']])), 'http')
})

for (const [chain, expected] of [
  ['203.0.113.9', '203.0.113.9'],
  ['203.0.113.9:5678', '203.0.113.9'],
  ['2001:db8::1', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['[2001:db8::1]:443', '2001:db8::1'],
  ['::ffff:203.0.113.9', '203.0.113.9'],
  ['[::ffff:203.0.113.9]:80', '203.0.113.9'],
  ['198.51.100.1, 203.0.113.9:5678, 10.0.0.9:80', '203.0.113.9'],
  ['203.0.113.9:1, [fd00::9]:2', '203.0.113.9'],
  ['10.0.0.7, 10.0.0.8', '10.0.0.7'],
  // What is before a hop that is no address was told by nobody known.
  ['198.51.100.1, unknown', '10.0.0.2'],
  ['198.51.100.1, _hidden, 10.0.0.9', '10.0.0.9'],
  ['fe80::1%eth0', '10.0.0.2'],
  ['203.0.113.9:', '203.0.113.9'],
  ['[203.0.113.9', '10.0.0.2'],
  ['app.example.com:80', '10.0.0.2'],
  ['', '10.0.0.2'],
] as const) {
  t.test(`X-Forwarded-For: ${chain} of a trusted proxy names the client ${expected}`, async (t) => {
    t.equal(address(['X-Forwarded-For', chain]), expected)
  })
}

for (const [field, expectedAddress, expectedScheme] of [
  ['for=203.0.113.9;proto=https', '203.0.113.9', 'https'],
  ['For="203.0.113.9:5678";Proto=HTTPS;by=10.0.0.2', '203.0.113.9', 'https'],
  ['for="[2001:db8::1]:443"; proto="wss" ;host=app.example.com', '2001:db8::1', 'https'],
  ['for="[2001:db8::1]"', '2001:db8::1', 'http'],
  ['for=[2001:db8::1]:443;proto=https', '2001:db8::1', 'https'],
  ['proto=https;for="\\2\\03.0.113.9"', '203.0.113.9', 'https'],
  ['for=203.0.113.9;proto=https, for=10.0.0.9;proto=http', '203.0.113.9', 'https'],
  ['for=203.0.113.9, for=10.0.0.9;proto=https', '203.0.113.9', 'https'],
  ['for="203.0.113.9";host="a,b;for=1.1.1.1"', '203.0.113.9', 'http'],
  [', ,for=203.0.113.9;;proto=https;,', '203.0.113.9', 'https'],
  ['for=unknown;proto=https', '10.0.0.2', 'https'],
  ['for=_hidden;proto=https, for="10.0.0.9:_port"', '10.0.0.9', 'https'],
  ['proto=https', '10.0.0.2', 'https'],
  ['', '10.0.0.2', 'http'],
  ['for', '10.0.0.2', 'http'],
  ['for=203.0.113.9;for=203.0.113.8;proto=https', '10.0.0.2', 'http'],
] as const) {
  t.test(`Forwarded: ${field} of a trusted proxy: ${expectedAddress} by ${expectedScheme}`, async (t) => {
    t.equal(address(['Forwarded', field]), expectedAddress)
    t.equal(scheme(['Forwarded', field]), expectedScheme)
  })
}

t.test('several Forwarded fields are read as one list', async (t) => {
  const fields = [
    ['Forwarded', 'for=203.0.113.9;proto=https'],
    ['Forwarded', 'for=10.0.0.9;proto=http'],
  ] as const
  t.equal(address(...fields), '203.0.113.9')
  t.equal(scheme(...fields), 'https')
})

for (const [what, begun] of [
  ['an element of its own', 'for=198.51.100.1;proto=https'],
  ['a quote that is never closed', 'for=198.51.100.1;proto=https;host="'],
  ['an escape at the end of a quote', 'for="198.51.100.1\\'],
  ['a quote that would take in what follows', 'proto=https;for="198.51.100.1, for=198.51.100.2;x="'],
  ['a trusted proxy as the next hop', 'for=198.51.100.1;proto=https, for=10.0.0.1'],
  ['bytes that are no pair', 'for=198.51.100.1;proto=https, @@@'],
] as const) {
  t.test(`attack: a client that begins Forwarded with ${what} gains no address and no scheme`, async (t) => {
    const field = `${begun}, for=203.0.113.9;proto=http`
    t.equal(address(['Forwarded', field]), '203.0.113.9')
    t.equal(scheme(['Forwarded', field]), 'http')
  })
}

for (const [name, value] of [
  ['X-Forwarded-For', '203.0.113.9'],
  ['X-Forwarded-Proto', 'http'],
  ['X-Forwarded-Host', 'app.example.com'],
] as const) {
  t.test(
    `attack: Forwarded that a proxy has passed on counts for nothing where the proxy sets ${name}`,
    async (t) => {
      const fields = [
        ['Forwarded', 'for=198.51.100.1;proto=https'],
        [name, value],
      ] as const
      t.not(address(...fields), '198.51.100.1')
      t.equal(scheme(...fields), 'http')
    },
  )
}

t.test('attack: what a peer that is not trusted claims never counts', async (t) => {
  for (const fields of [
    [['X-Forwarded-Proto', 'wss']],
    [['X-Forwarded-For', '10.0.0.1']],
    [['Forwarded', 'for=10.0.0.1;proto=https']],
    [
      ['X-Forwarded-Proto', 'https'],
      ['X-Forwarded-For', '[fd00::1]:1'],
    ],
  ] as const) {
    t.equal(trust.clientScheme(stranger, head(fields)), 'http')
    t.equal(trust.clientAddress(stranger, head(fields)), '192.0.2.7')
  }
})

t.test('attack: a Forwarded field of many quotes and commas is read in time (ReDoS)', async (t) => {
  for (const piece of ['a="', 'a="\\"', ',a="', ',"', 'a=";b=",', '\\', ',', ';', ' ', 'a="b",', 'a="\\",']) {
    const field = piece.repeat((64 * 1024) / piece.length)
    const began = performance.now()
    address(['Forwarded', field])
    t.ok(performance.now() - began < 500, `${piece}: ${performance.now() - began} ms`)
  }
})

const BY_BALANCER = { encrypted: false, serverName: null }

t.test('attack: a connection from a source port used again is not that of the client before', async (t) => {
  const again = createPeerTrust(['10.0.0.0/8'])
  const ends = () => ({
    remoteAddress: '10.0.0.2',
    remotePort: 4711,
    localAddress: '10.0.0.1',
    localPort: 80,
  })
  const before = ends()
  again.assignClient(before, { ...BY_BALANCER, address: '10.0.0.9' })
  const unnamed = ends()
  t.match(again.peerOf(unnamed), { address: '10.0.0.2' })
  const next = ends()
  again.assignClient(next, { ...BY_BALANCER, address: '203.0.113.9' })
  const secure = { ...ends(), encrypted: true }
  again.adoptClient(secure, next)
  t.match(again.peerOf(secure), { address: '203.0.113.9', trusted: false, scheme: 'https' })
  t.match(again.peerOf(before), { address: '10.0.0.9', trusted: true })
})

t.test('the scheme is https where the balancer ends TLS', async (t) => {
  const socket = { remoteAddress: '10.0.0.2' }
  trust.assignClient(socket, { address: '203.0.113.9', encrypted: true, serverName: 'app.example.com' })
  t.match(trust.peerOf(socket), { scheme: 'https', serverName: 'app.example.com', trusted: false })
})
