import fc from 'fast-check'
import t from 'tap'
import { createRouteTable, type RouteMatcher, type RouteRequest } from '../../gateway/routing/route-table.ts'

const RUNS = { numRuns: 3000, seed: 20240607 }

interface Named extends RouteMatcher {
  readonly name: string
}

function route(name: string, path: string, options: Partial<RouteMatcher> = {}): Named {
  return { name, path, host: null, exact: false, methods: null, ...options }
}

/** The chosen route's name, `none`, or the methods of `Allow`. */
function choose(routes: readonly Named[], path: string, request: Partial<RouteRequest> = {}): string {
  const match = createRouteTable(routes).match({ host: 'a.example', method: 'GET', path, ...request })
  if (match.kind === 'matched') return match.route.name
  return match.kind === 'none' ? 'none' : `allow ${match.allow.join()}`
}

t.test('a prefix matches by whole segments', (t) => {
  const routes = [route('api', '/api')]
  for (const path of ['/api', '/api/', '/api/x', '/api/x/y/']) t.equal(choose(routes, path), 'api', path)
  for (const path of ['/', '/ap', '/apix', '/apix/api', '/API', '/x/api'])
    t.equal(choose(routes, path), 'none', path)
  t.end()
})

t.test('the prefix / matches every path', (t) => {
  for (const path of ['/', '/x', '/x/y/', '/;']) t.equal(choose([route('root', '/')], path), 'root', path)
  t.end()
})

t.test('an exact path matches only itself', (t) => {
  const routes = [route('exact', '/api', { exact: true }), route('slash', '/dir/', { exact: true })]
  t.equal(choose(routes, '/api'), 'exact')
  t.equal(choose(routes, '/api/'), 'none')
  t.equal(choose(routes, '/api/x'), 'none')
  t.equal(choose(routes, '/dir/'), 'slash')
  t.equal(choose(routes, '/dir'), 'none')
  t.end()
})

t.test('an exact path wins over any prefix, and the longest prefix over shorter ones', (t) => {
  const routes = [
    route('root', '/'),
    route('a', '/a'),
    route('exact', '/a/b', { exact: true }),
    route('ab', '/a/b'),
    route('abc', '/a/b/c'),
  ]
  for (const order of [routes, routes.toReversed()]) {
    t.equal(choose(order, '/a/b'), 'exact')
    t.equal(choose(order, '/a/b/'), 'ab')
    t.equal(choose(order, '/a/b/c/d'), 'abc')
    t.equal(choose(order, '/a/x'), 'a')
    t.equal(choose(order, '/x'), 'root')
  }
  t.end()
})

t.test(
  'an exact host wins over wildcards, a longer wildcard over a shorter one, and any wildcard over no host',
  (t) => {
    const routes = [
      route('any', '/deep/path', { exact: true }),
      route('com', '/', { host: '*.com' }),
      route('example', '/', { host: '*.example.com' }),
      route('admin', '/', { host: 'admin.example.com' }),
    ]
    for (const order of [routes, routes.toReversed()]) {
      t.equal(choose(order, '/deep/path', { host: 'admin.example.com' }), 'admin')
      t.equal(choose(order, '/deep/path', { host: 'www.example.com' }), 'example')
      t.equal(choose(order, '/deep/path', { host: 'a.b.example.com' }), 'example')
      t.equal(choose(order, '/deep/path', { host: 'example.com' }), 'com')
      t.equal(choose(order, '/deep/path', { host: 'com' }), 'any')
      t.equal(choose(order, '/deep/path', { host: '127.0.0.1' }), 'any')
    }
    t.end()
  },
)

t.test('a wildcard stands for one or more whole labels', (t) => {
  const routes = [route('wild', '/', { host: '*.example.com' })]
  t.equal(choose(routes, '/', { host: 'x.example.com' }), 'wild')
  t.equal(choose(routes, '/', { host: 'example.com' }), 'none')
  t.equal(choose(routes, '/', { host: 'badexample.com' }), 'none')
  t.equal(choose(routes, '/', { host: 'x.example.com.evil.test' }), 'none')
  t.end()
})

t.test('of two routes with the same path the one with methods wins', (t) => {
  const routes = [route('all', '/a'), route('post', '/a', { methods: ['POST', 'PUT'] })]
  t.equal(choose(routes, '/a', { method: 'POST' }), 'post')
  t.equal(choose(routes, '/a', { method: 'GET' }), 'all')
  t.end()
})

t.test('where the most specific route has other methods, a less specific one matches', (t) => {
  const routes = [
    route('exact', '/a/b', { exact: true, methods: ['POST'], host: 'a.example' }),
    route('prefix', '/a', { methods: ['PUT'] }),
    route('root', '/'),
  ]
  t.equal(choose(routes, '/a/b', { method: 'POST' }), 'exact')
  t.equal(choose(routes, '/a/b', { method: 'PUT' }), 'prefix')
  t.equal(choose(routes, '/a/b', { method: 'GET' }), 'root')
  t.end()
})

t.test('where a host has no route for the path, a route of a less specific host matches', (t) => {
  const routes = [
    route('host', '/admin', { host: 'a.example' }),
    route('wild', '/wild', { host: '*.example' }),
    route('any', '/'),
  ]
  t.equal(choose(routes, '/admin'), 'host')
  t.equal(choose(routes, '/wild'), 'wild')
  t.equal(choose(routes, '/x'), 'any')
  t.end()
})

