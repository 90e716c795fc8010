import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { checkRoutingFile } from '../../gateway/cli/check.ts'
import { createAuthority } from '../support/certificates.ts'
import { type RunOptions, runCommand, runHere } from '../support/command.ts'

/** One problem: its position, its pointer, and pieces of its text. */
type Expected = readonly [place: string, pointer: string, ...pieces: string[]]

const GOOD = `{
  "upstreams": { "app": { "targets": ["http://127.0.0.1:8001"] } },
  "routes": [{ "path": "/", "upstream": "app" }]
}
`

/** Runs the command in this process, since starting another one takes most of the time. */
const checkHere = (args: readonly string[], options: RunOptions = {}) =>
  runHere('check', checkRoutingFile, args, options)

/** What stderr says of the file that is checked. */
const usesFile = (path: string) => `poweron-gateway: routing file ${path}\n`

/** Checks a file, and asserts exactly these problems in this order, one on each line. */
async function refuses(t: Test, content: string | Uint8Array, ...expected: Expected[]): Promise<void> {
  const cwd = t.testdir({})
  writeFileSync(join(cwd, 'f.json'), content)
  const { code, stdout, stderr } = await checkHere(['f.json'], { cwd })
  t.equal(code, 1)
  t.equal(stderr, usesFile(join(cwd, 'f.json')))
  const lines = stdout.trimEnd().split('\n')
  const beginnings = expected.map(([place, pointer]) => `f.json:${place}: ${pointer}: found `)
  t.same(
    lines.map((line) => /^f\.json:\d+:\d+: \S*: found /.exec(line)?.[0] ?? line),
    beginnings,
    stdout,
  )
  for (const [i, [, , ...pieces]] of expected.entries()) for (const piece of pieces) t.match(lines[i], piece)
}

t.test('check of a good file prints one line and exits with 0', async (t) => {
  const cwd = t.testdir({ 'upstreams.json': GOOD, 'other.json': GOOD })
  const good = 'good, 1 upstream, 1 route\n'
  t.same(await runCommand(['check'], { cwd }), {
    code: 0,
    stdout: `upstreams.json: ${good}`,
    stderr: usesFile(join(cwd, 'upstreams.json')),
  })
  t.match(await runCommand(['check', 'other.json'], { cwd }), { code: 0, stdout: `other.json: ${good}` })
  const env = { UPSTREAMS_FILE: 'other.json' }
  t.match(await runCommand(['check'], { cwd, env }), { stdout: `other.json: ${good}` })
})

t.test('check of "-" reads standard input, with files relative to the working folder', async (t) => {
  const cwd = t.testdir({})
  const input = GOOD.replace('["http://127.0.0.1:8001"]', '["https://a"], "tls": { "caFile": "ca.pem" }')
  const { code, stdout } = await checkHere(['-'], { cwd, input })
  t.equal(code, 1)
  t.match(stdout, '-:2:72: /upstreams/app/tls/caFile: found ')
  t.match(stdout, `${join(cwd, 'ca.pem')} (ENOENT), expected a readable file`)
  t.match(await checkHere(['-'], { cwd, input: GOOD }), { code: 0, stdout: /^-: good/ })
})

