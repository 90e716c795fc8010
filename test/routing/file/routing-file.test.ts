import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  type FileProblem,
  formatProblem,
  parseRoutingFile,
} from '../../../gateway/routing/file/routing-file.ts'

const FILE = '/etc/gateway/upstreams.json'

function config(text: string) {
  const result = parseRoutingFile(text, FILE)
  if (!result.ok) throw new Error(result.problems.map(formatProblem).join('\n'))
  return result.config
}

/** A file with one upstream `api` and one route, whose further fields are given as JSON. */
const withRoute = (fields: string) =>
  `{"upstreams": {"api": {"targets": ["http://a"]}}, "routes": [{"path": "/", "upstream": "api", ${fields}}]}`
const withPath = (path: string) => `{"upstreams": {"api": {"targets": ["http://a"]}}, "routes": [
  {"upstream": "api", "path": ${path}}]}`
const withUpstream = (fields: string) =>
  `{"upstreams": {"api": {"targets": ["http://a"], ${fields}}}, "routes": []}`
const withTargets = (targets: string) => `{"upstreams": {"api": {"targets": [${targets}]}}, "routes": []}`
const withIdentity = (fields: string) => `{"identity": {${fields}}, "upstreams": {}, "routes": []}`

/**
 * Asserts that a file has exactly the problems whose places are marked by `¦`, in order, each with its pointer and
 * a piece of its message.
 */
function refused(t: Test, marked: string, ...expected: [pointer: string, message: RegExp][]) {
  const places = marked.split('¦').slice(0, -1)
  const positions = places.map((_, i) => {
    const lines = places
      .slice(0, i + 1)
      .join('')
      .split('\n')
    return { line: lines.length, column: lines.at(-1)!.length + 1 }
  })
  const result = parseRoutingFile(marked.replaceAll('¦', ''), FILE)
  const problems: readonly FileProblem[] = result.ok ? [] : result.problems
  t.same(
    problems.map(({ line, column, pointer }) => ({ line, column, pointer })),
    expected.map(([pointer], i) => ({ ...positions[i], pointer })),
    marked,
  )
  for (const [i, [, message]] of expected.entries()) t.match(problems[i]?.message, message)
}

t.test('a file with every key of an upstream is read, with its durations in milliseconds', (t) => {
  const { identity, upstreams, routes } = config(`{
    "$schema": "./upstreams.schema.json",
    "identity": { "userId": "X-User-Id", "mandateId": "X-Mandate-Id", "sessionId": "X-Session-Id", "tokenId": "X-Token-Id" },
    "upstreams": {
      "api": {
        "targets": ["http://127.0.0.1:8001", { "url": "http://127.0.0.1:8002", "weight": 2 }],
        "balance": "least-requests",
        "host": "preserve",
        "timeouts": { "connect": "2s", "response": "60s", "idle": "60s" },
        "retries": 1,
        "maxConnections": 128,
        "maxPending": 1024,
        "health": { "path": "/healthz", "interval": "5s", "timeout": "2s", "healthyAfter": 2, "unhealthyAfter": 3 },
        "ejection": { "consecutiveFailures": 5, "duration": "10s", "maxPercent": 50 },
        "tls": { "caFile": "ca.pem", "serverName": "api.internal" }
      }
    },
    "routes": [
      { "path": "/api", "upstream": "api" },
      { "path": "/login", "upstream": "api", "auth": "none" },
      { "host": "admin.example.com", "path": "/", "upstream": "api", "mandates": ["ops"], "loginRedirect": "/login?next={path}" }
    ]
  }`)
  t.same(identity, {
    userId: 'X-User-Id',
    mandateId: 'X-Mandate-Id',
    sessionId: 'X-Session-Id',
    tokenId: 'X-Token-Id',
  })
  t.same(upstreams.get('api'), {
    targets: [
      { url: 'http://127.0.0.1:8001', weight: 1 },
      { url: 'http://127.0.0.1:8002', weight: 2 },
    ],
    balance: 'least-requests',
    host: 'preserve',
    timeouts: { connectMs: 2000, responseMs: 60_000, idleMs: 60_000, silenceMs: 60_000 },
    retries: 1,
    maxConnections: 128,
    maxPending: 1024,
    protocol: 'http1',
    health: { path: '/healthz', intervalMs: 5000, timeoutMs: 2000, healthyAfter: 2, unhealthyAfter: 3 },
    ejection: { consecutiveFailures: 5, durationMs: 10_000, maxPercent: 50 },
    tls: { caFile: '/etc/gateway/ca.pem', serverName: 'api.internal' },
  })
  const common = { upstream: 'api', exact: false, stripPrefix: false }
  t.same(routes, [
    { ...common, path: '/api', auth: 'required', label: '/api', index: 0 },
    { ...common, path: '/login', auth: 'none', label: '/login', index: 1 },
    {
      ...common,
      host: 'admin.example.com',
      path: '/',
      auth: 'required',
      mandates: ['ops'],
      loginRedirect: '/login?next={path}',
      label: 'admin.example.com/',
      index: 2,
    },
  ])
  t.end()
})

const forHosts = (hosts: string, more = '') =>
  `{"upstreams": {"a": {"targets": ["http://a"]}}, "routes": [{"host": ${hosts}, "path": "/x", "upstream": "a"}${more}]}`