t.test('where host and path match for other methods only, the result lists these, sorted', (t) => {
  const routes = [
    route('a', '/a', { methods: ['PUT', 'GET'] }),
    route('b', '/', { methods: ['DELETE', 'GET'] }),
    route('elsewhere', '/', { methods: ['PATCH'], host: 'b.example' }),
  ]
  t.equal(choose(routes, '/a', { method: 'POST' }), 'allow DELETE,GET,PUT')
  t.equal(choose(routes, '/x', { method: 'POST' }), 'allow DELETE,GET')
  t.end()
})

t.test('methods are compared case-sensitively', (t) => {
  t.equal(choose([route('a', '/', { methods: ['GET'] })], '/', { method: 'get' }), 'allow GET')
  t.end()
})

t.test(
  'hosts, paths and methods with names of inherited properties (__proto__) match like any other',
  (t) => {
    for (const name of ['__proto__', 'constructor', 'toString']) {
      t.equal(
        choose([route('a', '/x', { host: 'x', methods: ['GET'] })], `/${name}`, { host: name, method: name }),
        'none',
      )
      t.equal(choose([route('a', `/${name}`, { host: name })], `/${name}`, { host: name }), 'a')
    }
    t.end()
  },
)

t.test('an empty table matches nothing', (t) => {
  t.equal(choose([], '/'), 'none')
  t.end()
})

t.test('candidates() returns all routes for a host and a path, the most specific first', (t) => {
  const routes = [
    route('root', '/'),
    route('post', '/a', { methods: ['POST', 'PUT'] }),
    route('a', '/a'),
    route('exact', '/a', { exact: true }),
    route('host', '/', { host: 'a.example' }),
    route('other', '/b'),
  ]
  const names = createRouteTable(routes).candidates({ host: 'a.example', path: '/a' })
  t.same(
    names.map((route) => route.name),
    ['host', 'exact', 'post', 'a', 'root'],
  )
  t.end()
})

const SEGMENTS = ['a', 'b', 'ab', '']
const arbitraryPath = fc
  .array(fc.constantFrom(...SEGMENTS), { maxLength: 4 })
  .map((segments) => `/${segments.join('/')}`.replace(/\/+/g, '/'))
const arbitraryHost = fc.constantFrom('x', 'a.x', 'b.a.x', 'c.b.a.x', 'a.y', 'ax')
const arbitraryRoute = fc.record({
  host: fc.option(fc.oneof(arbitraryHost, fc.constantFrom('*.x', '*.a.x', '*.b.a.x')), { nil: null }),
  path: arbitraryPath,
  exact: fc.boolean(),
  methods: fc.option(fc.uniqueArray(fc.constantFrom('GET', 'POST', 'PUT'), { minLength: 1 }), { nil: null }),
})
const arbitraryRequest = fc.record({
  host: arbitraryHost,
  path: arbitraryPath,
  method: fc.constantFrom('GET', 'POST', 'DELETE'),
})

const trimmed = (route: RouteMatcher) => (route.exact ? route.path : route.path.replace(/\/$/, ''))

function hostRank(route: RouteMatcher, host: string): number {
  if (route.host === null) return 0
  if (route.host === host) return 1000
  return route.host.startsWith('*.') && host.endsWith(route.host.slice(1)) ? route.host.length : -1
}

function pathRank(route: RouteMatcher, path: string): number {
  if (route.exact) return route.path === path ? 1000 : -1
  const prefix = trimmed(route)
  return path === prefix || path.startsWith(`${prefix}/`) ? prefix.length : -1
}

/** The documented order of precedence, by comparing one route after the other. */
function reference(routes: readonly RouteMatcher[], request: RouteRequest): RouteMatcher[] {
  return routes
    .filter((route) => hostRank(route, request.host) >= 0 && pathRank(route, request.path) >= 0)
    .sort(
      (a, b) =>
        hostRank(b, request.host) - hostRank(a, request.host) ||
        pathRank(b, request.path) - pathRank(a, request.path) ||
        Number(b.methods !== null) - Number(a.methods !== null),
    )
}

function withoutTies(routes: readonly RouteMatcher[]): RouteMatcher[] {
  const seen = new Set<string>()
  return routes.filter((route) => {
    const keys = (route.methods ?? ['all']).map((method) =>
      [route.host, trimmed(route), route.exact, method].join(),
    )
    const isNew = keys.every((key) => !seen.has(key))
    if (isNew) for (const key of keys) seen.add(key)
    return isNew
  })
}

t.test('the table chooses the same route as a comparison of all routes one by one', (t) => {
  const property = fc.property(
    fc.array(arbitraryRoute, { maxLength: 25 }),
    fc.array(arbitraryRequest, { minLength: 1, maxLength: 5 }),
    (all, requests) => {
      const routes = withoutTies(all)
      const table = createRouteTable(routes)
      for (const request of requests) {
        const candidates = reference(routes, request)
        const expected = candidates.find((route) => route.methods?.includes(request.method) ?? true)
        const allow = [...new Set(candidates.flatMap((route) => route.methods ?? []))].sort()
        const match = table.match(request)
        if (match.kind === 'matched') {
          if (match.route !== expected) return false
        } else if (match.kind === 'method') {
          if (expected !== undefined || match.allow.join() !== allow.join()) return false
        } else if (candidates.length > 0) return false
        const listed = table.candidates(request)
        if (listed.length !== candidates.length || listed.some((route, i) => route !== candidates[i]))
          return false
      }
      return true
    },
  )
  t.doesNotThrow(() => fc.assert(property, RUNS))
  t.end()
})