t.test('every problem of a file is reported at once, each at its key or value', (t) =>
  refuses(
    t,
    `{
  "upstream": {},
  "identity": { "userId": "X-User", "mandateId": "x_user" },
  "upstreams": {
    "app": {
      "targets": ["http://a:99999", "ftp://a", "http://a/x"],
      "balance": "least-request",
      "retries": 11,
      "timeouts": { "connect": "5 s", "idle": 5, "respons": "1s" },
      "health": {},
      "tls": { "certFile": "cert.pem" }
    }
  },
  "routes": [
    { "path": "/a/../b", "upstream": "app" },
    { "path": "/b", "upstream": "ap", "auth": "none", "mandates": ["x"] },
    { "host": "a.example:80", "path": "/c", "upstream": "app" },
    { "path": "/d", "upstream": "app", "loginRedirect": "//evil.example" },
    { "path": "/e", "upstream": "app", "requestHeaders": { "set": { "X-User": "a", "Content-Length": "1" } } },
    { "path": "/f", "upstream": "app", "methods": ["get"] },
    { "path": "/g", "upstream": "app" },
    { "path": "/g/", "upstream": "app" },
    { "upstream": "app" }
  ]
}
`,
    ['2:3', '/upstream', 'unknown key "upstream"', 'did you mean "upstreams"?'],
    ['3:50', '/identity/mandateId', 'a name that differs from that of "userId"'],
    ['6:19', '/upstreams/app/targets/0', '"http://a:99999"', 'a valid host and port'],
    ['6:37', '/upstreams/app/targets/1', '"ftp://a"', 'http://host:port'],
    ['6:48', '/upstreams/app/targets/2', 'a URL without path'],
    ['7:18', '/upstreams/app/balance', '"least-request"', 'did you mean "least-requests"?'],
    ['8:18', '/upstreams/app/retries', '11', 'a whole number from 0 to 10'],
    ['9:32', '/upstreams/app/timeouts/connect', '"5 s"', 'a duration such as 500ms, 5s or 1m'],
    ['9:47', '/upstreams/app/timeouts/idle', '5', 'a duration such as "5s"'],
    ['9:50', '/upstreams/app/timeouts/respons', 'did you mean "response"?'],
    ['10:17', '/upstreams/app/health', 'no "path"'],
    ['11:14', '/upstreams/app/tls', 'no "keyFile"'],
    ['11:28', '/upstreams/app/tls/certFile', 'cert.pem (ENOENT)', 'a readable file'],
    ['15:15', '/routes/0/path', 'every backend reads in the same way'],
    ['16:33', '/routes/1/upstream', '"ap"', 'one of app', 'did you mean "app"?'],
    ['16:67', '/routes/1/mandates', '"auth" to be "required"'],
    ['17:15', '/routes/2/host', '"a.example:80"', 'no port'],
    ['18:57', '/routes/3/loginRedirect', 'a single "/"'],
    ['19:69', '/routes/4/requestHeaders/set/X-User', 'does not carry an identity'],
    ['19:84', '/routes/4/requestHeaders/set/Content-Length', 'does not frame the message'],
    ['20:52', '/routes/5/methods/0', '"get"', 'capital letters'],
    ['22:5', '/routes/7', 'a tie with the route at line 21'],
    ['23:5', '/routes/8', 'no "path"'],
  ),
)

const NOT_JSON: readonly [what: string, content: string | Uint8Array, place: string, ...pieces: string[]][] =
  [
    ['an empty file', '', '1:1', 'an empty file', 'a value'],
    ['a byte order mark', `\ufeff${GOOD}`, '1:1', 'a byte order mark'],
    ['a comment', '{\n  // routes\n  "routes": []\n}', '2:3', 'a comment'],
    ['a trailing comma', '{\n  "routes": [],\n}', '3:1', '"}"', 'a key in double quotes', 'trailing comma'],
    ['a trailing comma in a list', '{"routes": [\n  1,\n  ]}', '3:3', '"]"', 'a value', 'trailing comma'],
    ['a trailing comma in a file with CRLF', '{\r\n  "routes": [],\r\n}\r\n', '3:1', '"}"'],
    ['single quotes', "{ 'routes': [] }", '1:3', `"'"`, 'a key in double quotes'],
    ['an end that comes too early', '{\n  "routes": [', '2:14', 'the end of the file'],
    ['something behind the end', `${GOOD}x`, '5:1', '"x"', 'the end of the file'],
    [
      'a byte that is not UTF-8',
      Buffer.from('{\n  "é\xe9": 1}', 'latin1'),
      '2:4',
      'the byte 0xE9',
      'JSON in UTF-8',
    ],
    ['half a character at the end', Buffer.from([0x7b, 0x0a, 0x22, 0xc3]), '2:2', 'the byte 0xC3'],
    ['UTF-16', Buffer.from(`\ufeff${GOOD}`, 'utf16le'), '1:1', 'UTF-16', 'JSON in UTF-8'],
    ['nesting without end', '['.repeat(5000), '1:65', '64 levels'],
  ]
