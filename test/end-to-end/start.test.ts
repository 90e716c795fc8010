import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import t from 'tap'
import { spawnGateway, startGateway, watch } from '../support/gateway.ts'
import { NO_DATABASE, until } from '../support/plain-gateway.ts'
import { startPostgres, TOKEN_DDL } from '../support/postgres.ts'
import { programPath } from '../support/programs.ts'
import { TEST_SECRET } from '../support/tokens.ts'

const EXAMPLE = new URL('../../upstreams.example.json', import.meta.url)

/** A working folder like a fresh clone. */
const folder = await mkdtemp(join(tmpdir(), 'gateway-start-'))
chmodSync(folder, 0o755)
await cp(EXAMPLE, join(folder, 'upstreams.example.json'))
t.teardown(() => rm(folder, { recursive: true, force: true }))

const FREE = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0' }

/** Settings with which a start creates neither a database nor a key. */
const PRODUCTION_LIKE = {
  ...FREE,
  DATABASE_URL: NO_DATABASE,
  JWT_SECRET: TEST_SECRET,
  UPSTREAMS_FILE: 'upstreams.example.json',
}

interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

async function run(args: readonly string[], env: Record<string, string> = {}, cwd = folder): Promise<Run> {
  const child = spawnGateway(args, env, { cwd })
  let stdout = ''
  let stderr = ''
  child.stdout?.on('data', (data) => {
    stdout += data
  })
  child.stderr?.on('data', (data) => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  return { code: code as number | null, stdout, stderr }
}

interface FirstTry {
  readonly child: ChildProcess
  readonly port: number
  readonly cookie: string
  readonly tokenId: string
  postmaster(): Promise<number>
}

/** `npm start` in the folder, up to what it prints to try. */
async function firstTry(): Promise<FirstTry> {
  const child = spawnGateway(['serve'], FREE, { cwd: folder })
  const told = watch(child)
  const { port } = await Promise.race([
    told.line(({ msg }) => msg === 'listening'),
    once(child, 'exit').then(([code]) =>
      Promise.reject(new Error(`it ended with ${code}: ${told.output()}`)),
    ),
  ])
  await until(() => told.output().includes('Ctrl-C stops everything'))
  const output = told.output()
  return {
    child,
    port: port as number,
    cookie: /-b '([^']+)'/.exec(output)?.[1] ?? '',
    tokenId: /revoke --id (\S+)/.exec(output)?.[1] ?? '',
    postmaster: async () =>
      Number((await readFile(join(folder, '.data/postgres/cluster/postmaster.pid'), 'utf8')).split('\n')[0]),
  }
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function end({ child }: FirstTry, signal: NodeJS.Signals): Promise<unknown> {
  child.kill(signal)
  return (await once(child, 'exit'))[0]
}

t.test('a first start prints a curl that works and a command that revokes, at once', async (t) => {
  const started = performance.now()
  const tried = await firstTry()
  t.ok(performance.now() - started < 15_000)
  const hello = () => fetch(`http://127.0.0.1:${tried.port}/hello`, { headers: { cookie: tried.cookie } })
  const answer = await hello()
  t.equal(answer.status, 200)
  t.match(await answer.json(), { headers: { 'x-user-id': 'alice', 'x-mandate-id': 'acme' } })
  t.equal((await fetch(`http://127.0.0.1:${tried.port}/hello`)).status, 401)
  t.equal((await fetch(`http://127.0.0.1:${tried.port}/public`)).status, 200)
  const revoked = await run(['token', 'revoke', '--id', tried.tokenId])
  t.match(revoked, { code: 0, stdout: '1 token revoked\n' })
  t.equal(((await (await hello()).json()) as { code: string }).code, 'token_revoked')
  const postmaster = await tried.postmaster()
  t.ok(lives(postmaster), 'the token command did not take the running database down')
  t.equal(await end(tried, 'SIGTERM'), 0)
  t.notOk(lives(postmaster), 'no process is left behind')
})