t.test('a route for a list of hosts is a route for each of them', (t) => {
  const { routes } = config(forHosts('["A.example.com", "*.b.example.com", "a.example.com"]'))
  t.same(
    routes.map(({ host, label, index }) => [host, label, index]),
    [
      ['a.example.com', 'a.example.com/x', 0],
      ['*.b.example.com', '*.b.example.com/x', 0],
    ],
  )
  t.end()
})

t.test('a host that is none, an empty list and a tie of one host are refused at their places', (t) => {
  refused(t, forHosts('["a.example.com", ¦"b/"]'), ['/routes/0/host/1', /found "b\/", expected a host/])
  refused(t, forHosts('¦[]'), ['/routes/0/host', /found an empty array, expected at least one host/])
  refused(t, forHosts('¦5'), ['/routes/0/host', /found 5, expected a host or a list of hosts/])
  const other = ', ¦{"host": "B", "path": "/x", "upstream": "a"}'
  refused(t, forHosts('["a", "b"]', other), ['/routes/1', /a tie with the route at line 1/])
  t.end()
})

t.test('what is odd about a route for several hosts is said once', (t) => {
  const result = parseRoutingFile(forHosts('["a", "b"]').replace('/x', '/:id'), FILE)
  t.equal(result.ok && result.warnings.length, 1)
  t.end()
})

t.test('keys that are left out have their defaults', (t) => {
  const { identity, upstreams } = config(withUpstream('"health": {"path": "/up"}, "ejection": {}'))
  t.equal(identity.userId, 'X-User-Id')
  t.same(upstreams.get('api'), {
    targets: [{ url: 'http://a', weight: 1 }],
    balance: 'least-requests',
    host: 'preserve',
    timeouts: { connectMs: 2000, responseMs: 60_000, idleMs: 60_000, silenceMs: null },
    retries: 1,
    maxConnections: 128,
    maxPending: 1024,
    protocol: 'http1',
    health: { path: '/up', intervalMs: 5000, timeoutMs: 2000, healthyAfter: 2, unhealthyAfter: 3 },
    ejection: { consecutiveFailures: 5, durationMs: 10_000, maxPercent: 50 },
  })
  t.end()
})

t.test(
  'identity names and time limits that are left out keep their defaults beside those that are given',
  (t) => {
    t.same(config(withIdentity('"userId": "X-Remote-User"')).identity, {
      userId: 'X-Remote-User',
      mandateId: 'X-Mandate-Id',
      sessionId: 'X-Session-Id',
      tokenId: 'X-Token-Id',
    })
    t.same(config(withUpstream('"timeouts": {"idle": "1m"}')).upstreams.get('api')?.timeouts, {
      connectMs: 2000,
      responseMs: 60_000,
      idleMs: 60_000,
      // Of WebSockets: only where the file has it.
      silenceMs: 60_000,
    })
    t.end()
  },
)

t.test('every key of a route is read', (t) => {
  const [route] = config(
    withRoute(`"exact": true, "host": "*.Example.com", "methods": ["GET", "M-SEARCH"], "auth": "optional",
      "mandates": ["a"], "allowedOrigins": ["https://app.example.com:8443"], "stripPrefix": true,
      "forwardCookies": false, "loginRedirect": "https://id.example.com/?to={path}",
      "maxBodyBytes": 0, "requestHeaders": {"set": {"X-A": "b, c"}, "remove": ["Accept-Encoding"]},
      "responseHeaders": {"set": {"X-Frame-Options": "DENY"}, "remove": ["Server"]}`),
  ).routes
  t.same(route, {
    path: '/',
    upstream: 'api',
    exact: true,
    host: '*.example.com',
    methods: ['GET', 'M-SEARCH'],
    auth: 'optional',
    mandates: ['a'],
    allowedOrigins: ['https://app.example.com:8443'],
    stripPrefix: true,
    forwardCookies: false,
    loginRedirect: 'https://id.example.com/?to={path}',
    maxBodyBytes: 0,
    requestHeaders: { set: { 'X-A': 'b, c' }, remove: ['Accept-Encoding'] },
    responseHeaders: { set: { 'X-Frame-Options': 'DENY' }, remove: ['Server'] },
    label: '*.Example.com/',
    index: 0,
  })
  t.end()
})

t.test('the trailing slash of a prefix is removed, but kept in its label', (t) => {
  const routes = config(`{"upstreams": {"api": {"targets": ["http://a"]}}, "routes": [
    {"path": "/api/", "upstream": "api"}, {"path": "/dir/", "exact": true, "upstream": "api"}]}`).routes
  t.match(routes, [
    { path: '/api', label: '/api/' },
    { path: '/dir/', label: '/dir/' },
  ])
  t.end()
})

t.test('relative file names are relative to the routing file, absolute ones stay', (t) => {
  const { tls } = config(
    withUpstream('"tls": {"caFile": "../ca.pem", "certFile": "/run/cert.pem", "keyFile": "keys/key.pem"}'),
  ).upstreams.get('api')!
  t.same(tls, { caFile: '/etc/ca.pem', certFile: '/run/cert.pem', keyFile: '/etc/gateway/keys/key.pem' })
  t.end()
})