for (const [what, content, place, ...pieces] of NOT_JSON) {
  t.test(`${what} is reported at its position, with an empty pointer`, (t) =>
    refuses(t, content, [place, '', ...pieces]),
  )
}

t.test('a duplicate key is reported at its second occurrence', (t) =>
  refuses(t, '{\n  "upstreams": {},\n  "routes": [],\n  "routes": []\n}', [
    '4:3',
    '/routes',
    'the key "routes" again',
    'it already stands at line 3',
  ]),
)

t.test('an unreadable file is reported as a problem of line 1', async (t) => {
  const cwd = t.testdir({ folder: {}, 'secret.json': GOOD })
  const told = async (file: string) => (await checkHere([file], { cwd })).stdout
  t.equal(
    await told('none.json'),
    'none.json:1:1: : found no such file (ENOENT), expected a readable routing file\n',
  )
  t.equal(await told('folder'), 'folder:1:1: : found a folder (EISDIR), expected a readable routing file\n')
  t.equal(
    await told('folder/x'),
    'folder/x:1:1: : found no such file (ENOENT), expected a readable routing file\n',
  )
  chmodSync(join(cwd, 'secret.json'), 0)
  const isRoot = process.getuid?.() === 0
  const permitted = /^secret\.json: good/
  t.match(
    await told('secret.json'),
    isRoot ? permitted : /^secret\.json:1:1: : found a file that may not be read/,
  )
})

t.test('check of an endless file stops at the size limit', async (t) => {
  const { code, stdout } = await checkHere(['/dev/zero'], { cwd: t.testdir({}) })
  t.equal(code, 1)
  t.equal(stdout, '/dev/zero:1:1: : found more than 64 MiB, expected a routing file\n')
})

t.test('16,000 problems are reported in time and completely, through a pipe too', async (t) => {
  const routes = Array.from({ length: 8_000 }, (_, i) => ({
    path: `/r${i}`,
    upstrem: 'app',
    upstream: `u${i}`,
  }))
  const upstreams = Object.fromEntries(routes.map((_, i) => [`up${i}`, { targets: ['http://a'] }]))
  const started = performance.now()
  const { code, stdout } = await runCommand(['check', '-'], { input: JSON.stringify({ upstreams, routes }) })
  t.equal(code, 1)
  t.equal(stdout.trimEnd().split('\n').length, 16_000)
  t.match(stdout, /\/routes\/7999\/upstream: found "u7999".*\n$/)
  // If the cost were the product of problems and keys, this would take minutes.
  t.ok(performance.now() - started < 30_000)
})

t.test('check opens certificates and keys, and reports those that are unusable', async (t) => {
  const authority = createAuthority(t, 'ca')
  const one = authority.issue('one', ['DNS:one'])
  const other = authority.issue('other', ['DNS:other'])
  const cwd = t.testdir({ 'notes.txt': 'no certificate' })
  const told = async (tls: Record<string, string>) => {
    const file = { upstreams: { a: { targets: ['https://a'], tls } }, routes: [{ path: '/', upstream: 'a' }] }
    return (await checkHere(['-'], { cwd, input: JSON.stringify(file) })).stdout
  }
  const { certFile, keyFile } = one
  t.match(await told({ caFile: authority.certFile, certFile, keyFile }), /^-: good/)
  t.match(
    await told({ caFile: 'notes.txt' }),
    /caFile: found .*notes\.txt, which contains something else, expected certificates/,
  )
  t.match(await told({ certFile, keyFile: 'notes.txt' }), /keyFile: found .*expected a private key in PEM/)
  t.match(await told({ certFile, keyFile: other.keyFile }), /keyFile: found the key of another certificate/)
  t.match(await told({ certFile, keyFile: '.' }), /keyFile: found .*\(EISDIR\)/)
})

