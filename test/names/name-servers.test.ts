import t, { type Test } from 'tap'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { type Answers, FAMILIES, type Resolution } from '../../gateway/names/address.ts'
import { createNameServers } from '../../gateway/names/name-servers.ts'
import { parseResolverSettings } from '../../gateway/names/resolver-settings.ts'
import { type NameRecord, startNameServer } from '../support/name-server.ts'

async function setUp(t: Test, records: Readonly<Record<string, NameRecord>>, lines = '') {
  const server = await startNameServer(records)
  let settings = parseResolverSettings(`nameserver ${server.server}\n${lines}`, 'box')
  const servers = createNameServers({ settings: () => settings, scheduler: systemScheduler })
  t.teardown(() => {
    servers.close()
    server.close()
  })
  return {
    server,
    servers,
    resolve: async (name: string) => shown(await servers.resolve(name)),
    use(text: string) {
      settings = parseResolverSettings(text, 'box')
    },
  }
}

function shown(resolution: Resolution): string {
  if (resolution.kind === 'none') return 'none'
  if (resolution.kind === 'failed') return resolution.silent ? 'silent' : `failed ${codeOf(resolution.cause)}`
  return listed(resolution.answers)
}

function listed(answers: Answers): string {
  return FAMILIES.flatMap((family) => {
    const answer = answers[family]
    return answer?.kind === 'addresses' ? answer.addresses : []
  }).join(' ')
}

const codeOf = (error: Error) => (error as NodeJS.ErrnoException).code

t.test('both families are looked up', async (t) => {
  const { resolve } = await setUp(t, {
    'both.test': { addresses: ['10.0.0.1', '10.0.0.2', 'fd00::1'] },
    'four.test': { addresses: ['10.0.0.4'] },
    'six.test': { addresses: ['fd00::6'] },
    'empty.test': {},
  })
  t.equal(await resolve('both.test'), 'fd00::1 10.0.0.1 10.0.0.2')
  t.equal(await resolve('four.test'), '10.0.0.4')
  t.equal(await resolve('six.test'), 'fd00::6')
  t.equal(await resolve('empty.test'), 'none')
  t.equal(await resolve('unknown.test'), 'none')
})

t.test('names of containers, without a dot, are looked up as given', async (t) => {
  const { resolve, server } = await setUp(t, { my_backend: { addresses: ['172.18.0.2'] } })
  t.equal(await resolve('my_backend'), '172.18.0.2')
  t.same(new Set(server.questions), new Set(['my_backend A', 'my_backend AAAA']))
})

t.test('the time to live is the smallest of the records of a family', async (t) => {
  const { servers } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1'], ttl: 7 } })
  const found = await servers.resolve('api.test')
  t.match(found, { kind: 'found', answers: { 4: { ttlMs: 7000 } } })
})

t.test('a server that does not answer for IPv6 delays the answer for IPv4 by 50 ms', async (t) => {
  const { servers, server } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1'], silent: 'AAAA' } })
  const began = performance.now()
  const found = await servers.resolve('api.test')
  t.ok(performance.now() - began < 500, 'soon')
  t.equal(shown(found), '10.0.0.1')
  server.records.set('api.test', { addresses: ['10.0.0.1', 'fd00::1'] })
  t.equal(
    found.kind === 'found' && listed((await found.late)!),
    'fd00::1 10.0.0.1',
    'the late answer is kept',
  )
})

t.test('a query that is not answered yet is not sent again with the next look-up of its name', async (t) => {
  const { resolve, server } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1'], silent: 'AAAA' } })
  for (let n = 0; n < 3; n++) t.equal(await resolve('api.test'), '10.0.0.1')
  t.equal(server.asked('api.test A'), 3)
  // One, or two where c-ares has repeated it meanwhile.
  t.ok(server.asked('api.test AAAA') < 3)
})

t.test(
  'a server that wrongly denies a name when asked for IPv6 (RFC 4074) does not hide its IPv4 addresses',
  async (t) => {
    const { resolve } = await setUp(t, { 'api.test': { code: 'NXDOMAIN' }, 'b.test': { code: 'SERVFAIL' } })
    t.equal(await resolve('api.test'), 'none')
    t.equal(await resolve('b.test'), 'failed ESERVFAIL')
  },
)