t.test('upstreams may have names of inherited properties (constructor)', (t) => {
  const text =
    '{"upstreams": {"constructor": {"targets": ["http://a"]}}, "routes": [{"path": "/", "upstream": "constructor"}]}'
  t.same([...config(text).upstreams.keys()], ['constructor'])
  refused(t, '{"upstreams": {}, "routes": [{"path": "/", "upstream": ¦"toString"}]}', [
    '/routes/0/upstream',
    /toString/,
  ])
  t.end()
})

t.test('a key __proto__ is refused at any place', (t) => {
  refused(t, '{"upstreams": {¦"__proto__": {"targets": ["http://a"]}}, "routes": []}', [
    '/upstreams/__proto__',
    /__proto__/,
  ])
  refused(t, withUpstream('¦"__proto__": {}'), ['/upstreams/api/__proto__', /unknown/])
  refused(t, withRoute('"requestHeaders": {"set": {¦"__proto__": "x"}}'), [
    '/routes/0/requestHeaders/set/__proto__',
    /another name/,
  ])
  t.end()
})

t.test('a syntax error is reported at the offending character, with an empty pointer', (t) => {
  refused(t, '{\n  "upstreams": {},\n¦}\n', ['', /found "}", expected a key/])
  refused(t, '{ "routes": [] ¦// none\n}', ['', /found a comment/])
  refused(t, '¦', ['', /found an empty file/])
  refused(t, '{\n "routes": [\n¦', ['', /found the end of the file/])
  refused(t, '¦\ufeff{}', ['', /found a byte order mark/])
  refused(t, `${'['.repeat(64)}¦${'['.repeat(99_936)}`, ['', /64 levels/])
  t.end()
})

t.test('a value of the wrong type is reported at the value', (t) => {
  refused(t, '¦[]', ['', /found an empty array, expected an object/])
  refused(t, '¦null', ['', /found null/])
  refused(
    t,
    '{"upstreams": ¦[1], "routes": ¦{}}',
    ['/upstreams', /found an array/],
    ['/routes', /expected an array/],
  )
  refused(
    t,
    '{"upstreams": {"a": ¦5}, "routes": [¦"x"]}',
    ['/upstreams/a', /an object/],
    ['/routes/0', /found "x"/],
  )
  refused(t, withRoute('"exact": ¦"yes"'), ['/routes/0/exact', /expected true or false/])
  refused(t, withRoute('"auth": ¦"some"'), ['/routes/0/auth', /"required", "optional" or "none"/])
  t.end()
})

t.test('a missing key is reported at its object', (t) => {
  refused(t, '¦¦{}', ['', /no "upstreams"/], ['', /no "routes"/])
  refused(t, '{"upstreams": {"a": ¦{}}, "routes": []}', ['/upstreams/a', /no "targets", expected an array/])
  refused(
    t,
    '{"upstreams": {}, "routes": [\n  ¦¦{"auth": "none"}]}',
    ['/routes/0', /"path"/],
    ['/routes/0', /"upstream"/],
  )
  refused(t, withTargets('¦{"weight": 2}'), ['/upstreams/api/targets/0', /no "url"/])
  refused(t, withUpstream('"health": ¦{}'), ['/upstreams/api/health', /no "path"/])
  t.end()
})

t.test('an unknown key is reported at the key, with a suggestion', (t) => {
  refused(t, withRoute('¦"mandate": ["a"]'), ['/routes/0/mandate', /did you mean "mandates"\?$/])
  refused(t, withUpstream('\n¦"maxConections": 5'), [
    '/upstreams/api/maxConections',
    /did you mean "maxConnections"\?$/,
  ])
  refused(t, withTargets('{"url": "http://a", ¦"wieght": 1}'), [
    '/upstreams/api/targets/0/wieght',
    /"weight"\?$/,
  ])
  refused(t, withUpstream('¦"zzz": 1'), [
    '/upstreams/api/zzz',
    /^[^?]*expected one of targets, balance[^?]*$/,
  ])
  refused(t, '{"upstreams": {}, "routes": [], ¦"a/b~": 1}', ['/a~1b~0', /unknown/])
  t.end()
})

t.test('a key that occurs twice is reported at the second one', (t) => {
  refused(t, withUpstream('\n"retries": 1,\n¦"retries": 1'), [
    '/upstreams/api/retries',
    /"retries" again.*line 2/,
  ])
  t.end()
})

t.test('a key that occurs many times is one problem', (t) => {
  const many = '"retries": 1, '.repeat(9)
  refused(t, withUpstream(`"retries": 1, ¦${many} "balance": "least-requests"`), [
    '/upstreams/api/retries',
    /"retries" again.*line 1, and 8 more follow$/,
  ])
  t.end()
})