const ODD: readonly [what: string, upstream: object, route: object, place: string, piece: string][] = [
  ['an upstream that no route names', {}, { upstream: 'b' }, '1:15', 'no route names'],
  ['tls without https: targets', { tls: { serverName: 'a' } }, {}, '1:43', 'without an https: target'],
  ['a redirect where nothing is refused', {}, { auth: 'none', loginRedirect: '/b' }, '', '"auth" is "none"'],
  [
    'origins where none are judged',
    {},
    { auth: 'optional', allowedOrigins: ['https://b.example'] },
    '',
    '"auth" is "optional"',
  ],
  [
    'a write by other origins whose preflight has no route',
    {},
    { methods: ['GET', 'PUT'], allowedOrigins: ['https://b.example'] },
    '',
    'lets their preflights pass',
  ],
  ['a login behind itself', {}, { path: '/', loginRedirect: '/login?next={path}' }, '', 'a redirect loop'],
  ['a login that no route takes', {}, { path: '/x', loginRedirect: '/login' }, '', 'no route matches it'],
  ['a pattern of another proxy', {}, { path: '/a/*' }, '', 'matched literally'],
  ['a parameter of another router', {}, { path: '/a/:id' }, '', 'matched literally'],
  ['a route for an own endpoint', {}, { path: '/-/healthz' }, '', 'never reached'],
  [
    'a rule for some methods above a looser route for all',
    {},
    { path: '/b/c', methods: ['POST'] },
    '',
    'GET goes by the route "/b", which needs no token',
  ],
]
for (const [what, upstream, route, place, piece] of ODD) {
  t.test(`${what} is a warning on stderr, and the file is good`, async (t) => {
    const first = { path: '/b', upstream: 'b', auth: 'none' }
    const file = {
      upstreams: { a: { targets: ['http://a'], ...upstream }, b: { targets: ['http://b'] } },
      routes: [first, { path: '/a', upstream: 'a', ...route }],
    }
    const { code, stdout, stderr } = await checkHere(['-'], { input: JSON.stringify(file) })
    t.equal(code, 0)
    t.match(stdout, /^-: good, 2 upstreams, 2 routes\n$/)
    t.match(
      stderr,
      new RegExp(
        `^poweron-gateway: routing file from standard input\\n-:${place === '' ? '1:\\d+' : place}: /\\S+: warning: found [^\\n]*\\n$`,
      ),
    )
    t.match(stderr, piece)
  })
}

t.test('with --strict a warning is a problem on stdout, and the exit code is 1', async (t) => {
  const odd = JSON.stringify({ ...JSON.parse(GOOD), routes: [] })
  t.match(await runCommand(['check', '--strict', '-'], { input: GOOD }), { code: 0, stdout: /^-: good/ })
  const { code, stdout } = await runCommand(['check', '--strict', '-'], { input: odd })
  t.equal(code, 1)
  t.match(
    stdout,
    /^-:1:15: \/upstreams\/app: found an upstream that no route names, expected [^\n]+\n-:1:\d+: \/routes: found no route, expected [^\n]+\n$/,
  )
})

t.test('a file without routes is good, with a warning', async (t) => {
  const { code, stderr } = await checkHere(['-'], { input: '{"upstreams": {}, "routes": []}' })
  t.equal(code, 0)
  t.match(
    stderr,
    /\n-:1:29: \/routes: warning: found no route, expected at least one; without it every request gets 404\n$/,
  )
})

