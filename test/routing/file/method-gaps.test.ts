import { readFileSync } from 'node:fs'
import t from 'tap'
import { createOwnPaths } from '../../../gateway/http/own-paths.ts'
import { formatProblem, parseRoutingFile } from '../../../gateway/routing/file/routing-file.ts'

/** Pointer and message of each warning of a file with these routes. */
function warningsOf(...routes: readonly object[]): string[] {
  const upstreams = { app: { targets: ['http://a'] } }
  const file = { upstreams, routes: routes.map((route) => ({ upstream: 'app', ...route })) }
  const read = parseRoutingFile(JSON.stringify(file), '/f.json')
  if (!read.ok) throw new Error(read.problems.map(formatProblem).join('\n'))
  return read.warnings.map(({ pointer, message }) => `${pointer}: ${message}`)
}

const GAPS: readonly [what: string, routes: readonly object[], warning: RegExp][] = [
  [
    'mandates above a route for every mandate',
    [{ path: '/', methods: ['GET'], mandates: ['a'], exact: true }, { path: '/' }],
    /a rule for GET alone: POST goes by the route "\/", which admits every mandate/,
  ],
  [
    'mandates above a route for more mandates',
    [
      { path: '/x', methods: ['GET', 'HEAD'], mandates: ['a'] },
      { path: '/', mandates: ['a', 'b'] },
    ],
    /a rule for GET, HEAD alone: POST goes by the route "\/", which admits other mandates too/,
  ],
  [
    'required auth above a route without',
    [
      { path: '/x', methods: ['POST'] },
      { path: '/', auth: 'none' },
    ],
    /GET goes by the route "\/", which needs no token/,
  ],
  [
    'required auth above an optional one',
    [
      { path: '/x', methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] },
      { path: '/', auth: 'optional' },
    ],
    /HEAD goes by the route "\/", where a token is optional/,
  ],
  [
    'optional auth above a route without',
    [
      { path: '/x', methods: ['GET'], auth: 'optional' },
      { path: '/', auth: 'none' },
    ],
    /POST goes by the route "\/", which needs no token/,
  ],
  [
    'a route for every method of the same path',
    [{ path: '/x', methods: ['POST'], mandates: ['a'] }, { path: '/x' }],
    /GET goes by the route "\/x"/,
  ],
  [
    'a route of a host above one for any host',
    [{ host: 'a.example', path: '/', methods: ['GET'], mandates: ['a'] }, { path: '/' }],
    /POST goes by the route "\/"/,
  ],
  [
    'a wildcard host above any host',
    [
      { host: '*.a.example', path: '/x', methods: ['GET'] },
      { path: '/x', auth: 'none' },
    ],
    /POST goes by the route "\/x"/,
  ],
  [
    'a method that another route for the path leaves out too',
    [
      { path: '/x', methods: ['GET'], mandates: ['a'] },
      { path: '/x', methods: ['POST'], mandates: ['a', 'b'], auth: 'optional' },
      { path: '/', auth: 'none' },
    ],
    /a rule for GET alone: PUT goes by the route "\/", which needs no token/,
  ],
  [
    'a method of a prefix whose own path has an exact route',
    [
      { path: '/x', methods: ['GET'], mandates: ['a'] },
      { path: '/x', exact: true, mandates: ['a'] },
      { path: '/' },
    ],
    /POST goes by the route "\/"/,
  ],
]
for (const [what, routes, warning] of GAPS) {
  t.test(`${what}: the methods that are left out are warned of`, (t) => {
    const [first, ...others] = warningsOf(...routes)
    t.match(first, /^\/routes\/0\/methods: found /)
    t.match(first, warning)
    t.ok(others.length <= 1)
    t.end()
  })
}

const NO_GAPS: readonly [what: string, routes: readonly object[]][] = [
  [
    'no looser route',
    [
      { path: '/x', methods: ['GET'], mandates: ['a'] },
      { path: '/y', auth: 'none' },
    ],
  ],
  ['a route below with the same rule', [{ path: '/x', methods: ['GET'] }, { path: '/' }]],
  [
    'a stricter route below',
    [
      { path: '/x', methods: ['GET'], auth: 'none' },
      { path: '/', mandates: ['a'] },
    ],
  ],
  [
    'a route below for fewer mandates',
    [
      { path: '/x', methods: ['GET'], mandates: ['a', 'b'] },
      { path: '/', mandates: ['b'] },
    ],
  ],
  [
    'a route for the same path that names the other method',
    [
      { path: '/x', methods: ['POST'], mandates: ['a'] },
      { path: '/x', methods: ['GET'] },
      { path: '/', mandates: ['a'] },
    ],
  ],
  [
    'a looser route that is more specific',
    [
      { path: '/x', methods: ['GET'], mandates: ['a'] },
      { path: '/x/open', auth: 'none' },
    ],
  ],
  [
    'a looser route of another host',
    [
      { path: '/x', methods: ['GET'], mandates: ['a'] },
      { host: 'b.example', path: '/', auth: 'none' },
    ],
  ],
  ['a rule for every method', [{ path: '/x', mandates: ['a'] }, { path: '/' }]],
]
for (const [what, routes] of NO_GAPS) {
  t.test(`${what}: nothing is warned of`, (t) => {
    t.same(warningsOf(...routes), [])
    t.end()
  })
}

t.test('the routing file of the manual has no warning', (t) => {
  const readme = readFileSync(new URL('../../../docs/routing-file.md', import.meta.url), 'utf8')
  const examples = [...readme.matchAll(/```json\n(\{.*?\n\})\n```/gs)].map(([, text]) => text!)
  const files = examples.filter((text) => text.includes('"routes"'))
  t.ok(files.length > 0)
  for (const text of files) {
    const read = parseRoutingFile(text, '/f.json', { ownPaths: createOwnPaths('/-', true) })
    t.match(read, { ok: true, warnings: [] })
  }
  t.end()
})