t.test('a repeated key is the only problem of what depends on its value', (t) => {
  const routes = Array.from({ length: 8 }, (_, i) => `{"path": "/${i}", "upstream": "api"}`).join(', ')
  const upstreams = '{"api": {"targets": ["http://a"]}}'
  refused(t, `{"upstreams": ${upstreams}, "routes": [${routes}], ¦"upstreams": {"x": {"target": 1}}}`, [
    '/upstreams',
    /"upstreams" again/,
  ])
  refused(t, withRoute('"path": "/a"').replace('"path": "/a"', '¦"path": "/a/../b"'), [
    '/routes/0/path',
    /"path" again/,
  ])
  for (const repeated of ['"path": "/a", ¦"path": "/a"', '"path": "/a", "exact": true, ¦"exact": false']) {
    const [first, second] = repeated.split('¦')
    const file = `{"upstreams": ${upstreams}, "routes": [{"path": "/a", "upstream": "api"}, {"upstream": "api", ${first}¦${second}}]}`
    refused(t, file, [`/routes/1/${/"(\w+)": [^"]*"?[^"]*"?$/.exec(second!)![1]}`, /again/])
  }
  t.end()
})

t.test('other problems are reported beside a repeated key', (t) => {
  refused(
    t,
    `{"upstreams": {"api": {"targets": ["http://a"], "retries": 1, ¦"retries": 1, "balance": ¦"random"}},
      "routes": [{"path": "/", "upstream": ¦"apl"}]}`,
    ['/upstreams/api/retries', /again/],
    ['/upstreams/api/balance', /round-robin/],
    ['/routes/0/upstream', /"apl"/],
  )
  t.end()
})

t.test('a number in place of a duration is told that a duration is meant', (t) => {
  const meant = /^found 5, expected a duration such as "5s"/
  for (const key of ['connect', 'response', 'idle'])
    refused(t, withUpstream(`"timeouts": {"${key}": ¦5}`), [`/upstreams/api/timeouts/${key}`, meant])
  for (const key of ['interval', 'timeout'])
    refused(t, withUpstream(`"health": {"path": "/", "${key}": ¦5}`), [`/upstreams/api/health/${key}`, meant])
  refused(t, withUpstream('"ejection": {"duration": ¦5}'), ['/upstreams/api/ejection/duration', meant])
  t.end()
})

t.test('all problems are reported at once, in the order of the text', (t) => {
  refused(
    t,
    `{
      "identity": {"userId": ¦"Host", ¦"usreId": "x"},
      "upstreams": {"api": {"targets": ¦[], "balance": ¦"random"}},
      "routes": [
        {"path": "/a", "upstream": ¦"apl"},
        ¦{"path": "/a", "upstream": "api", ¦"colour": "red"},
        {"path": ¦"/b/../c", "upstream": "api", "auth": "none", "mandates": ¦["x"]}
      ]
    }`,
    ['/identity/userId', /no other meaning/],
    ['/identity/usreId', /"userId"\?/],
    ['/upstreams/api/targets', /at least one target/],
    ['/upstreams/api/balance', /"least-requests" or "round-robin"/],
    ['/routes/0/upstream', /"apl".*did you mean "api"\?/],
    ['/routes/1', /tie with the route at line 5/],
    ['/routes/1/colour', /unknown/],
    ['/routes/2/path', /dot segment/],
    ['/routes/2/mandates', /"auth" is "none"/],
  )
  t.end()
})

t.test('a problem is one short line without control characters, whatever value was found', (t) => {
  const odd = JSON.stringify(`\u2028\u0000\n${'x'.repeat(10_000)}`).replace('\u2028', '\\u2028')
  for (const text of [
    withRoute(`"host": ${odd}`),
    withRoute(`${odd}: 1`),
    withRoute(`"requestHeaders": {"set": {${odd}: ""}}`),
    withRoute('"auth": "none"').replace('"upstream": "api"', `"upstream": ${odd}`),
    withRoute('"auth": "none"').replace('{"api":', `{${odd}:`),
  ]) {
    const result = parseRoutingFile(text, FILE)
    if (result.ok) throw new Error('not refused')
    for (const problem of result.problems) {
      t.notMatch(formatProblem(problem), /[\p{Cc}\u2028\u2029]/u)
      t.ok(problem.message.length < 500, `${problem.message.length} characters`)
    }
  }
  t.end()
})

const EVERYTHING = JSON.parse(
  `{"identity": {"userId": "X-U"}, "upstreams": {"api": {"targets": ["http://a", {"url": "http://b", "weight": 2}],
    "host": "a", "timeouts": {"idle": "1s"}, "health": {"path": "/"}, "ejection": {}, "tls": {"caFile": "a"}}},
    "routes": [{"path": "/", "upstream": "api", "methods": ["GET"], "mandates": ["a"], "allowedOrigins": ["http://a"],
    "requestHeaders": {"set": {"A": "b"}, "remove": ["C"]}}, {"path": "/a", "upstream": "api", "auth": "none"}]}`,
)

/** For every place in a JSON value, a function that puts another value there. */
function places(value: unknown, put: (changed: unknown) => unknown): ((changed: unknown) => unknown)[] {
  if (typeof value !== 'object' || value === null) return [put]
  const inner = Object.entries(value).flatMap(([key, member]) =>
    places(member, (changed) =>
      put(Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed }),
    ),
  )
  return [put, ...inner]
}

