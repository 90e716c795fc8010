import t from 'tap'
import { hostsAddresses, parseHosts } from '../../gateway/names/hosts-file.ts'

const HOSTS = parseHosts(`
# a comment, then an empty line

127.0.0.1   localhost
::1         localhost ip6-localhost
10.0.0.1\tapi.internal  API  # one address, two names
10.0.0.2    api.internal
10.0.0.2    api.internal
fd00::1     api.internal
fe80::1%eth0 router
10.0.0.300  broken
nonsense
10.0.0.9
10.0.0.7    windows.internal\r
10.0.0.8    absolute.internal.
`)

const addresses = (name: string) =>
  hostsAddresses(HOSTS, name)
    ?.map(({ address }) => address)
    .join(' ') ?? null

t.test('a name has the addresses of all its lines, each once, in the order of the file', async (t) => {
  t.equal(addresses('api.internal'), '10.0.0.1 10.0.0.2 fd00::1')
  t.equal(addresses('api'), '10.0.0.1')
  t.equal(addresses('localhost'), '127.0.0.1 ::1')
  t.equal(addresses('router'), 'fe80::1%eth0')
  t.equal(addresses('windows.internal'), '10.0.0.7')
  t.equal(addresses('absolute.internal'), '10.0.0.8')
})

t.test('comments, invalid addresses and lines without a name are ignored', async (t) => {
  for (const name of ['broken', 'nonsense', '', '#', 'one', '10.0.0.9']) t.equal(addresses(name), null, name)
})

t.test('localhost and the names below it have the loopback addresses by default (RFC 6761)', async (t) => {
  const none = parseHosts(null)
  for (const name of ['localhost', 'app.localhost', 'a.b.localhost'])
    t.same(
      hostsAddresses(none, name)?.map(({ address }) => address),
      ['127.0.0.1', '::1'],
      name,
    )
  t.equal(hostsAddresses(none, 'notlocalhost'), null)
  t.equal(hostsAddresses(none, 'localhost.example'), null)
})
