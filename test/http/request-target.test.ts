import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  asciiTarget,
  otherReadings,
  parseHost,
  parseRequestTarget,
  stripRoutePrefix,
} from '../../gateway/http/request-target.ts'

const RUNS = { numRuns: 2000, seed: 20240607 }
const REQUEST = { scheme: 'http', host: 'example.com' } as const

function parsed(target: string, request: { scheme: 'http' | 'https'; host: string } = REQUEST) {
  const result = parseRequestTarget(target, request)
  if (result.kind === 'bad') throw new Error(`${target}: ${result.reason}`)
  return result
}

const kind = (target: string, request: { scheme: 'http' | 'https'; host: string } = REQUEST) =>
  parseRequestTarget(target, request).kind

t.test('the bytes that are matched are the bytes that are forwarded', (t) => {
  for (const target of [
    '/',
    '/a/b?c=d',
    '/a//b',
    '/%61',
    '/a%2520b',
    '/x?../..%2f\\',
    "/@scope/a.b:c;v=1,'(*)'!",
  ]) {
    t.equal(parsed(target).raw, target)
  }
  t.end()
})

t.test('the path for matching has unreserved characters decoded and slashes merged', (t) => {
  const cases: [string, string][] = [
    ['/', '/'],
    ['//', '/'],
    ['/%61dmin', '/admin'],
    ['//admin', '/admin'],
    ['/a///b//', '/a/b/'],
    ['/%7e%2D%5f%2E%41x', '/~-_.Ax'],
    ['/caf%c3%a9', '/caf%C3%A9'],
    ['/a%20{b}', '/a%20%7Bb%7D'],
    ['/a/b?', '/a/b'],
    ['/.well-known/x', '/.well-known/x'],
    ['/...', '/...'],
    ['/a..b', '/a..b'],
    ['/%2561', '/%2561'],
  ]
  for (const [target, path] of cases) t.equal(parsed(target).path, path, target)
  t.end()
})

t.test('the query begins at the first question mark and passes unchanged', (t) => {
  t.match(parsed('/a?b=/../%2f%zz?\\;c'), { path: '/a', query: '?b=/../%2f%zz?\\;c' })
  t.match(parsed('/a?'), { raw: '/a?', query: '?' })
  t.match(parsed('/a'), { query: '' })
  t.end()
})

t.test('bytes above ASCII pass in a query and are refused in a path', (t) => {
  t.match(parsed('/a?b=\xc3\xa9&c=\xff'), {
    raw: '/a?b=\xc3\xa9&c=\xff',
    path: '/a',
    query: '?b=\xc3\xa9&c=\xff',
  })
  for (const target of ['/\xc3\xa9', '/\xe9?b', '/a#\xe9', '/\xc0\xae\xc0\xae/admin'])
    t.equal(kind(target), 'bad', target)
  for (const target of ['/a?\u0141', '/a?\xe9\u{1f600}', '/a?\xe9\n', '/a?\xe9 b'])
    t.equal(kind(target), 'bad', target)
  t.equal(asciiTarget('/a%20?b=\xc3\xa9&\x80'), '/a%20?b=%C3%A9&%80')
  t.end()
})

t.test('a path in the query does not affect routing (/admin?x=/public)', (t) => {
  t.equal(parsed('/admin?x=/public').path, '/admin')
  t.end()
})

t.test(
  'a path in a fragment does not affect routing (/admin#/public), and the fragment is not forwarded',
  (t) => {
    t.match(parsed('/admin#/public'), { raw: '/admin', path: '/admin', query: '' })
    t.match(parsed('/admin?a#?b'), { raw: '/admin?a', query: '?a' })
    t.equal(kind('#/public'), 'bad')
    t.end()
  },
)

t.test('traversal by dot segments is refused in every spelling (CVE-2019-9901, CVE-2025-66490)', (t) => {
  const dots = [
    '.',
    '..',
    '%2e',
    '%2E',
    '%2e%2e',
    '.%2e',
    '%2E.',
    '..;',
    '..;/x',
    '.;a=b',
    '%2e%2e%3b',
    '..%3B..',
  ]
  for (const dot of dots) {
    for (const target of [`/${dot}`, `/public/${dot}/admin`, `//${dot}/`, `/a/${dot}?q`, `/a/${dot}#f`]) {
      t.equal(kind(target), 'bad', target)
    }
  }
  t.end()
})

t.test('an escaped backslash or NUL is refused (%5c, %00)', (t) => {
  for (const triplet of ['%5c', '%5C', '%00']) {
    for (const target of [`/a${triplet}b`, `/public/..${triplet}admin`, `/${triplet}`])
      t.equal(kind(target), 'bad', target)
  }
  t.end()
})

t.test('a raw backslash is refused', (t) => {
  for (const target of ['/\\evil.example', '/public\\..\\admin', '/a\\']) t.equal(kind(target), 'bad', target)
  t.end()
})

t.test('a malformed escape is refused', (t) => {
  for (const target of ['/%', '/%4', '/%zz', '/%4g', '/a%/b', '/%%41', '/%u0041', '/% 1', '/%+1']) {
    t.equal(kind(target), 'bad', target)
  }
  t.end()
})