t.test('any value at any place is either read or reported with a position in the text', (t) => {
  const all = places(EVERYTHING, (changed) => changed)
  const property = fc.property(fc.constantFrom(...all), fc.jsonValue({ maxDepth: 2 }), (put, value) => {
    const text = JSON.stringify(put(value), null, 1)
    const lines = text.split('\n')
    const result = parseRoutingFile(text, FILE)
    if (result.ok) return true
    return (
      result.problems.length > 0 &&
      result.problems.every(
        ({ line, column, message }) =>
          lines[line - 1]?.[column - 1] !== undefined && message.includes(', expected '),
      )
    )
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 1000, seed: 20240607 }))
  t.end()
})

t.test('neither credentials in a URL nor header values are repeated in a problem', (t) => {
  const texts = [
    withTargets('"http://user:s3cret@a:80"'),
    withTargets('"ftp://user:s3cret@a"'),
    withRoute('"requestHeaders": {"set": {"Authorization": "s3cret\\n"}}'),
    withRoute('"requestHeaders": {"set": {"X-Key": " s3cret"}}'),
  ]
  for (const text of texts) {
    const result = parseRoutingFile(text, FILE)
    t.equal(result.ok, false)
    t.notMatch(JSON.stringify(result), 's3cret')
  }
  t.end()
})

t.test('a problem is printed as FILE:LINE:COLUMN: POINTER: problem', (t) => {
  const result = parseRoutingFile('{"upstreams": {}, "routes": 5}', 'up.json')
  if (result.ok) throw new Error('not refused')
  t.same(result.problems.map(formatProblem), ['up.json:1:29: /routes: found 5, expected an array'])
  t.match(result.problems, [{ file: 'up.json', found: '5', expected: 'an array' }])
  t.end()
})

t.test('a tie of two routes is reported at the later one', (t) => {
  const tie = (a: string, b: string) =>
    `{"upstreams": {"api": {"targets": ["http://a"]}}, "routes": [
      {"upstream": "api", ${a}},
      ${b.startsWith('!') ? '' : '¦'}{"upstream": "api", ${b.replace('!', '')}}]}`
  const equal: [string, string][] = [
    ['"path": "/a"', '"path": "/a"'],
    ['"path": "/a"', '"path": "/a/"'],
    ['"path": "/"', '"path": "/", "exact": false'],
    ['"path": "/a", "host": "A.example"', '"path": "/a", "host": "a.example"'],
    ['"path": "/a", "methods": ["GET", "PUT"]', '"path": "/a", "methods": ["POST", "PUT"]'],
    ['"path": "/a", "exact": true', '"path": "/a", "exact": true, "auth": "none"'],
  ]
  for (const [a, b] of equal) refused(t, tie(a, b), ['/routes/1', /tie with the route at line 2/])
  const distinct: [string, string][] = [
    ['"path": "/a"', '!"path": "/a", "exact": true'],
    ['"path": "/a/", "exact": true', '!"path": "/a", "exact": true'],
    ['"path": "/a"', '!"path": "/a", "methods": ["GET"]'],
    ['"path": "/a", "methods": ["PUT"]', '!"path": "/a", "methods": ["GET"]'],
    ['"path": "/a"', '!"path": "/a", "host": "a.example"'],
    ['"path": "/a"', '!"path": "/A"'],
  ]
  for (const [a, b] of distinct) t.equal(config(tie(a, b)).routes.length, 2, b)
  t.end()
})

t.test('the path of a route must be in normal form', (t) => {
  const cases: [string, RegExp][] = [
    ['"api"', /begins with "\/"/],
    ['""', /begins with "\/"/],
    ['"/%61pi"', /normal form, "\/api"/],
    ['"/a//b"', /normal form, "\/a\/b"/],
    ['"/%c3%a9"', /normal form, "\/%C3%A9"/],
    ['"/é"', /normal form, "\/%C3%A9"/],
    ['"/%40x"', /normal form, "\/@x"/],
    ['"/a|b"', /normal form, "\/a%7Cb"/],
    ['"/a/../b"', /dot segment/],
    ['"/."', /dot segment/],
    ['"/a%2fb"', /normal form, "\/a\/b"/],
    ['"/a%2f..%2fb"', /without dot segments/],
    ['"/a%zz"', /malformed escape/],
    ['"/a;b"', /without ";"/],
    ['"/a%3Bb"', /normal form, "\/a"/],
    ['"/a?b"', /without "\?"/],
    ['"/a#b"', /without "#"/],
    ['"/a b"', /without " "/],
    ['"/a\\\\b"', /without "\\\\"/],
    ['"/\\ud800"', /well-formed/],
  ]
  for (const [path, message] of cases) refused(t, withPath(`¦${path}`), ['/routes/0/path', message])
  for (const path of ['/', '/a.b/c-d_e~', "/@x/!$&'()*+,=:", '/%C3%A9', '/%20', '/.well-known', '/api/']) {
    t.equal(config(withPath(JSON.stringify(path))).routes[0]?.label, path)
  }
  t.end()
})

/** Values of one field that are accepted and values that are refused, as JSON. */
function values(t: Test, file: (json: string) => string, pointer: string, taken: string[], wrong: string[]) {
  for (const json of taken) t.equal(parseRoutingFile(file(json), FILE).ok, true, `${pointer} ${json}`)
  for (const json of wrong) refused(t, file(`¦${json}`), [pointer, /^found .*, expected ./])
}