t.test('with the option no-aaaa only IPv4 is looked up', async (t) => {
  const { resolve, server } = await setUp(t, { 'api.test': { addresses: ['10.0.0.1'] } }, 'options no-aaaa')
  t.equal(await resolve('api.test'), '10.0.0.1')
  t.same(server.questions, ['api.test A'])
})

t.test('a hundred names that no server answers do not delay another name', async (t) => {
  const silent = Object.fromEntries(
    Array.from({ length: 100 }, (_, n) => [`silent${n}.test`, { silent: 'all' } as NameRecord]),
  )
  const { resolve, servers } = await setUp(t, { ...silent, 'db.test': { addresses: ['10.0.0.1'] } })
  const dead = Object.keys(silent).map((name) => resolve(name))
  for (let n = 0; n < 5; n++) {
    const began = performance.now()
    t.equal(await resolve('db.test'), '10.0.0.1')
    t.ok(performance.now() - began < 800, 'before c-ares would ask again')
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  servers.close()
  t.same(new Set(await Promise.all(dead)), new Set(['silent']))
})

t.test(
  'a server that does not answer, one that fails and a name that does not exist are distinguished',
  async (t) => {
    const { resolve } = await setUp(t, {
      'silent.test': { silent: 'all' },
      'servfail.test': { code: 'SERVFAIL' },
      'refused.test': { code: 'REFUSED' },
    })
    t.same(await Promise.all(['silent.test', 'servfail.test', 'refused.test', 'none.test'].map(resolve)), [
      'silent',
      'failed ESERVFAIL',
      'failed EREFUSED',
      'none',
    ])
  },
)

t.test('search domains are tried in their order until one has the name', async (t) => {
  const { resolve, server } = await setUp(
    t,
    { 'api.b.test': { addresses: ['10.0.0.1'] }, 'api.c.test': { addresses: ['10.0.0.2'] } },
    'search a.test b.test c.test\noptions ndots:5',
  )
  t.equal(await resolve('api'), '10.0.0.1')
  t.equal(server.asked('api.a.test A'), 1)
  t.equal(server.asked('api.c.test A'), 0)
  t.equal(await resolve('api.'), 'none', 'a dot at the end ends the search')
})

t.test(
  'a search domain whose servers fail is skipped, and the name does not count as missing because of it',
  async (t) => {
    const { resolve } = await setUp(
      t,
      {
        'api.a.test': { code: 'SERVFAIL' },
        'api.b.test': { addresses: ['10.0.0.1'] },
        'other.a.test': { code: 'SERVFAIL' },
      },
      'search a.test b.test',
    )
    t.equal(await resolve('api'), '10.0.0.1')
    t.equal(await resolve('other'), 'failed ESERVFAIL')
  },
)

t.test(
  'a search domain without an answer ends the search; the name as given is still looked up',
  async (t) => {
    const { resolve, server } = await setUp(
      t,
      {
        'api.a.test': { silent: 'all' },
        'api.b.test': { addresses: ['10.0.0.1'] },
        api: { addresses: ['10.0.0.2'] },
      },
      'search a.test b.test',
    )
    t.equal(await resolve('api'), '10.0.0.2')
    t.equal(server.asked('api.b.test A'), 0)
  },
)

t.test('a look-up under way is repeated at the servers of a changed file', async (t) => {
  const { resolve, use } = await setUp(t, { 'api.test': { silent: 'all' } })
  const second = await startNameServer({
    'api.test': { addresses: ['10.0.0.2'] },
    'b.test': { addresses: ['10.0.0.3'] },
  })
  t.teardown(() => second.close())
  const first = resolve('api.test')
  use(`nameserver ${second.server}`)
  t.equal(await resolve('b.test'), '10.0.0.3')
  t.equal(await first, '10.0.0.2')
})

t.test('a name that cannot be sent in a query counts as missing', async (t) => {
  const { resolve } = await setUp(t, {})
  for (const name of ['a..b', 'x'.repeat(70), 'a.'.repeat(130), '.'])
    t.equal(await resolve(name), 'none', name)
})

t.test('a server that refuses the connection counts at once as one that does not answer', async (t) => {
  const { resolve, use } = await setUp(t, {})
  use('nameserver 127.0.0.1:1')
  t.equal(await resolve('api.test'), 'silent')
})
