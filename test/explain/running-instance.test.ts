import { readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import type { LiveExplanation } from '../../gateway/explain/live-explainer.ts'
import { type Run, type RunOptions, runCommand } from '../support/command.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE, plainGateway, until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { childrenOf, signalQuietly } from '../support/process-family.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

const [server, upstream] = await Promise.all([startPostgres(), startRecordingUpstream()])
const databaseUrl = await server.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
t.teardown(async () => {
  await upstream.close()
  await sql.end()
  await server.close()
})

const DEAD = 'http://127.0.0.1:1'
const CHECKED = { health: { path: '/', interval: '100ms', timeout: '50ms', unhealthyAfter: 1 } }
const ROUTING = {
  upstreams: {
    app: { targets: [upstream.url, { url: DEAD, weight: 2 }], ...CHECKED },
    dead: { targets: [DEAD], ...CHECKED },
  },
  routes: [
    { path: '/', upstream: 'app' },
    { path: '/dead', upstream: 'dead', auth: 'none' },
    {
      path: '/keyed',
      upstream: 'app',
      auth: 'none',
      requestHeaders: { set: { 'X-Api-Key': 'hunter2' } },
    },
  ],
}

async function start(t: Test, env: Record<string, string> = {}): Promise<TestGateway> {
  const gateway = await startGateway({
    databaseUrl,
    routing: ROUTING,
    env: { ACCESS_LOG: 'off', ACCESS_COOKIE: 'sid', ...env },
  })
  t.teardown(() => gateway.stop())
  await until(async () => (await gateway.metric(upOf('app', DEAD))) === 0)
  return gateway
}

const upOf = (name: string, target: string) =>
  `gateway_upstream_target_up{upstream="${name}",target="${target}"}`
const adminOf = ({ adminPort }: TestGateway) => `http://127.0.0.1:${adminPort}`

/** The command in a folder without anything, and without settings. */
async function explain(t: Test, gateway: TestGateway, args: readonly string[], options: RunOptions = {}) {
  const cwd = t.testdir({})
  const run = await runCommand(['explain', '--admin', adminOf(gateway), ...args], { cwd, ...options })
  t.same(readdirSync(cwd), [], 'nothing is made')
  return run
}

const tokenOf = async (more: Parameters<typeof insertToken>[1] = {}) =>
  signToken({ claims: { jti: (await insertToken(sql, more)).id, exp: inSeconds(3600) } })

const explanationOf = ({ stdout }: Run) => JSON.parse(stdout) as LiveExplanation
const detailsOf = ({ steps }: Pick<LiveExplanation, 'steps'>, title: string) =>
  steps.filter((step) => step.title === title).flatMap(({ details }) => details)

for (const workers of ['1', '2']) {
  t.test(
    `explain --admin shows what a gateway of ${workers} workers does, with its targets' health`,
    async (t) => {
      const gateway = await start(t, { WORKERS: workers })
      const good = await tokenOf()
      const { code, stdout, stderr } = await explain(t, gateway, ['--token', '-', '/x'], { input: good })
      t.equal(code, 0)
      t.match(stdout, /^Request +GET http:\/\/localhost\/x\nInstance +\S+, process \d+\n/)
      t.match(stdout, /\nRow +id \S+, status ACTIVE\n/)
      t.match(stdout, `${upstream.url} (weight 1 of 3): up`)
      t.match(stdout, /127\.0\.0\.1:1 \(weight 2 of 3\): unhealthy, .*ECONNREFUSED; 0 in flight\n/)
      t.match(stdout, /\n +X-User-Id: alice\n/)
      const lines = stderr.split('\n')
      t.match(lines, [
        new RegExp(`^poweron-gateway: asked ${adminOf(gateway)}: \\S+, process \\d+$`),
        `poweron-gateway: database ${databaseUrl.replace(/^.*@/, '')}`,
        'poweron-gateway: key from JWT_SECRET',
        `poweron-gateway: routing file ${gateway.upstreamsFile}`,
        '',
      ])
      const pid = Number(/process (\d+)$/.exec(lines[0]!)?.[1])
      t.ok(workers === '1' ? pid === gateway.pid : childrenOf(gateway.pid).includes(pid))
      const revoked = await explain(t, gateway, [
        '--json',
        '--token',
        await tokenOf({ status: 'REVOKED' }),
        '/x',
      ])
      t.equal(revoked.code, 1)
      t.match(explanationOf(revoked), { forwards: false, status: 401, code: 'token_revoked' })
      t.same(Object.keys(explanationOf(revoked)).sort(), ['code', 'forwards', 'status', 'steps'])
    },
  )
}

t.test('a running gateway answers by its state', async (t) => {
  const gateway = await start(t)
  const secret = await tokenOf()

  t.test('without a target that is up the answer is 503, as that of a request', async (t) => {
    const { code, stdout } = await explain(t, gateway, ['--json', '/dead'])
    t.equal(code, 1)
    t.match(JSON.parse(stdout), { forwards: false, status: 503, code: 'upstream_unavailable' })
    t.equal((await fetch(`${gateway.url}/dead`)).status, 503)
  })

  t.test('attack: the answer holds no secret, neither of the request nor of the gateway', async (t) => {
    const question = {
      url: `https://app.example.com/keyed?token=${secret}`,
      headers: [`Authorization: Bearer ${secret}`, 'X-Session-Token: hunter3'],
      cookie: `sid=${secret}; other=hunter4`,
    }
    const { status, body } = await ask({
      url: `${adminOf(gateway)}/explain`,
      method: 'POST',
      body: JSON.stringify(question),
    })
    t.equal(status, 200)
    const text = body.toString()
    t.match(text, '"forwards":true')
    for (const each of ['eyJ', secret.slice(-20), 'hunter', TEST_SECRET, 'postgres://'])
      t.notMatch(text, each)
    const wrong = await post(gateway, { url: '/', tokn: secret })
    t.equal(wrong.status, 400)
    t.notMatch(wrong.body.toString(), 'eyJ')
  })

  t.test('what is explained is not counted as a request, but its query as a query', async (t) => {
    const refused = 'gateway_auth_decisions_total{decision="token_unknown"}'
    const queries = await gateway.metric('gateway_token_queries_total')
    const token = await signToken({ claims: { jti: 'nobody', exp: inSeconds(60) } })
    t.match(await explain(t, gateway, ['--token', token, '/x']), { code: 1, stdout: /token_unknown/ })
    t.equal(await gateway.metric(refused), 0)
    t.equal(await gateway.metric('gateway_token_lookups_total{result="refused"}'), 0)
    t.equal(await gateway.metric('gateway_token_queries_total'), queries + 1)
    t.equal(upstream.requests.filter(({ target }) => target === '/x').length, 0)
  })

  t.test('attack: no page of another site, nor one by DNS rebinding, may ask', async (t) => {
    const browser = { 'accept-language': 'en', 'user-agent': 'Mozilla/5.0' }
    const host = `127.0.0.1:${gateway.adminPort}`
    const asks = (headers: Record<string, string>) => post(gateway, { url: '/' }, headers)
    const form = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
    }
    for (const headers of [
      { host, origin: 'https://evil.example' },
      { host, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
      { host, 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'cors' },
      { host, ...form, origin: 'https://evil.example' },
      { host, ...form, origin: 'null' },
      { host: 'evil.example', 'sec-fetch-site': 'same-origin', origin: 'http://evil.example' },
      { host: 'evil.example' },
    ])
      t.equal((await asks({ ...browser, ...headers })).status, 403, JSON.stringify(headers))
    t.equal((await asks({ ...browser, host })).status, 200)
    const preflight = { url: `${adminOf(gateway)}/explain`, method: 'OPTIONS', headers: { host } }
    t.equal((await ask(preflight)).status, 405, 'no preflight passes')
  })

  t.test('only POST with a question of moderate size is answered', async (t) => {
    const get = await ask({ url: `${adminOf(gateway)}/explain` })
    t.equal(get.status, 405)
    t.equal(get.headers.allow, 'POST')
    t.equal((await post(gateway, { url: '/', cookie: 'x'.repeat(300_000) })).status, 413)
    for (const wrong of [
      '{',
      '[]',
      '{}',
      '{"url": 1}',
      '{"url": "ftp://a"}',
      '{"url": "/", "headers": ["x"]}',
    ])
      t.equal((await post(gateway, wrong)).status, 400, wrong)
    t.match(await explain(t, gateway, ['--token', 'a', '--cookie', 'b', '/']), { code: 2 })
    t.match(await explain(t, gateway, ['ftp://a/']), { code: 2, stderr: /expected http:, https:/ })
  })

  t.test('a routing file that is refused leaves the one in force, and both are told', async (t) => {
    await writeFile(gateway.upstreamsFile, '{"upstreams": {}, "routes": [{}]}')
    await until(async () => (await gateway.metric('gateway_config_last_reload_successful')) === 0)
    const explanation = explanationOf(await explain(t, gateway, ['--json', '/keyed']))
    t.match(detailsOf(explanation, 'Route'), [/^\/keyed -> app/])
    t.match(detailsOf(explanation, 'Instance').at(-1), /^what the file holds now is refused: \S+:1:\d+: /)
  })
})

t.test('with the database away the cause is that of the running process', async (t) => {
  const gateway = await startGateway({ databaseUrl: NO_DATABASE, routing: ROUTING })
  t.teardown(() => gateway.stop())
  const { code, stdout } = await explain(t, gateway, ['--cookie', `auth_token=${await tokenOf()}`, '/'])
  t.equal(code, 1)
  t.match(stdout, /not ready: nothing accepts connections/)
  t.match(stdout, /\nAnswer +503 token_store_unavailable\n/)
})

t.test('of two workers one that is stuck does not keep the other from answering', async (t) => {
  const gateway = await start(t, { WORKERS: '2', LOOKUP_TIMEOUT_MS: '10' })
  for (const pid of childrenOf(gateway.pid)) {
    signalQuietly(pid, 'SIGSTOP')
    const { code, stdout } = await explain(t, gateway, ['/keyed'])
    signalQuietly(pid, 'SIGCONT')
    t.equal(code, 0)
    t.notMatch(stdout, `process ${pid}\n`)
  }
})

t.test('more questions than can wait are turned away, and the others are answered', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => sockets.add(socket.on('error', () => {})))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as { port: number }
  const gateway = await startGateway({
    databaseUrl: `postgres://gateway@127.0.0.1:${port}/none`,
    routing: ROUTING,
    env: { LOOKUP_TIMEOUT_MS: '200' },
  })
  t.teardown(() => gateway.stop())
  const token = await tokenOf()
  const answers = await Promise.all(Array.from({ length: 40 }, () => post(gateway, { url: '/', token })))
  const statuses = answers.map(({ status }) => status)
  t.ok(statuses.filter((status) => status === 503).length >= 1)
  t.ok(statuses.filter((status) => status === 200).length >= 32)
})