const ofRoute = (key: string) => (json: string) => withRoute(`"${key}": ${json}`)
const ofUpstream = (key: string) => (json: string) => withUpstream(`"${key}": ${json}`)

t.test('a host of a route is a name, a wildcard or an address, without a port', (t) => {
  const taken = ['"a"', '"A.example.com"', '"*.example.com"', '"127.0.0.1"', '"[::1]"', '"my_app"']
  const wrong = [
    '""',
    '"*"',
    '"a:80"',
    '"a:"',
    '"a."',
    '"a..b"',
    '"*.*.a"',
    '"a.*"',
    '"http://a"',
    '"a/b"',
    '"*.[::1]"',
    '"ä.example"',
    '5',
  ]
  values(t, ofRoute('host'), '/routes/0/host', taken, wrong)
  t.end()
})

t.test('methods are in capital letters and ones that the gateway forwards', (t) => {
  values(
    t,
    (json) => withRoute(`"methods": [${json}]`),
    '/routes/0/methods/0',
    ['"GET"', '"M-SEARCH"'],
    ['"get"', '"TRACE"', '"CONNECT"', '"G T"', '"FOO"', '""', '5'],
  )
  refused(t, withRoute('"methods": [¦"DELTE"]'), ['/routes/0/methods/0', /did you mean "DELETE"\?/])
  values(t, ofRoute('methods'), '/routes/0/methods', ['["GET", "PUT"]'], ['[]', '"GET"'])
  t.end()
})

t.test(
  'attack: a login redirect cannot be turned to another host by a request (//evil, /\\evil, CR LF)',
  (t) => {
    const taken = [
      '"/login"',
      '"/login?next={path}"',
      '"/"',
      '"https://id.example.com"',
      '"http://id.example.com:8080/?to={path}#x"',
    ]
    const wrong = [
      '"//evil"',
      '"/\\\\evil"',
      '"\\\\\\\\evil"',
      '"/a\\r\\nX: y"',
      '"/a b"',
      '"login"',
      '""',
      '"javascript:alert(1)"',
      '"https://"',
      '"https://{path}"',
      '"https://a@b/"',
      '"https:/a"',
      '"/{uri}"',
      '"/{path"',
      '"/é"',
      'true',
    ]
    values(t, ofRoute('loginRedirect'), '/routes/0/loginRedirect', taken, wrong)
    t.end()
  },
)

t.test('allowed origins are written as browsers send them', (t) => {
  const taken = ['"https://app.example.com"', '"http://localhost:3000"', '"https://[::1]:8443"']
  const wrong = [
    '"https://App.example.com"',
    '"https://a/"',
    '"https://a:443"',
    '"a"',
    '"null"',
    '"*"',
    '"https://*.a.b/"',
    '"ftp://a"',
    '""',
    '5',
  ]
  values(t, (json) => withRoute(`"allowedOrigins": [${json}]`), '/routes/0/allowedOrigins/0', taken, wrong)
  t.end()
})

t.test('mandates are a list of at least one name', (t) => {
  values(t, ofRoute('mandates'), '/routes/0/mandates', ['["a", "b"]'], ['[]', '"a"'])
  values(t, (json) => withRoute(`"mandates": [${json}]`), '/routes/0/mandates/0', ['"a b"'], ['""', '5'])
  t.end()
})

t.test('maxBodyBytes is a whole number', (t) => {
  values(
    t,
    ofRoute('maxBodyBytes'),
    '/routes/0/maxBodyBytes',
    ['0', '1e6', '9007199254740991'],
    ['-1', '1.5', '1e400', '"5"', '1e16', 'null'],
  )
  t.end()
})

t.test('routes may set and remove headers except those that frame a message or carry an identity', (t) => {
  const set = (side: string) => (name: string) => withRoute(`"${side}": {"set": {${name}: "x"}}`)
  const removed = (side: string) => (name: string) => withRoute(`"${side}": {"remove": [${name}]}`)
  const framing = [
    'Connection',
    'transfer-encoding',
    'Content-Length',
    'Upgrade',
    'TE',
    'Keep-Alive',
    'a b',
    'a:',
    '',
    'é',
  ]
  const identities = ['X-User-Id', 'x_user_id', 'X.Token.Id']
  const wrong = { requestHeaders: [...framing, ...identities, 'Host'], responseHeaders: framing }
  for (const side of ['requestHeaders', 'responseHeaders'] as const) {
    for (const name of wrong[side]) {
      refused(t, set(side)(`¦${JSON.stringify(name)}`), [`/routes/0/${side}/set/${name}`, /expected/])
      refused(t, removed(side)(`¦${JSON.stringify(name)}`), [`/routes/0/${side}/remove/0`, /expected/])
    }
    for (const name of ['X-A', 'Authorization', 'Accept-Encoding', 'Cookie']) {
      t.equal(parseRoutingFile(set(side)(`"${name}"`), FILE).ok, true, name)
    }
  }
  t.equal(parseRoutingFile(removed('responseHeaders')('"X-User-Id"'), FILE).ok, true)
  t.end()
})

