import t from 'tap'
import { candidatesOf, parseResolverSettings } from '../../gateway/names/resolver-settings.ts'

const settings = (text: string | null, hostname = 'box') => parseResolverSettings(text, hostname)

const names = (name: string, text: string) =>
  candidatesOf(name, settings(text)).map((candidate) => candidate.name)

const KUBERNETES = `search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
options ndots:5
`

t.test('name servers are used in their order, at most three as in the C library', async (t) => {
  t.same(settings('nameserver 10.0.0.1\n').servers, ['10.0.0.1'])
  t.same(
    settings('nameserver 10.0.0.1 # first\nnameserver fd00::53\nnameserver\t127.0.0.53\nnameserver 10.0.0.4')
      .servers,
    ['10.0.0.1', 'fd00::53', '127.0.0.53'],
  )
  t.same(settings('nameserver 127.0.0.1:5353\nnameserver [::1]:5353').servers, [
    '127.0.0.1:5353',
    '[::1]:5353',
  ])
})

t.test(
  'a file without a usable server means 127.0.0.1; without a file c-ares finds the servers',
  async (t) => {
    t.same(settings('').servers, ['127.0.0.1'])
    t.same(settings('nameserver dns.example.com\n;nameserver 10.0.0.1').servers, ['127.0.0.1'])
    t.equal(settings(null).servers, null)
  },
)

t.test('the last search or domain line counts; without one it is the domain of this machine', async (t) => {
  t.same(settings('search a.example B.Example.').search, ['a.example', 'b.example'])
  t.same(settings('search a.example\ndomain b.example').search, ['b.example'])
  t.same(settings('domain b.example\nsearch a.example c.example').search, ['a.example', 'c.example'])
  t.same(settings('nameserver 10.0.0.1', 'box.corp.example').search, ['corp.example'])
  t.same(settings('nameserver 10.0.0.1', 'box').search, [])
})

t.test('the options ndots, timeout (within the bounds of the C library) and no-aaaa are read', async (t) => {
  t.match(settings(''), { ndots: 1, timeoutMs: 1000, asksIPv6: true })
  t.match(settings('options ndots:5 timeout:3 rotate'), { ndots: 5, timeoutMs: 3000 })
  t.match(settings('options ndots:99 timeout:99'), { ndots: 15, timeoutMs: 30_000 })
  t.match(settings('options ndots:x timeout:0'), { ndots: 1, timeoutMs: 1000 })
  t.match(settings('options ndots:2\noptions no-aaaa'), { ndots: 2, asksIPv6: false })
})

t.test(
  'with the settings of Kubernetes the search domains are tried first for names of services',
  async (t) => {
    t.same(names('api', KUBERNETES), [
      'api.shop.svc.cluster.local',
      'api.svc.cluster.local',
      'api.cluster.local',
      'api',
    ])
    t.equal(names('db.example.com', KUBERNETES).at(-1), 'db.example.com')
    t.equal(names('db.example.com', KUBERNETES).length, 4)
  },
)

t.test('a name with at least ndots dots is tried as given first', async (t) => {
  t.same(names('db.prod', 'search corp.example'), ['db.prod', 'db.prod.corp.example'])
  t.same(names('db', 'search corp.example'), ['db.corp.example', 'db'])
  t.same(names('a.b.c.d.e.f', KUBERNETES)[0], 'a.b.c.d.e.f')
})

t.test(
  'a dot at the end makes a name absolute; the root among the search domains is the name as given',
  async (t) => {
    t.same(names('db.', 'search corp.example'), ['db'])
    t.same(names('db', 'search .'), ['db'])
    t.same(names('db', 'search . corp.example'), ['db', 'db.corp.example'])
    t.same(names('db', ''), ['db'])
  },
)