t.test('a second start uses the data of the first, and Ctrl-C leaves no process behind', async (t) => {
  const tried = await firstTry()
  const listed = await run(['token', 'list', '--user', 'alice'])
  t.match(listed.stdout, /REVOKED/)
  const postmaster = await tried.postmaster()
  t.equal(await end(tried, 'SIGINT'), 0)
  t.notOk(lives(postmaster))
})

t.test('a start after kill -9 takes over the database that was left running', async (t) => {
  const killed = await firstTry()
  await end(killed, 'SIGKILL')
  const next = await firstTry()
  t.equal(
    (await fetch(`http://127.0.0.1:${next.port}/hello`, { headers: { cookie: next.cookie } })).status,
    200,
  )
  const postmaster = await next.postmaster()
  t.equal(await end(next, 'SIGTERM'), 0)
  t.notOk(lives(postmaster))
})

t.test('tokens are issued without a running gateway, the JWT alone on stdout', async (t) => {
  const issued = await run([
    'token',
    'issue',
    '--user',
    'bob',
    '--mandate',
    'm',
    '--session',
    's',
    '--ttl',
    '5m',
    '--refresh',
  ])
  t.equal(issued.code, 0)
  const lines = issued.stdout.trimEnd().split('\n')
  t.equal(lines.length, 2)
  const claims = (jwt: string) => JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString())
  t.match(claims(lines[0]!), { userId: 'bob', mandateId: 'm', sessionId: 's', jti: String, exp: Number })
  t.match(claims(lines[1]!), { type: 'refresh', sessionId: 's' })
  t.match(await run(['token', 'revoke', '--session', 's']), { code: 0, stdout: '2 tokens revoked\n' })
  t.equal((await run(['token', 'revoke', '--user', 'nobody'])).code, 1)
})

t.test('a port that is taken is a clear error', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  const { port } = taken.address() as AddressInfo
  const { code, stderr } = await run(['serve'], { ...FREE, PORT: String(port) })
  t.equal(code, 2)
  t.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port} \\(EADDRINUSE\\)`))
  taken.close()
})

t.test('an address of another machine is a clear error', async (t) => {
  for (const [name, value] of [
    ['HOST', 'nope.invalid'],
    ['ADMIN_HOST', '192.0.2.1'],
  ] as const) {
    const { code, stderr } = await run(['serve'], { ...PRODUCTION_LIKE, [name]: value })
    t.equal(code, 2, name)
    t.match(
      stderr,
      new RegExp(
        `cannot listen on "${value}" \\(\\w+\\); expected an address of this machine: set HOST or ADMIN_HOST`,
      ),
    )
  }
})

t.test('the command run by an older Node passes signals on to Node 26 and exits with its code', async (t) => {
  const node = programPath('node')
  const version = node === null ? '' : execFileSync(node, ['--version'], { encoding: 'utf8' })
  if (Number(/^v(\d+)/.exec(version)?.[1] ?? 99) >= 26) {
    t.pass('no older Node is installed here')
    return
  }
  const bin = fileURLToPath(new URL('../../gateway/bin.mjs', import.meta.url))
  const child = spawn(node!, [bin, 'serve'], {
    cwd: folder,
    env: { ...PRODUCTION_LIKE, PATH: process.env.PATH },
  })
  const told = watch(child)
  const { port } = await told.line(({ msg }) => msg === 'listening')
  child.kill('SIGHUP')
  await told.line(({ msg }) => msg === 'the routing file was read')
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
  await t.rejects(fetch(`http://127.0.0.1:${port}/-/healthz`), 'nobody is left who listens')
})