t.test('header changes are checked against the identity headers that the file names', (t) => {
  const file = (name: string) =>
    withRoute(`"requestHeaders": {"set": {${name}: "x"}}`).replace(
      '{',
      '{"identity": {"userId": "X-Remote-User"}, ',
    )
  refused(t, file('¦"X-Remote_User"'), ['/routes/0/requestHeaders/set/X-Remote_User', /identity/])
  t.equal(parseRoutingFile(file('"X-User-Id"'), FILE).ok, true)
  t.end()
})

t.test('a header that is changed twice is reported at the second change', (t) => {
  refused(
    t,
    withRoute('"requestHeaders": {"set": {"X-A": "1", ¦"x-a": "2"}, "remove": [¦"X-a"]}'),
    ['/routes/0/requestHeaders/set/x-a', /each header once/],
    ['/routes/0/requestHeaders/remove/0', /each header once/],
  )
  t.end()
})

t.test('a header value cannot end its line (response splitting)', (t) => {
  const file = (json: string) => withRoute(`"responseHeaders": {"set": {"X-A": ${json}}}`)
  const wrong = ['"a\\r\\nX-B: c"', '"a\\n"', '"\\u0000"', '" a"', '"a "', '"é"', '5', 'null']
  values(t, file, '/routes/0/responseHeaders/set/X-A', ['""', '"a"', '"a b\\tc"', '"!~"'], wrong)
  t.end()
})

t.test('a header with another meaning is refused as an identity header', (t) => {
  const file = (json: string) => withIdentity(`"tokenId": ${json}`)
  const names = [
    'Host',
    'Cookie',
    'content-length',
    'Connection',
    'Transfer-Encoding',
    'Authorization',
    'X-Forwarded-For',
    'X_Forwarded_Proto',
    'X-Forwarded',
    'X-Request-Id',
    'Forwarded',
    'TE',
    'Accept',
    'Sec-WebSocket-Key',
  ]
  const wrong = [...names.map((name) => JSON.stringify(name)), '"a b"', '""', '"é"', '5']
  values(
    t,
    file,
    '/identity/tokenId',
    ['"X-Token"', '"Remote-Token"', '"X-Gateway-Token"', '"X-Forwarded-User"'],
    wrong,
  )
  t.end()
})

t.test('two identity headers that a backend could read as the same are refused (CVE-2025-64484)', (t) => {
  refused(t, withIdentity('"userId": "X-Id", "tokenId": ¦"x_id"'), ['/identity/tokenId', /"userId"/])
  refused(t, withIdentity('"userId": ¦"x-mandate-id"'), ['/identity/userId', /"mandateId"/])
  t.equal(parseRoutingFile(withIdentity('"userId": "X-Mandate-Id", "mandateId": "X-User-Id"'), FILE).ok, true)
  t.end()
})

t.test('a target is an origin or a socket', (t) => {
  const taken = [
    '"http://a"',
    '"https://a.b:8443/"',
    '"http://[::1]:80"',
    '"HTTP://A"',
    '"unix:/run/app.sock"',
    '{"url": "http://a"}',
  ]
  const wrong = [
    '"a:80"',
    '""',
    '"http://"',
    '"http:/a"',
    '"http:a"',
    '"//a"',
    '"http://a/b"',
    '"http://a?b"',
    '"http://a#"',
    '"http://a/?"',
    '"http://u@a"',
    '"http://a:0"',
    '"http://a:"',
    '"http://a:65536"',
    '"http://a b"',
    '"http://10.0.0.256:8000"',
    '"http://1.2.3.4.5"',
    '"http://a.0x"',
    '"http://a\\\\b"',
    '"ftp://a"',
    '"unix:app.sock"',
    '"unix:"',
    '"unix://"',
    '5',
    'null',
    '[]',
  ]
  const bad = wrong.filter((json) => json !== '"unix://"')
  values(t, withTargets, '/upstreams/api/targets/0', taken, bad)
  refused(t, withTargets(`¦"unix:/${'x'.repeat(120)}"`), ['/upstreams/api/targets/0', /socket/])
  t.end()
})

t.test('a target that is named twice is refused', (t) => {
  refused(t, withTargets('"http://a", "http://b", ¦"http://A:80/"'), ['/upstreams/api/targets/2', /already/])
  refused(t, withTargets('"http://a", {"url": ¦"http://a", "weight": 2}'), [
    '/upstreams/api/targets/1/url',
    /"weight"/,
  ])
  refused(t, withTargets('"unix:/a", ¦"unix:/a"'), ['/upstreams/api/targets/1', /already/])
  t.equal(parseRoutingFile(withTargets('"http://a", "https://a", "http://a:81"'), FILE).ok, true)
  t.end()
})

t.test('numbers outside their bounds are refused', (t) => {
  values(
    t,
    (json) => withTargets(`{"url": "http://a", "weight": ${json}}`),
    '/upstreams/api/targets/0/weight',
    ['1', '1000'],
    ['0', '1001', '1.5', '-1', '"1"', '1e400'],
  )
  values(t, ofUpstream('retries'), '/upstreams/api/retries', ['0', '10'], ['-1', '11', '0.5', 'true'])
  values(t, ofUpstream('maxConnections'), '/upstreams/api/maxConnections', ['1', '65535'], ['0', '65536'])
  values(t, ofUpstream('maxPending'), '/upstreams/api/maxPending', ['0', '1000000'], ['-1', '1000001'])
  values(
    t,
    (json) => withUpstream(`"ejection": {"maxPercent": ${json}}`),
    '/upstreams/api/ejection/maxPercent',
    ['1', '100'],
    ['0', '101'],
  )
  t.end()
})