t.test('unprintable characters are refused at any place', (t) => {
  for (const char of ['\0', '\t', '\n', '\r', ' ', '\x1f', '\x7f', 'Ā', '\u{1f600}']) {
    for (const target of [`/a${char}b`, `/a?b${char}`]) t.equal(kind(target), 'bad', JSON.stringify(target))
  }
  t.end()
})

t.test(
  "a target in absolute-form with the request's own scheme and host is forwarded in origin-form",
  (t) => {
    t.equal(parsed('http://example.com/a//b?c').raw, '/a//b?c')
    t.equal(parsed('HTTP://Example.COM:80/a').raw, '/a')
    t.equal(parsed('http://example.com').raw, '/')
    t.equal(parsed('http://example.com?q').raw, '/?q')
    t.equal(parsed('http://example.com#/x').raw, '/')
    t.equal(parsed('https://example.com/a', { scheme: 'https', host: 'example.com:443' }).raw, '/a')
    t.equal(parsed('http://[::1]:8080/a', { scheme: 'http', host: '[::1]:8080' }).raw, '/a')
    t.end()
  },
)

t.test("a target with another scheme or host than the request's is refused", (t) => {
  const targets = [
    'http://evil.example/',
    'http://example.com:8080/',
    'http://example.com:443/',
    'https://example.com/',
    'ftp://example.com/',
    'http://user@example.com/',
    'http://example.com@evil.example/',
    'http://example.com\\@evil.example/',
    'http:///a',
    'http:/a',
    'http:a',
    'example.com:80',
    'javascript:alert(1)',
  ]
  for (const target of targets) t.equal(kind(target), 'bad', target)
  t.end()
})

t.test('a target that is an asterisk, empty or no path is refused', (t) => {
  for (const target of ['*', '', 'a', '?', '*/a']) t.equal(kind(target), 'bad', target)
  t.end()
})

t.test('a path that looks like an authority stays a path (//10.0.0.1/)', (t) => {
  t.match(parsed('//10.0.0.1/x'), { raw: '//10.0.0.1/x', path: '/10.0.0.1/x' })
  t.end()
})

t.test('a path is ambiguous exactly for parameters, escaped reserved characters and escaped slashes', (t) => {
  for (const target of ['/a;b', '/;', '/a%3Bb', '/a%3bb', '/%40x', '/a%2b', '/a%3Db', '/a%2Fb', '/%2f']) {
    t.equal(parsed(target).ambiguous, true, target)
  }
  for (const target of ['/a', '/a?b;c', '/a?%3b', '/@x', '/a%20b', '/%41', '/a+b=c', '/%2540']) {
    t.equal(parsed(target).ambiguous, false, target)
  }
  t.end()
})

const readings = (path: string) =>
  otherReadings(path)
    .map((reading) => reading.path)
    .sort()

t.test('the other readings of a path drop parameters, decode reserved characters and slashes', (t) => {
  const cases: [string, string[]][] = [
    ['/admin;x', ['/admin']],
    ['/admin;x=1;y/b;z', ['/admin/b']],
    ['/;x/admin', ['/admin']],
    ['/a/;x', ['/a/']],
    ['/;', ['/']],
    ['/a%3Bx/b', ['/a/b']],
    ['/%40vite/client', ['/@vite/client']],
    ['/%21%24%26%27%28%29%2A%2B%2C%3A%3D', ["/!$&'()*+,:="]],
    ['/a%2540', []],
    ['/a%3Fb%23', []],
    ['/@scope%2Fname', ['/@scope/name']],
    ['/a%2F%2Fb', ['/a/b']],
    ['/a%252Fb', []],
    ['/%24%2Fx', ['/$%2Fx', '/$/x', '/%24/x']],
    ['/a;x%2Fb', ['/a', '/a/b', '/a;x/b']],
  ]
  for (const [path, expected] of cases) t.same(readings(path), expected.sort(), path)
  t.end()
})

t.test('a reading tells whether a slash was decoded for it', (t) => {
  t.same(otherReadings('/a;x%2Fb'), [
    { path: '/a', decodesSlashes: false },
    { path: '/a;x/b', decodesSlashes: true },
    { path: '/a/b', decodesSlashes: true },
  ])
  t.end()
})

t.test('the prefix of a route is removed from the bytes as they were sent', (t) => {
  const cases: [string, string, string][] = [
    ['/api', '/api', '/'],
    ['/api/', '/api', '/'],
    ['/api/x', '/api', '/x'],
    ['/api?q=1', '/api', '/?q=1'],
    ['/api/x?q=/api', '/api', '/x?q=/api'],
    ['/%61pi//x', '/api', '/x'],
    ['//api///x//y', '/api', '/x//y'],
    ['/a%2dpi/%78', '/a-pi', '/%78'],
    ['/v1//%61pi/x', '/v1/api', '/x'],
    ['/caf%c3%a9/x', '/caf%C3%A9', '/x'],
    ['/caf\xc3\xa9/x', '/caf%C3%A9', '/x'],
    ['/x', '/', '/x'],
    ['//x', '/', '/x'],
    ['/api/', '/api/', '/'],
  ]
  for (const [raw, route, rest] of cases) t.equal(stripRoutePrefix(raw, route), rest, raw)
  t.end()
})