t.test('an admin listener that does not answer, or is none, ends the command with 1', async (t) => {
  const gateway = await plainGateway(t, { targets: [upstream.url] })
  const asked = (admin: string) => runCommand(['explain', '--admin', admin, '/'])
  t.match(await asked('http://127.0.0.1:1'), {
    code: 1,
    stdout: '',
    stderr: /http:\/\/127\.0\.0\.1:1 does not answer: .*ECONNREFUSED/,
  })
  t.match(await asked(gateway.url), { code: 1, stdout: '', stderr: /this is no admin listener/ })
  t.match(await asked(`127.0.0.1:${gateway.adminPort}`), { code: 0 })
  for (const wrong of ['9090', 'ftp://a', 'http://a/?b'])
    t.match(await asked(wrong), { code: 2, stderr: /--admin: expected the URL of an admin listener/ })
})

t.test('no escape sequence of another server reaches the terminal', async (t) => {
  const evil = startEvil()
  t.teardown(() => evil.close())
  const port = await evil.port
  const { stdout, stderr } = await runCommand(['explain', '--admin', `127.0.0.1:${port}`, '/'])
  t.match(stdout, 'title')
  for (const text of [stdout, stderr]) t.notMatch(text, '\u001b')
})

function startEvil() {
  const red = '\u001b[31mtitle'
  const sources = { instance: red, pid: red, database: red, key: red, routingFile: red }
  const body = JSON.stringify({
    forwards: true,
    status: null,
    code: red,
    steps: [{ title: red, details: [red] }],
    sources,
  })
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  const port = new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
  return { port, close: () => server.close() }
}

function post(gateway: TestGateway, question: unknown, headers: Record<string, string> = {}) {
  const body = typeof question === 'string' ? question : JSON.stringify(question)
  return ask({ url: `${adminOf(gateway)}/explain`, method: 'POST', headers, body })
}