t.test('durations are a whole number and a unit, up to a day', (t) => {
  const file = (json: string) => withUpstream(`"timeouts": {"connect": ${json}}`)
  const wrong = [
    '"0s"',
    '"0ms"',
    '"1441m"',
    '"86400001ms"',
    '"5"',
    '5',
    '"1.5s"',
    '"-1s"',
    '"5 s"',
    '"5S"',
    '"1h"',
    '"s"',
    '""',
    '"05s"',
    '"1e3ms"',
    '"99999999999999999999s"',
    'null',
  ]
  values(t, file, '/upstreams/api/timeouts/connect', ['"1ms"', '"500ms"', '"90s"', '"1440m"'], wrong)
  const read = (duration: string) => config(file(`"${duration}"`)).upstreams.get('api')?.timeouts.connectMs
  t.same(['1ms', '5s', '2m'].map(read), [1, 5000, 120_000])
  t.end()
})

t.test('the host of an upstream is preserve, target or a literal host', (t) => {
  const wrong = ['"a b"', '""', '"a/b"', '"a:99999"', '"a\\r\\nX: y"', '5', 'null']
  values(
    t,
    ofUpstream('host'),
    '/upstreams/api/host',
    ['"preserve"', '"target"', '"a.b:80"', '"[::1]"'],
    wrong,
  )
  t.end()
})

t.test('the path of a health check must be usable in a request', (t) => {
  const file = (json: string) => withUpstream(`"health": {"path": ${json}}`)
  values(
    t,
    file,
    '/upstreams/api/health/path',
    ['"/"', '"/up?full=1"'],
    ['"up"', '""', '"/a b"', '"/a#b"', '"/é"', '"/a\\r\\nX: y"', '5'],
  )
  t.end()
})

t.test('certFile without keyFile, and keyFile without certFile, are refused', (t) => {
  refused(t, withUpstream('"tls": ¦{"certFile": "a"}'), ['/upstreams/api/tls', /no "keyFile"/])
  refused(t, withUpstream('"tls": ¦{"keyFile": "a"}'), ['/upstreams/api/tls', /no "certFile"/])
  values(
    t,
    (json) => withUpstream(`"tls": {"caFile": ${json}}`),
    '/upstreams/api/tls/caFile',
    ['"a"'],
    ['""', '"a\\u0000"', '5'],
  )
  values(
    t,
    (json) => withUpstream(`"tls": {"serverName": ${json}}`),
    '/upstreams/api/tls/serverName',
    ['"a.b"'],
    ['""', '"a:1"', '"*.a"'],
  )
  t.end()
})

t.test('names of upstreams must be usable as labels of metrics', (t) => {
  const file = (json: string) => `{"upstreams": {${json}: {"targets": ["http://a"]}}, "routes": []}`
  for (const name of ['a', 'A-b_c.9', '9', 'x'.repeat(64)])
    t.ok(config(file(JSON.stringify(name))).upstreams.has(name))
  for (const name of ['', 'a b', '-a', '.a', 'a/b', 'é', 'x'.repeat(65)]) {
    refused(t, file(`¦${JSON.stringify(name)}`), [
      `/upstreams/${name.replace('/', '~1')}`,
      /a name of letters/,
    ])
  }
  t.end()
})

t.test('a file without upstreams and routes is valid', (t) => {
  t.same(config('{"upstreams": {}, "routes": []}').routes, [])
  t.end()
})

t.test('the example file is valid and names the backend that a first start brings', (t) => {
  const { upstreams, routes } = config(
    readFileSync(new URL('../../../upstreams.example.json', import.meta.url), 'utf8'),
  )
  t.match([...upstreams.values()], [{ targets: [{ url: 'http://127.0.0.1:8001' }] }])
  t.match(routes, [
    { path: '/', auth: 'required' },
    { path: '/public', auth: 'none' },
  ])
  t.end()
})

t.test('the generated documents are up to date with the code', async (t) => {
  const script = new URL('../../../gateway/reference/write.ts', import.meta.url).pathname
  await t.resolves(promisify(execFile)(process.execPath, [script, '--check'], { env: {} }))
})

t.test('the JSON Schema describes every key, with patterns that editors support', (t) => {
  const schema = JSON.parse(readFileSync(new URL('../../../upstreams.schema.json', import.meta.url), 'utf8'))
  t.equal(schema.$schema, 'http://json-schema.org/draft-07/schema#')
  let fields = 0
  const visit = (node: unknown, place: string): void => {
    if (typeof node !== 'object' || node === null) return
    for (const [key, value] of Object.entries(node)) {
      if (key === 'properties') {
        for (const [name, field] of Object.entries(value as Record<string, { description?: string }>)) {
          fields++
          t.match(field.description, /.{15}/, `${place}/${name}`)
        }
      }
      if (key === 'pattern') t.doesNotThrow(() => new RegExp(value as string, 'u'))
      visit(value, `${place}/${key}`)
    }
  }
  visit(schema, '')
  t.ok(fields > 50)
  t.end()
})
