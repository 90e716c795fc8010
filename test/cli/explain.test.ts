import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createExplainer, type Explanation } from '../../gateway/explain/explainer.ts'
import { loadRoutingFile } from '../../gateway/routing/file/load-file.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { runCommand } from '../support/command.ts'
import { startGateway } from '../support/gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { rawRequest } from '../support/raw-http.ts'
import { forgeToken, inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { type RecordedRequest, startRecordingUpstream } from '../support/upstream.ts'

const [server, upstream] = await Promise.all([startPostgres(), startRecordingUpstream()])
const databaseUrl = await server.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const HOST = 'app.example.com'

const routing = {
  upstreams: {
    app: { targets: [upstream.url] },
    named: { targets: [{ url: upstream.url, weight: 3 }], host: 'target' },
  },
  routes: [
    { path: '/', upstream: 'app' },
    { path: '/pub', upstream: 'app', auth: 'none', stripPrefix: true },
    { path: '/opt', upstream: 'app', auth: 'optional' },
    { path: '/tenants', upstream: 'app', mandates: ['other'] },
    { path: '/mixed', upstream: 'app', auth: 'optional', mandates: ['acme'] },
    { path: '/read', upstream: 'app', methods: ['GET'] },
    { path: '/read', upstream: 'named', methods: ['PUT'], maxBodyBytes: 3 },
    { path: '/login', upstream: 'app', auth: 'none', exact: true },
    { path: '/page', upstream: 'app', loginRedirect: '/login?next={path}' },
    { path: '/stays', upstream: 'app', refresh: 'auto' },
    { path: '/friends', upstream: 'app', allowedOrigins: ['https://friend.example'] },
    { host: 'api.example.com', path: '/v1', upstream: 'named' },
    { host: '*.example.com', path: '/wild', upstream: 'app', auth: 'none' },
    {
      path: '/keyed',
      upstream: 'app',
      auth: 'none',
      requestHeaders: { set: { 'X-Api-Key': 'hunter2', 'X-Plain': 'seen' }, remove: ['X-Gone'] },
    },
  ],
}
const env = {
  NODE_ENV: 'production',
  DATABASE_URL: databaseUrl,
  JWT_SECRET: TEST_SECRET,
  SESSION_ENDPOINTS: 'on',
}
const gateway = await startGateway({ databaseUrl, routing, env })
t.teardown(async () => {
  await gateway.stop()
  await upstream.close()
  await sql.end()
  await server.close()
})

async function token(
  row: Parameters<typeof insertToken>[1] | null = {},
  claims: Record<string, unknown> = {},
): Promise<string> {
  const { id } = row === null ? { id: 'nobody' } : await insertToken(sql, row)
  return signToken({ claims: { jti: id, exp: inSeconds(3600), ...claims } })
}

const good = await token()
const lasting = await token({ sessionId: 'long' }, { type: 'refresh' })
const COOKIES: Readonly<Record<string, string>> = {
  good: `auth_token=${good}`,
  'no mandate': `auth_token=${await token({ mandateId: null })}`,
  revoked: `auth_token=${await token({ status: 'REVOKED' })}`,
  'row expired': `auth_token=${await token({ expiresAt: Date.now() - 1000 })}`,
  expired: `auth_token=${await token({}, { exp: inSeconds(-10) })}`,
  unknown: `auth_token=${await token(null)}`,
  'of another user': `auth_token=${await token({}, { userId: 'mallory' })}`,
  'of a row that cannot be sent': `auth_token=${await token({ userId: 'a\nb' })}`,
  forged: `auth_token=${await signToken({ claims: { jti: 'x', exp: inSeconds(60) }, secret: `${TEST_SECRET}?` })}`,
  unsigned: `auth_token=${forgeToken({ alg: 'none' }, { jti: 'x', exp: inSeconds(60) })}`,
  'a refresh token': `auth_token=${lasting}`,
  two: `auth_token=${good}; auth_token=${await token()}`,
  'with others': `theme=dark; auth_token=${good}; backend=s3cret`,
  'only refresh': `refresh_token=${lasting}`,
  'expired, with refresh': `auth_token=${await token({}, { exp: inSeconds(-10) })}; refresh_token=${await token({ sessionId: 'once' }, { type: 'refresh' })}`,
}

interface Case {
  readonly line: string
  readonly cookie?: keyof typeof COOKIES
  readonly headers?: readonly string[]
  readonly host?: string
}

const NAVIGATION = ['Accept', 'text/html']
const JUMP = ['Sec-Fetch-Mode', 'navigate', 'Sec-Fetch-Dest', 'document', 'Sec-Fetch-Site', 'none']
const evil = ['Origin', 'https://evil.example']
const HANDSHAKE = [
  'Connection',
  'keep-alive, Upgrade',
  'Upgrade',
  'websocket',
  'Sec-WebSocket-Version',
  '13',
  'Sec-WebSocket-Key',
  'AAAAAAAAAAAAAAAAAAAAAA==',
]
const CASES: readonly Case[] = [
  // A refresh token can be used once, so the request is explained before it is sent.
  ...Object.keys(COOKIES).flatMap((cookie) => [
    { line: 'GET /', cookie },
    { line: 'GET /opt', cookie },
    { line: 'POST /mixed', cookie, headers: evil },
  ]),
  { line: 'GET /' },
  { line: 'GET /', headers: NAVIGATION },
  { line: 'GET /page?a=b', headers: NAVIGATION },
  { line: 'GET /page', headers: JUMP },
  { line: 'GET /page', headers: ['Sec-Fetch-Mode', 'cors', ...NAVIGATION] },
  { line: 'POST /page', headers: NAVIGATION },
  { line: 'GET /page', cookie: 'revoked', headers: NAVIGATION },
  { line: 'GET /page', cookie: 'good', headers: NAVIGATION },
  { line: 'GET /tenants', cookie: 'good' },
  { line: 'GET /tenants', cookie: 'no mandate' },
  { line: 'GET /mixed' },
  { line: 'POST /', cookie: 'good', headers: evil },
  { line: 'GET /', cookie: 'good', headers: evil },
  { line: 'POST /', cookie: 'good', headers: ['Origin', `http://${HOST}`] },
  { line: 'POST /', cookie: 'good', headers: ['Origin', `https://${HOST}`] },
  { line: 'POST /', cookie: 'good', headers: ['Origin', 'null'] },
  { line: 'POST /', cookie: 'revoked', headers: evil },
  { line: 'POST /friends', cookie: 'good', headers: ['Origin', 'https://friend.example'] },
  { line: 'GET /friends', cookie: 'good', headers: [...HANDSHAKE, ...evil] },
  { line: 'GET /opt', cookie: 'good', headers: [...HANDSHAKE, ...evil] },
  { line: 'GET /', headers: HANDSHAKE },
  { line: 'GET /stays', cookie: 'expired', headers: JUMP },
  { line: 'GET /stays', cookie: 'revoked', headers: JUMP },
  { line: 'GET /stays', cookie: 'expired, with refresh', headers: JUMP },
  { line: 'GET /stays', headers: JUMP },
  { line: 'GET /pub/x' },
  { line: 'GET /pubx' },
  { line: 'GET /login' },
  { line: 'GET /login/' },
  { line: 'GET /read', cookie: 'good' },
  { line: 'HEAD /read', cookie: 'good' },
  { line: 'PUT /read', cookie: 'good', headers: ['Content-Length', '3'] },
  { line: 'PUT /read', cookie: 'good', headers: ['Content-Length', '4'] },
  { line: 'TRACE /pub' },
  { line: 'FOO /pub' },
  { line: 'POST /pub', headers: ['Expect', 'a miracle'] },
  { line: 'GET /pub', headers: ['X-Big', 'x'.repeat(20_000)] },
  // The longest request that is accepted, and the shortest that is not.
  { line: 'GET /pub', headers: ['X-Big', 'x'.repeat(16_355)] },
  { line: 'GET /pub', headers: ['X-Big', 'y'.repeat(16_356)] },
  { line: 'GET /v1', host: 'api.example.com', cookie: 'good' },
  { line: 'GET /v1', host: 'API.example.com:80', cookie: 'good' },
  { line: 'GET /wild', host: 'a.b.example.com' },
  { line: 'GET /wild', host: 'example.com' },
  { line: 'GET /pub', host: 'a b' },
  { line: 'GET /pub/../x' },
  { line: 'GET /pub/%2e%2e/x' },
  { line: 'GET /pub;a/x' },
  { line: 'GET /pub%2fx' },
  { line: 'GET /pub/@scope%2fname' },
  { line: 'GET //pub///x' },
  { line: 'GET /%70ub' },
  { line: 'GET /-/healthz' },
  { line: 'GET /keyed?token=abc', headers: ['X-Gone', 'a', 'X_User_Id', 'root', 'X-User-Id', 'root'] },
]

const settings = readSettings(env)
if (!settings.ok) throw new Error(settings.problems.join('\n'))
const loaded = await loadRoutingFile({ path: gateway.upstreamsFile })
if (!loaded.ok) throw new Error(loaded.problems.join('\n'))
const explainer = await createExplainer({
  settings: settings.settings,
  databaseUrl,
  keySource: { kind: 'secret', secret: TEST_SECRET },
  config: loaded.config,
})
t.teardown(() => explainer.close())

const explained = ({ line, cookie, headers = [], host = HOST }: Case) => {
  const [method = '', target = ''] = line.split(' ')
  const sent = cookie === undefined ? headers : [...headers, 'Cookie', COOKIES[cookie]!]
  return explainer.explain({ scheme: 'http', host, target, method, headers: sent })
}

/** Sends the same request to the running gateway. */
async function asked({ line, cookie, headers = [], host = HOST }: Case) {
  const sent = cookie === undefined ? headers : [...headers, 'Cookie', COOKIES[cookie]!]
  const fields: string[] = []
  for (let i = 0; i < sent.length; i += 2) fields.push(`${sent[i]}: ${sent[i + 1]}`)
  const length = Number(/content-length: (\d+)/i.exec(fields.join('\n'))?.[1] ?? 0)
  const before = upstream.requests.length
  const head = [`${line} HTTP/1.1`, `Host: ${host}`, ...fields, '', ''].join('\r\n')
  const { responses } = await rawRequest(gateway.port, head + 'x'.repeat(length))
  return { response: responses.at(-1)!, received: upstream.requests.slice(before) }
}

const stepOf = (explanation: Explanation, title: string) =>
  explanation.steps.filter((step) => step.title === title).flatMap(({ details }) => details)

/** Compares the explained head with the one that the backend got, without values that differ in each request. */
function sameHead(t: Test, explanation: Explanation, received: RecordedRequest): void {
  const [line = '', ...told] = stepOf(explanation, 'Sends')
  t.equal(line.replace('token=***', 'token=abc'), `${received.method} ${received.target}`)
  const fields = told.map((field) => /^([^:]+): (.*)$/s.exec(field)!.slice(1) as [string, string])
  const names = (all: readonly (readonly [string, string])[]) =>
    all.map(([name]) => name.toLowerCase()).filter((name) => !/^(?:connection|content-length)$/.test(name))
  t.same(names(fields).sort(), names(received.headers).sort(), line)
  for (const [name, value] of fields) {
    if (/^(?:x-request-id|traceparent|connection)$/i.test(name) || value.includes('***')) continue
    // Explain does not make the new tokens of an inline refresh.
    if (value !== '(of the new token)') t.equal(received.header(name), value, name)
  }
}

for (const each of CASES) {
  const title = [each.line, each.cookie ?? 'no cookie', ...(each.headers ?? []), each.host ?? '']
    .join(' ')
    .slice(0, 60)
    .trim()
  t.test(`${title}: explain names the outcome of a real request`, async (t) => {
    const explanation = await explained(each)
    const { response, received } = await asked(each)
    const own = each.line.includes('/-/')
    t.equal(explanation.forwards, received.length === 1)
    if (received.length === 1) sameHead(t, explanation, received[0]!)
    else if (!own) {
      t.equal(explanation.status, response.status)
      if (response.status !== 303)
        t.match(
          response.body.toString(),
          new RegExp(`"code":"${explanation.code}"|<dd>${explanation.code}</dd>`),
        )
      else t.match(stepOf(explanation, 'Answer')[0], `303 to ${response.header('location')}:`)
    }
    const text = JSON.stringify(explanation)
    for (const secret of [good.slice(-20), lasting.slice(-20), 's3cret', 'hunter2', 'eyJ'])
      t.notMatch(text, secret, 'no secret is told')
  })
}

t.test('the other routes are listed, each with the reason why it was not chosen', async (t) => {
  const not = async (line: string, host = HOST) => stepOf(await explained({ line, host }), 'Not')
  t.same(await not('GET /read'), [
    '/ -> app: less specific: a shorter path',
    '/read [PUT] -> named: it is for PUT, not GET',
  ])
  t.same(await not('GET /login/x'), ['/login (exact) -> app: it is for /login alone'])
  t.same(await not('GET /pubx'), ['/pub -> app: it is for /pub and /pub/…, not /pubx'])
  t.same(await not('GET /v1'), [
    'api.example.com/v1 -> named: it is for the host api.example.com, not app.example.com',
  ])
  t.same(await not('GET /wild', 'a.example.com'), ['/ -> app: less specific: it is for any host'])
})

t.test('the token row and the choice of the target are shown', async (t) => {
  const explanation = await explained({ line: 'PUT /read', cookie: 'good' })
  t.match(stepOf(explanation, 'Row'), [
    /^id \S+, status ACTIVE$/,
    'user alice, mandate acme, session s1',
    /^expires \d{4}-/,
  ])
  t.match(stepOf(explanation, 'Target'), ['named, its only target', upstream.url])
  t.match(stepOf(await explained({ line: 'GET /', cookie: 'revoked' }), 'Row'), [/status REVOKED/])
})

const folder = t.testdir({})
const file = join(folder, 'upstreams.json')
writeFileSync(file, JSON.stringify(routing))
const command = (args: readonly string[], more: Record<string, string> = {}, input = '') =>
  runCommand(['explain', ...args], { env: { ...env, UPSTREAMS_FILE: file, ...more }, cwd: folder, input })

t.test('the command prints the explanation, and exits with 0 if it forwards, else 1', async (t) => {
  const forwarded = await command(['--token', good, `http://${HOST}/x`])
  t.equal(forwarded.code, 0)
  t.match(forwarded.stdout, /^Request +GET http:\/\/app\.example\.com\/x\nRoute +\/ -> app, auth required\n/)
  t.match(forwarded.stdout, / +X-User-Id: alice\n/)
  t.match(forwarded.stdout, /\nAnswer +the target's\n$/)
  t.equal(
    forwarded.stderr,
    `poweron-gateway: database ${databaseUrl.replace(/^.*@/, '')} (DATABASE_URL)
poweron-gateway: key from JWT_SECRET
poweron-gateway: routing file ${file}
`,
  )
  const refused = await command(['--cookie', COOKIES.revoked!, '--method', 'post', '/x'])
  t.equal(refused.code, 1)
  t.match(refused.stdout, /\nAnswer +401 token_revoked\n$/)
  const piped = await command(['--token', '-', '--json', '/x'], {}, `${good}\n`)
  t.match(JSON.parse(piped.stdout), {
    forwards: true,
    status: null,
    code: null,
    steps: [{ title: 'Request' }],
  })
  for (const { stdout } of [forwarded, refused, piped]) t.notMatch(stdout, 'eyJ')
})

t.test('the origin rule applies to a ws: URL', async (t) => {
  const args = ['--token', good, '--header', 'Origin: https://evil.example', `wss://${HOST}/friends`]
  const { code, stdout } = await command(args)
  t.equal(code, 1)
  t.match(stdout, /a WebSocket from https:\/\/evil\.example.*https:\/\/friend\.example/)
  t.match(await command([...args.slice(0, 3), 'Origin: https://friend.example', args[4]!]), { code: 0 })
})

t.test('a CORS preflight from an allowed origin is explained as an anonymous request', async (t) => {
  const origin = ['--header', 'Origin: https://friend.example']
  const asks = ['--header', 'Access-Control-Request-Method: PUT']
  const { code, stdout } = await command(['--method', 'OPTIONS', ...origin, ...asks, '/friends'])
  t.equal(code, 0)
  t.match(stdout, /anonymous: a CORS preflight/)
  t.match(await command(['--method', 'OPTIONS', ...origin, '/friends']), { code: 1 })
})

t.test('with the database down explain names the fault, which is not a refusal', async (t) => {
  const { code, stdout } = await command(['--token', good, '/x'], {
    DATABASE_URL: 'postgres://gateway:pw@127.0.0.1:1/none',
  })
  t.equal(code, 1)
  t.match(stdout, /token_store_unavailable: .*ECONNREFUSED.*A fault, not a refusal/)
  t.match(stdout, /\nAnswer +503 token_store_unavailable\n +Retry-After: 1\n$/)
  t.notMatch(stdout, /pw@/)
  t.match(await command(['/pub'], { DATABASE_URL: 'postgres://gateway@127.0.0.1:1/none' }), { code: 0 })
})

t.test('wrong usage and bad settings exit with 2, an unusable routing file with 1', async (t) => {
  for (const [args, said] of [
    [['--token', 'a', '--cookie', 'b', '/'], /--cookie and --token are both given/],
    [['--header', 'nonsense', '/'], /expected "Name: value"/],
    [['--header', 'Host: a', '/'], /Host cannot be given; it is taken from the URL/],
    [['--token', 'secret\n', '/'], /a character that is not allowed in a header/],
    [['ftp://a/'], /expected http:, https:, ws: or wss:/],
    [['--methd', 'GET', '/'], /did you mean --method\?/],
  ] as const) {
    const { code, stderr } = await command(args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, said)
    t.notMatch(stderr, /secret/)
  }
  t.match(await command(['/'], { JWT_SECRET: 'short' }), {
    code: 2,
    stderr: /JWT_SECRET: the secret has 5 bytes/,
  })
  const broken = join(folder, 'broken.json')
  writeFileSync(broken, '{')
  t.match(await command(['/'], { UPSTREAMS_FILE: broken }), {
    code: 1,
    stderr: /broken\.json:1:2: : found the end/,
  })
})
