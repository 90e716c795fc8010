import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import type { NameRecord } from '../support/name-server.ts'
import { startResolverStage, whyNoResolverStage } from '../support/resolver-stage.ts'

/* Whatever the files say, our resolver finds the addresses that getaddrinfo finds (dns.lookup), and no others. */

const HELPER = fileURLToPath(new URL('../support/both-resolvers.ts', import.meta.url))
const reason = whyNoResolverStage()

const RECORDS: Readonly<Record<string, NameRecord>> = {
  'api.test': { addresses: ['10.0.0.1', '10.0.0.2', 'fd00::1'] },
  'four.test': { addresses: ['10.0.0.4'] },
  'six.test': { addresses: ['fd00::6'] },
  'empty.test': {},
  'servfail.test': { code: 'SERVFAIL' },
  single: { addresses: ['172.18.0.2'] },
  my_backend: { addresses: ['172.18.0.3'] },
  'db.shop.svc.cluster.local': { addresses: ['10.96.0.1'] },
  'db.other.svc.cluster.local': { addresses: ['10.96.0.2'] },
  'db.prod.corp.test': { addresses: ['10.1.0.1'] },
  'db.prod': { addresses: ['10.1.0.2'] },
  'half.a.test': {},
  'half.b.test': { addresses: ['10.2.0.1'] },
  'broken.a.test': { code: 'SERVFAIL' },
  'broken.b.test': { addresses: ['10.2.0.2'] },
}

const KUBERNETES = 'search shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n'

const SHAPES: readonly {
  readonly title: string
  readonly lines?: string
  readonly hosts?: string
  readonly names: readonly string[]
}[] = [
  {
    title: 'names as they are',
    names: [
      'api.test',
      'API.Test',
      'api.test.',
      'four.test',
      'six.test',
      'empty.test',
      'none.test',
      'servfail.test',
    ],
  },
  { title: 'containers', lines: 'options ndots:0\n', names: ['single', 'my_backend', 'nothing'] },
  {
    title: 'Kubernetes',
    lines: KUBERNETES,
    names: ['db', 'db.other', 'db.shop.svc', 'db.other.svc.cluster.local', 'api.test', 'db.', 'nothing'],
  },
  { title: 'a domain', lines: 'domain corp.test\n', names: ['db.prod', 'api.test'] },
  {
    title: 'a domain and ndots',
    lines: 'search corp.test\noptions ndots:2\n',
    names: ['db.prod', 'db.prod.'],
  },
  {
    title: 'the last of search and domain counts',
    lines: 'domain corp.test\nsearch a.test b.test\n',
    names: ['half', 'broken', 'single'],
  },
  { title: 'the root among the domains', lines: 'search . b.test\n', names: ['single', 'half'] },
  { title: 'no-aaaa', lines: 'options no-aaaa\n', names: ['api.test', 'six.test'] },
  {
    title: 'a hosts file',
    hosts: [
      '127.0.0.1 localhost',
      '::1 localhost ip6-localhost # both',
      '10.3.0.1\tfirst  Second third.test',
      '10.3.0.2 first',
      'fd00::3 first',
      '#10.3.0.4 fourth',
      '10.3.0.5 api.test',
      'nonsense fifth',
    ].join('\n'),
    names: ['localhost', 'ip6-localhost', 'first', 'second', 'third.test', 'fourth', 'api.test', 'fifth'],
  },
]

for (const { title, lines, hosts, names } of SHAPES) {
  t.test(`${title}${reason === null ? '' : ` (NOT TESTED HERE: ${reason})`}`, async (t) => {
    if (reason !== null) {
      t.pass(reason)
      return
    }
    const stage = await startResolverStage(t, {
      records: RECORDS,
      ...(lines === undefined ? {} : { lines }),
      ...(hosts === undefined ? {} : { hosts }),
    })
    const { stdout } = await promisify(execFile)('env', [
      '-u',
      'NODE_OPTIONS',
      stage.program,
      HELPER,
      ...names,
    ])
    for (const { name, ours, system } of JSON.parse(stdout)) t.equal(ours, system, `${name}: ${system}`)
  })
}