t.test('wrong usage prints the help and exits with 2; --help and --version exit with 0', async (t) => {
  for (const args of [
    ['frobnicate'],
    ['serve', '--fast'],
    ['token'],
    ['token', 'issue'],
    ['token', 'revoke'],
    ['token', 'issue', '--user', 'a', '--ttl', 'soon'],
    ['explain'],
  ]) {
    const { code, stderr } = await run(args)
    t.equal(code, 2, args.join(' '))
    t.match(stderr, /Usage:/)
  }
  t.match(await run(['--help']), { code: 0, stdout: /Usage:/ })
  t.match(await run(['--version']), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

t.test('production names every bad setting, all at once, and no secret', async (t) => {
  const env = {
    NODE_ENV: 'production',
    PORT: 'http',
    JWT_SECRET: 'short-secret',
    LOOKUP_TIMEOUT_MS: '-1',
    TRUSTED_PROXIES: '10.0.0.0/99',
    TOKEN_COLUMNS: 'jti=id',
  }
  const { code, stderr } = await run(['serve'], env)
  t.equal(code, 2)
  for (const name of [
    'PORT',
    'JWT_SECRET',
    'LOOKUP_TIMEOUT_MS',
    'TRUSTED_PROXIES',
    'TOKEN_COLUMNS',
    'DATABASE_URL',
  ])
    t.match(stderr, name)
  t.notMatch(stderr, 'short-secret')
})

t.test('an unusable routing file ends the start and names the position of each problem', async (t) => {
  const file = join(folder, 'broken.json')
  await writeFile(file, '{\n  "upstreams": {},\n  "routes": [{ "path": "/", "upstream": "api" }]\n}\n')
  const { code, stderr } = await run(['serve'], { ...FREE, UPSTREAMS_FILE: file })
  t.equal(code, 2)
  t.match(stderr, `${file}:3:41: /routes/0/upstream: `)
})

const pg = await startPostgres()
t.teardown(() => pg.close())
const routing = {
  upstreams: { app: { targets: ['http://127.0.0.1:1'] } },
  routes: [{ path: '/', upstream: 'app' }],
}

t.test('a table that does not fit the mapping ends the start, naming every column', async (t) => {
  const databaseUrl = await pg.createDatabase(
    'create table tokens (jti bytea primary key, user_id text, sid text, status text)',
  )
  const file = join(folder, 'good.json')
  await writeFile(file, JSON.stringify(routing))
  const { code, stderr } = await run(['serve'], {
    ...FREE,
    NODE_ENV: 'production',
    DATABASE_URL: databaseUrl,
    JWT_SECRET: TEST_SECRET,
    UPSTREAMS_FILE: file,
    TOKEN_TABLE: 'tokens',
    TOKEN_COLUMNS: 'id=jti,userId=user_id,sessionId=sid',
  })
  t.equal(code, 2)
  t.match(stderr, /"jti".*bytea.*expected text, varchar, uuid or an integer/)
  t.match(stderr, /"mandateId"/)
  t.match(stderr, /"expiresAt"/)
})

t.test('where no worker can start the reasons are logged once, and the exit code is 2', async (t) => {
  const databaseUrl = await pg.createDatabase()
  const file = join(folder, 'workers.json')
  await writeFile(file, JSON.stringify(routing))
  const env = {
    ...FREE,
    NODE_ENV: 'production',
    WORKERS: '2',
    DATABASE_URL: databaseUrl,
    JWT_SECRET: TEST_SECRET,
    UPSTREAMS_FILE: file,
  }
  const misfit = await run(['serve'], { ...env, TOKEN_COLUMNS: 'id=nope' })
  t.equal(misfit.code, 2)
  t.equal(misfit.stderr.match(/has no column "nope"/g)?.length, 1)
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const busy = await run(['serve'], { ...env, PORT: String((taken.address() as AddressInfo).port) })
  t.equal(busy.code, 2)
  t.equal(busy.stderr.match(/EADDRINUSE/g)?.length, 1)
})

t.test('the line "listening" is written at every LOG_LEVEL', async (t) => {
  for (const LOG_LEVEL of ['warn', 'silent']) {
    const gateway = await startGateway({
      databaseUrl: await pg.createDatabase(),
      routing,
      env: { LOG_LEVEL },
    })
    await gateway.stop()
    t.match(gateway.lines, [{ msg: 'listening', port: gateway.port, adminPort: gateway.adminPort }])
  }
})

t.test('a SIGHUP while the start waits for the database does not end the process', async (t) => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => silent.close())
  const asked = new Promise<Socket>((resolve) => silent.once('connection', resolve))
  const starting = startGateway({
    databaseUrl: `postgres://gateway@127.0.0.1:${(silent.address() as AddressInfo).port}/none`,
    routing,
    env: { LOOKUP_TIMEOUT_MS: '1000' },
    onSpawn: async (child) => {
      await asked
      child.kill('SIGHUP')
    },
  })
  const gateway = await starting
  t.teardown(() => gateway.stop())
  await until(async () => (await gateway.metric('gateway_config_reloads_total{result="success"}')) === 1)
  ;(await asked).destroy()
})

t.test(
  'a database that cannot be reached does not end the start: not ready, then ready by itself',
  async (t) => {
    const databaseUrl = await pg.createDatabase()
    await pg.stop()
    const gateway = await startGateway({ databaseUrl, routing })
    t.teardown(() => gateway.stop())
    const ready = async () => (await fetch(`${gateway.url}/-/readyz`)).status
    t.equal(await ready(), 503)
    t.equal((await fetch(`${gateway.url}/-/healthz`)).status, 200)
    t.equal(await gateway.metric('gateway_token_store_up'), 0)
    await pg.start()
    await until(async () => (await ready()) === 200)
    t.equal(await gateway.metric('gateway_token_store_up'), 1)
  },
)

for (const workers of [1, 2]) {
  const cases = [
    {
      what: 'a table that is not there yet',
      setUp: 'drop table "Token"',
      cause: /the table "Token" does not exist/,
      mends: `${TOKEN_DDL}; grant select on "Token" to starter`,
    },
    {
      what: 'a grant that is not there yet',
      setUp: 'revoke all on "Token" from starter',
      cause: /may not SELECT/,
      mends: 'grant select on "Token" to starter',
    },
  ]
  for (const { what, setUp, cause, mends } of cases) {
    t.test(
      `${what} does not end the start: it is logged once and waited for, workers: ${workers}`,
      async (t) => {
        const databaseUrl = await pg.createDatabase()
        const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
        t.teardown(() => sql.end())
        await sql.unsafe(
          `do $$ begin create role starter login; exception when duplicate_object then null; end $$`,
        )
        await sql.unsafe(setUp)
        const gateway = await startGateway({
          databaseUrl: databaseUrl.replace('//gateway@', '//starter@'),
          routing,
          env: { WORKERS: String(workers) },
        })
        t.teardown(() => gateway.stop())
        const ready = () => fetch(`${gateway.url}/-/readyz`)
        t.equal((await ready()).status, 503)
        const admin = await fetch(`http://127.0.0.1:${gateway.adminPort}/readyz`)
        t.match(await admin.json(), { reasons: ['token_store'], causes: [{ reason: 'token_store', cause }] })
        await sql.unsafe(mends)
        await until(async () => (await ready()).status === 200)
        await gateway.line(({ msg }) => msg === 'the token store is available again')
        const said = gateway.lines.filter(({ msg }) => /token store/.test(msg))
        t.match(said, [
          { level: 'error', code: 'MAPPING', cause },
          { level: 'info', awayMs: Number },
        ])
        t.equal(said.length, 2)
      },
    )
  }
}

t.test('an instance without a key to verify tokens with is not ready, and says why', async (t) => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  let status = 503
  const issuer = createHttpServer((_req, res) => {
    res.writeHead(status).end(JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] }))
  })
  await new Promise<void>((resolve) => issuer.listen(0, '127.0.0.1', resolve))
  t.teardown(() => issuer.close())
  const gateway = await startGateway({
    databaseUrl: await pg.createDatabase(),
    routing,
    env: { JWT_JWKS_URL: `http://127.0.0.1:${(issuer.address() as AddressInfo).port}/keys`, JWT_SECRET: '' },
  })
  t.teardown(() => gateway.stop())
  const readyz = () => fetch(`http://127.0.0.1:${gateway.adminPort}/readyz`)
  await until(async () => (await gateway.metric('gateway_token_store_up')) === 1)
  const before = await readyz()
  t.equal(before.status, 503)
  t.match(await before.json(), {
    reasons: ['keys'],
    causes: [{ reason: 'keys', cause: /there is no key yet/ }],
  })
  const open = await fetch(`${gateway.url}/-/readyz`)
  t.equal(open.status, 503)
  t.same(await open.json(), { status: 'not ready', reasons: ['keys'] }, 'the public one has no words')
  t.equal(await gateway.metric('gateway_keys_last_load_successful'), 0)
  status = 200
  await until(async () => (await readyz()).status === 200)
  t.equal(await gateway.metric('gateway_keys_last_load_successful'), 1)
})