t.test('a target without its prefix cannot be read as an authority (/api//evil.example)', (t) => {
  t.equal(stripRoutePrefix('/api//evil.example/', '/api'), '/evil.example/')
  t.equal(stripRoutePrefix('/api////evil.example/', '/api'), '/evil.example/')
  t.end()
})

t.test('a host is converted to lower case, without its port and trailing dot', (t) => {
  t.same(parseHost('Example.COM:8080'), { kind: 'ok', hostname: 'example.com', port: '8080' })
  t.same(parseHost('example.com.'), { kind: 'ok', hostname: 'example.com', port: '' })
  t.same(parseHost('example.com.:80'), { kind: 'ok', hostname: 'example.com', port: '80' })
  t.same(parseHost('example.com:'), { kind: 'ok', hostname: 'example.com', port: '' })
  t.same(parseHost('my_app-1'), { kind: 'ok', hostname: 'my_app-1', port: '' })
  t.same(parseHost('127.0.0.1:0'), { kind: 'ok', hostname: '127.0.0.1', port: '0' })
  t.same(parseHost('[::FFFF:1.2.3.4]:65535'), { kind: 'ok', hostname: '[::ffff:1.2.3.4]', port: '65535' })
  t.end()
})

t.test('a malformed host is refused (Host: a@b)', (t) => {
  const hosts = [
    '',
    '.',
    '..',
    'a..b',
    '.a',
    'a b',
    ' a',
    'a@b',
    'a/b',
    'a?b',
    'a#b',
    'a\\b',
    'a%41',
    'a,b',
    'a;b',
  ]
  const ports = [':', ':80', 'a:b', 'a:-1', 'a:65536', 'a:000080', 'a:80:80', 'a:80 ', 'a: 80', 'a:8\r\n0']
  const addresses = [
    '::1',
    '[::1',
    '::1]',
    '[::1].',
    '[]',
    '[g::]',
    '[1.2.3.4]',
    '[fe80::1%eth0]',
    '[::1]a',
    'a[::1]',
  ]
  const others = ['a\0', 'a\r\nX: y', 'é', 'a'.repeat(256)]
  for (const host of [...hosts, ...ports, ...addresses, ...others]) {
    t.equal(parseHost(host).kind, 'bad', JSON.stringify(host))
  }
  t.end()
})

const HARMLESS =
  '/ / / a b admin public @ + , : = ~ _ %61 %2d %7E %40 %2B %c3%a9 \xc3\xa9 { %7b %25 %2561 ;x %3b'.split(' ')
const HOSTILE = '. .. ; %2e %2E% % %2 %2f %5C %00 \\ %zz \0'.split(' ')

/** Paths made of pieces that attackers use. Most of them are valid. */
const hostilePath = fc
  .array(
    fc.oneof(
      { weight: 30, arbitrary: fc.constantFrom(...HARMLESS) },
      { weight: 2, arbitrary: fc.constantFrom(...HOSTILE) },
      { weight: 2, arbitrary: fc.integer({ min: 0x24, max: 0xff }).map((code) => String.fromCharCode(code)) },
    ),
    { maxLength: 12 },
  )
  .map((parts) => `/${parts.join('')}`.replaceAll('?', ''))

function holds(t: Test, property: fc.IPropertyWithHooks<[string] | [string, string]>) {
  t.doesNotThrow(() => fc.assert(property as fc.IPropertyWithHooks<unknown>, RUNS))
  t.end()
}

t.test('normalizing a normal form changes nothing', (t) => {
  const property = fc.property(hostilePath, (target) => {
    const first = parseRequestTarget(target, REQUEST)
    if (first.kind === 'bad') return true
    const second = parsed(first.path)
    return second.path === first.path && second.ambiguous === first.ambiguous
  })
  holds(t, property)
})

t.test('a path has other readings exactly where it is ambiguous, and one of them has none', (t) => {
  const property = fc.property(hostilePath, (target) => {
    const result = parseRequestTarget(target, REQUEST)
    if (result.kind === 'bad') return true
    const others = otherReadings(result.path)
    if (others.length > 0 !== result.ambiguous) return false
    return others.length === 0 || others.some(({ path }) => otherReadings(path).length === 0)
  })
  holds(t, property)
})

t.test('removing a prefix leaves the normal form of the rest, whatever the spelling', (t) => {
  const property = fc.property(hostilePath, hostilePath, (prefix, rest) => {
    const route = parseRequestTarget(prefix, REQUEST)
    const whole = parseRequestTarget(prefix + rest, REQUEST)
    if (route.kind === 'bad' || whole.kind === 'bad') return true
    const stripped = stripRoutePrefix(`${prefix}${rest}?q`, route.path)
    return (
      stripped.endsWith('?q') && !stripped.startsWith('//') && parsed(stripped).path === parsed(rest).path
    )
  })
  holds(t, property)
})