t.test('a login page with a route of its own is no redirect loop', async (t) => {
  const file = {
    upstreams: { a: { targets: ['http://a'] } },
    routes: [
      { path: '/', upstream: 'a', loginRedirect: '/login?next={path}' },
      { path: '/login', upstream: 'a', auth: 'none' },
      { host: 'b.example', path: '/', upstream: 'a', loginRedirect: 'https://login.example/?next={path}' },
    ],
  }
  const { code, stderr } = await checkHere(['-'], { input: JSON.stringify(file) })
  t.same([code, stderr], [0, usesFile('from standard input')])
})

t.test('the problems of a file repeat none of its secrets', async (t) => {
  const file = `{"upstreams": {"a": {"targets": ["http://user:hunter2@a"]}}, "routes": [{"path": "/", "upstream": "a",
    "requestHeaders": {"set": {"X-Api-Key": "hunter3\\n"}}}]}`
  const { code, stdout } = await checkHere(['-'], { input: file })
  t.equal(code, 1)
  t.notMatch(stdout, /hunter/)
})

t.test('npm run routes runs the check command', async (t) => {
  const { execFile } = await import('node:child_process')
  const { promisify } = await import('node:util')
  const cwd = new URL('../..', import.meta.url).pathname
  const { stdout } = await promisify(execFile)(
    'npm',
    ['run', '--silent', 'routes', '--', 'upstreams.example.json'],
    { cwd },
  )
  t.equal(stdout, 'upstreams.example.json: good, 1 upstream, 2 routes\n')
})

t.test('a file in another folder is named as given, with files relative to that folder', async (t) => {
  const cwd = t.testdir({})
  mkdirSync(join(cwd, 'conf'))
  writeFileSync(join(cwd, 'conf/u.json'), GOOD.replace('8001"]', '8001"], "tls": { "caFile": "ca.pem" }'))
  const { stdout } = await checkHere(['./conf/u.json'], { cwd })
  t.match(stdout, './conf/u.json:2:')
  t.match(stdout, join(cwd, 'conf/ca.pem'))
})

t.test('check reads the error pages too where ERROR_PAGES_DIR is set', async (t) => {
  const cwd = t.testdir({ 'upstreams.json': GOOD, pages: { '503.html': '{{status}}', 'error.html': '' } })
  const env = { ERROR_PAGES_DIR: 'pages' }
  const uses = `${usesFile(join(cwd, 'upstreams.json'))}poweron-gateway: error pages ${join(cwd, 'pages')}\n`
  writeFileSync(join(cwd, 'pages/error.html'), '<p>{{requestId}}\n {{reqestId}}')
  t.same(await checkHere([], { cwd, env }), {
    code: 1,
    stdout:
      'pages/error.html:2:2: : found the unknown placeholder "{{reqestId}}", expected {{status}}, {{code}}, {{title}} or {{requestId}}; did you mean "requestId"?\n',
    stderr: uses,
  })
  writeFileSync(join(cwd, 'pages/error.html'), '<p>{{requestId}}')
  writeFileSync(join(cwd, 'pages/500.html'), 'x')
  const good = 'upstreams.json: good, 1 upstream, 1 route\npages: good, 2 error pages\n'
  t.match(await checkHere([], { cwd, env }), {
    code: 0,
    stdout: good,
    stderr:
      'pages/500.html:1:1: : warning: found a name that no error has, expected CODE.html, STATUS.html or error.html',
  })
  t.match(await checkHere(['--strict'], { cwd, env }), {
    code: 1,
    stdout: /^pages\/500\.html:1:1: : found a name that no error has, expected [^\n]*\n$/,
    stderr: uses,
  })
})

t.test('check names the problems of the routing file and of the error pages at once', async (t) => {
  const cwd = t.testdir({ 'upstreams.json': '{' })
  const { code, stdout } = await checkHere([], { cwd, env: { ERROR_PAGES_DIR: 'none' } })
  t.equal(code, 1)
  t.match(
    stdout,
    /^upstreams\.json:1:2: : found .*\nnone:1:1: : found no such folder \(ENOENT\), expected .*\n$/,
  )
})
