import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type RunOptions, runCommand } from '../support/command.ts'
import { spawnGateway, watch } from '../support/gateway.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { TEST_SECRET } from '../support/tokens.ts'

const ROUTING = JSON.stringify({
  upstreams: { app: { targets: ['http://127.0.0.1:1'] } },
  routes: [{ path: '/', upstream: 'app' }],
})
const COMMANDS = {
  issue: ['token', 'issue', '--user', 'alice'],
  revoke: ['token', 'revoke', '--user', 'alice'],
  list: ['token', 'list'],
  explain: ['explain', '/'],
} as const
const DATABASE_MISSING = /^ {2}DATABASE_URL: not set, and \S+\.data has no embedded database/m
const KEY_MISSING = /^ {2}JWT_SECRET, .* none is set, and \S+\.data has no generated key/m

/** A working folder with a routing file. It is one that the account of the embedded database may enter. */
async function workingFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-commands-'))
  await chmod(folder, 0o755)
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'upstreams.json'), ROUTING)
  return folder
}

/** Starts a gateway in the folder, up to its first line, and ends it. */
async function serveOnce(cwd: string, env: Record<string, string> = {}): Promise<void> {
  const child = spawnGateway(['serve'], { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '0', ...env }, { cwd })
  await watch(child).line(({ msg }) => msg === 'listening')
  child.kill('SIGTERM')
  await once(child, 'exit')
}

for (const [name, args] of Object.entries(COMMANDS)) {
  t.test(
    `${args.join(' ')} without settings names what is missing, makes nothing and exits with 2`,
    async (t) => {
      const cwd = await workingFolder(t)
      const { code, stdout, stderr } = await runCommand(args, { cwd })
      t.same([code, stdout], [2, ''])
      t.match(stderr, DATABASE_MISSING)
      if (name === 'issue' || name === 'explain') t.match(stderr, KEY_MISSING)
      t.same(readdirSync(cwd), ['upstreams.json'])
    },
  )
}

t.test(
  'a command that needs a key names it if only the database is set, and the other way round',
  async (t) => {
    const cwd = await workingFolder(t)
    for (const args of [COMMANDS.issue, COMMANDS.explain]) {
      const keyless = await runCommand(args, { cwd, env: { DATABASE_URL: NO_DATABASE } })
      t.equal(keyless.code, 2)
      t.match(keyless.stderr, KEY_MISSING)
      t.notMatch(keyless.stderr, DATABASE_MISSING)
      const homeless = await runCommand(args, { cwd, env: { JWT_SECRET: TEST_SECRET } })
      t.equal(homeless.code, 2)
      t.match(homeless.stderr, DATABASE_MISSING)
      t.notMatch(homeless.stderr, KEY_MISSING)
    }
    t.same(readdirSync(cwd), ['upstreams.json'])
  },
)

t.test('commands find the embedded database and the key that serve has made', async (t) => {
  const cwd = await workingFolder(t)
  await serveOnce(cwd)
  const data = join(cwd, '.data')
  const before = await readFile(join(data, 'jwt-secret'), 'utf8')
  const run = (args: readonly string[], options: RunOptions = {}) => runCommand(args, { cwd, ...options })
  const { code, stdout, stderr } = await run(COMMANDS.issue)
  t.equal(code, 0)
  t.match(stdout, /^eyJ\S+\n$/)
  t.match(stderr.split('\n'), [
    new RegExp(`^poweron-gateway: database 127\\.0\\.0\\.1:\\d+/postgres \\(embedded, in ${data}\\)$`),
    `poweron-gateway: key from a generated secret, ${join(data, 'jwt-secret')}`,
    '',
  ])
  t.match(await run(COMMANDS.list), { code: 0, stdout: /alice/ })
  const explained = await run(['explain', '--token', stdout.trim(), '/'])
  t.match(explained, { code: 0, stdout: /authenticated/ })
  t.match(explained.stderr, `poweron-gateway: routing file ${join(cwd, 'upstreams.json')}\n`)
  t.match(await run(COMMANDS.revoke), { code: 0, stdout: '1 token revoked\n' })
  t.equal(await readFile(join(data, 'jwt-secret'), 'utf8'), before)
})

t.test('a key that serve has made beside a database of the settings is found', async (t) => {
  const cwd = await workingFolder(t)
  const env = { DATABASE_URL: NO_DATABASE }
  await serveOnce(cwd, env)
  t.same(readdirSync(join(cwd, '.data')), ['jwt-secret'])
  const { code, stdout, stderr } = await runCommand(COMMANDS.explain, { cwd, env })
  t.equal(code, 1)
  t.match(stdout, /credentials_missing/)
  t.match(stderr, /key from a generated secret, \S+\.data\/jwt-secret\n/)
  t.match((await runCommand(COMMANDS.list, { cwd })).stderr, DATABASE_MISSING)
  t.same(readdirSync(join(cwd, '.data')), ['jwt-secret'])
})

t.test('explain takes no example for the routing file of a folder where serve has never run', async (t) => {
  const cwd = await workingFolder(t)
  await rm(join(cwd, 'upstreams.json'))
  const env = { DATABASE_URL: NO_DATABASE, JWT_SECRET: TEST_SECRET }
  const { code, stdout, stderr } = await runCommand(COMMANDS.explain, { cwd, env })
  t.same([code, stdout], [1, ''])
  t.match(stderr, /upstreams\.json:1:1: : found no such file/)
})

t.test('stderr names hosts, ports, database and where the key is from, and no secret', async (t) => {
  const cwd = await workingFolder(t)
  const urlFile = join(cwd, 'url')
  writeFileSync(urlFile, 'postgres://user:hunter2@127.0.0.1:1,[::1]:2/app?application_name=hunter3')
  const env = { DATABASE_URL_FILE: urlFile, JWT_JWKS_URL: 'http://127.0.0.1:1/jwks?key=hunter4' }
  const { stderr } = await runCommand(['explain', '--token', 'hunter5', '/'], { cwd, env })
  t.equal(
    stderr,
    `poweron-gateway: database 127.0.0.1:1,[::1]:2/app (DATABASE_URL_FILE)
poweron-gateway: key from JWT_JWKS_URL, http://127.0.0.1:1
poweron-gateway: routing file ${join(cwd, 'upstreams.json')}
`,
  )
  const secretFile = join(cwd, 'secret')
  writeFileSync(secretFile, TEST_SECRET)
  const filed = { DATABASE_URL: NO_DATABASE, JWT_SECRET_FILE: secretFile }
  t.match(
    (await runCommand(COMMANDS.explain, { cwd, env: filed })).stderr,
    `key from JWT_SECRET_FILE, ${secretFile}\n`,
  )
})