t.test('in production stdout is JSON lines only', async (t) => {
  const databaseUrl = await pg.createDatabase()
  const gateway = await startGateway({ databaseUrl, routing })
  await fetch(`${gateway.url}/x?token=secret&a=b`)
  const line = await gateway.line(({ msg }) => msg === 'request')
  t.match(line, {
    method: 'GET',
    path: '/x?token=***&a=b',
    route: '/',
    upstream: 'app',
    status: 401,
    code: 'credentials_missing',
    clientAddress: '127.0.0.1',
    requestId: String,
    durationMs: Number,
    bytesIn: 0,
  })
  await gateway.stop()
  for (const text of gateway.output().trim().split('\n')) t.doesNotThrow(() => JSON.parse(text))
})

t.test('a mapped table with uuid ids, an enum and a number for the expiry serves', async (t) => {
  const databaseUrl = await pg.createDatabase(`
    create schema auth;
    create type auth.state as enum ('ACTIVE', 'REVOKED', 'LOCKED');
    create table auth.tokens (jti uuid primary key, user_id bigint not null, sid uuid not null, tenant text, state auth.state not null, expires bigint, extra text)`)
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const env = {
    TOKEN_TABLE: 'auth.tokens',
    TOKEN_COLUMNS: 'id=jti,userId=user_id,sessionId=sid,mandateId=tenant,status=state,expiresAt=expires',
  }
  const gateway = await startGateway({
    databaseUrl,
    routing: { ...routing, routes: [{ path: '/', upstream: 'app' }] },
    env,
  })
  t.teardown(async () => {
    await gateway.stop()
    await sql.end()
  })
  const issued = await run(
    ['token', 'issue', '--user', '42', '--mandate', 'm', '--session', 'c2b1a3de-0000-4000-8000-000000000001'],
    { ...env, DATABASE_URL: databaseUrl, JWT_SECRET: TEST_SECRET },
  )
  const cookie = `auth_token=${issued.stdout.trim()}`
  const session = await fetch(`${gateway.url}/-/session`, { headers: { cookie } })
  t.equal(session.status, 200)
  t.match(await session.json(), {
    userId: '42',
    mandateId: 'm',
    sessionId: 'c2b1a3de-0000-4000-8000-000000000001',
  })
  await sql`update auth.tokens set state = 'LOCKED'`
  t.match(await (await fetch(`${gateway.url}/-/session`, { headers: { cookie } })).json(), {
    code: 'token_revoked',
  })
  await sql`update auth.tokens set state = 'ACTIVE', expires = 1`
  t.match(await (await fetch(`${gateway.url}/-/session`, { headers: { cookie } })).json(), {
    code: 'token_expired',
  })
  await sql`update auth.tokens set expires = null`
  t.equal((await fetch(`${gateway.url}/-/session`, { headers: { cookie } })).status, 200)
})
