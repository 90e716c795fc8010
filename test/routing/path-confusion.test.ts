import fc from 'fast-check'
import t from 'tap'
import { hasDotSegment, otherReadings, parseRequestTarget } from '../../gateway/http/request-target.ts'
import { createRouteTable, type RouteMatcher, type RouteTable } from '../../gateway/routing/route-table.ts'

const RUNS = { numRuns: 5000, seed: 20240607 }

const ROUTE_PATHS = [
  '/',
  '/admin',
  '/public',
  '/public/admin',
  '/@admin',
  '/a+b',
  '/admin/x',
  '/caf%C3%A9',
  '/x/admin',
]

const arbitraryRoutes = fc
  .uniqueArray(fc.record({ path: fc.constantFrom(...ROUTE_PATHS), exact: fc.boolean() }), {
    selector: ({ path, exact }) => path + exact,
    maxLength: 8,
  })
  .map((routes) => routes.map((route): RouteMatcher => ({ ...route, host: null, methods: null })))

const SPELLINGS = [
  ...'/ / / /admin /public /x admin public x @admin a+b caf\xe9'.split(' '),
  ...'%61dmin a%64min %41dmin %40admin a%2bb a%2Bb %70ublic caf%c3%a9 caf%C3%A9 caf\xc3\xa9'.split(' '),
  ...'; ;x ;a=b %3b %3Bx . .. %2e %2E%2e ..; ..%3b /.. /../ /./ %2f %5c \\ %00 %252e %25'.split(' '),
]

const arbitraryTarget = fc
  .array(fc.constantFrom(...SPELLINGS), { minLength: 1, maxLength: 6 })
  .map((parts) => `/${parts.join('')}`)

interface Backend {
  readonly decodesReserved: boolean
  readonly dropsParameters: boolean
  readonly decodesSlashes: boolean
  readonly resolvesDots: boolean
}

/** The path under which a backend looks its resource up, in the normal form of route paths. */
function lands(raw: string, backend: Backend): string {
  const bytes = raw.replace(/%([\da-f]{2})/gi, (triplet, hex: string) => {
    const char = String.fromCharCode(Number.parseInt(hex, 16))
    const reserved = /[!$&'()*+,:=@]/.test(char)
    const kept = (reserved && !backend.decodesReserved) || (char === '/' && !backend.decodesSlashes)
    return kept ? triplet.toUpperCase().replace('%', '\u{100}') : char
  })
  const segments: string[] = []
  for (const whole of bytes.split(/[/\\]/)) {
    const segment = backend.dropsParameters ? whole.replace(/;.*/s, '') : whole
    if (backend.resolvesDots && segment === '..') segments.pop()
    else if (!backend.resolvesDots || segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}`
    .replace(/\/+/g, '/')
    .replace(/[^\w.~!$&'()*+,:=@;/\u{100}-]/gu, (char) => `%${hexOf(char)}`)
    .replaceAll('\u{100}', '%')
}

const hexOf = (char: string) => char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')

function routeAt(table: RouteTable<RouteMatcher>, path: string): RouteMatcher | null {
  const match = table.match({ host: 'x', method: 'GET', path })
  return match.kind === 'matched' ? match.route : null
}

/** The gateway's rule: a path is refused where another reading of it has another route. */
function admit(table: RouteTable<RouteMatcher>, target: string) {
  const parsed = parseRequestTarget(target, { scheme: 'http', host: 'x' })
  if (parsed.kind === 'bad') return 'refused'
  const route = routeAt(table, parsed.path)
  for (const { path } of parsed.ambiguous ? otherReadings(parsed.path) : [])
    if (hasDotSegment(path) || routeAt(table, path) !== route) return 'refused'
  return { route, raw: parsed.raw }
}

t.test('no spelling of a path is read by any backend as the path of another, guarded route', (t) => {
  let forwarded = 0
  const property = fc.property(
    arbitraryRoutes,
    arbitraryTarget,
    fc.record({
      decodesReserved: fc.boolean(),
      dropsParameters: fc.boolean(),
      decodesSlashes: fc.boolean(),
      resolvesDots: fc.boolean(),
    }),
    (routes, target, backend) => {
      const table = createRouteTable(routes)
      const admitted = admit(table, target)
      if (admitted === 'refused') return true
      forwarded++
      return routeAt(table, lands(admitted.raw, backend)) === admitted.route
    },
  )
  t.doesNotThrow(() => fc.assert(property, RUNS))
  t.ok(forwarded > RUNS.numRuns / 5, 'a fair share was let through')
  t.end()
})

const EVASIONS = [
  '/public/../admin',
  '/public/%2e%2e/admin',
  '/public/..%2fadmin',
  '/public/..;/admin',
  '/public/..%3b/admin',
  '/public\\..\\admin',
  '/public%5c..%5cadmin',
  '/admin%00',
  '/%61dmin',
  '//admin',
  '/admin?x=/public',
  '/admin#/public',
  '/admin;x',
  '/;x/admin',
  '/admin%3bx',
  '/public;x/../admin',
  '/public%2F..%2Fadmin',
  '/%2fadmin',
  '/admin%2fx',
  '/;x%2fadmin',
]

t.test('every known evasion is refused or matches the guarded route (CVE-2019-9901, CVE-2025-66490)', (t) => {
  const table = createRouteTable<RouteMatcher>(
    ['/', '/public', '/admin'].map((path) => ({ path, exact: false, host: null, methods: null })),
  )
  for (const target of EVASIONS) {
    const admitted = admit(table, target)
    t.ok(admitted === 'refused' || admitted.route?.path === '/admin', target)
  }
  t.end()
})

t.test('a path that has the same route in every reading passes', (t) => {
  const table = createRouteTable<RouteMatcher>(
    ['/', '/@admin'].map((path) => ({ path, exact: false, host: null, methods: null })),
  )
  for (const target of [
    '/a;v=1/b',
    '/a%2Bb',
    '/%2561dmin',
    '/@admin/x;y',
    '/x?a=/../;%2f',
    '/@scope%2fname',
    '/a%2F%2Fb',
  ]) {
    t.not(admit(table, target), 'refused', target)
  }
  t.end()
})
