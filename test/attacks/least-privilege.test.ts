import { spawn } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import t from 'tap'
import { startGateway, watch } from '../support/gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { rawRequest } from '../support/raw-http.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'
import { shot } from './support.ts'

const GATEWAY = fileURLToPath(new URL('../../gateway/', import.meta.url))

t.test('a database role with SELECT on the token table alone is sufficient', async (t) => {
  const [database, upstream] = await Promise.all([startPostgres(), startRecordingUpstream()])
  t.teardown(() => Promise.all([database.close(), upstream.close()]))
  const url = await database.createDatabase()
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  const revoked = await insertToken(sql, { status: 'REVOKED' })
  await sql.unsafe(`
    CREATE ROLE reader LOGIN PASSWORD 'reader' NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO reader;
    GRANT SELECT ON "Token" TO reader`)
  const least = new URL(url)
  least.username = 'reader'
  least.password = 'reader'
  const gateway = await startGateway({
    databaseUrl: least.href,
    routing: { upstreams: { main: { targets: [upstream.url] } }, routes: [{ path: '/', upstream: 'main' }] },
    env: { REVOCATION_CHANNEL: 'revoked' },
  })
  t.teardown(() => gateway.stop())
  const ask = async (id: string) => {
    const token = await signToken({ claims: { jti: id, exp: inSeconds(600) } })
    const { responses } = await rawRequest(
      gateway.port,
      shot('request', '/x', [`Cookie: auth_token=${token}`]),
    )
    return responses[0]?.status
  }
  t.equal(await ask(row.id), 200)
  t.equal(await ask(revoked.id), 401)
  const asReader = postgres(least.href, { max: 1, onnotice: () => {} })
  await t.rejects(asReader`DELETE FROM "Token"`, 'and the role can do no more')
  await asReader.end()
  await sql.end()
})

async function sources(): Promise<{ name: string; text: string }[]> {
  const names = await readdir(GATEWAY, { recursive: true })
  const wanted = names.filter((name) => /\.(?:ts|mjs|js)$/.test(name))
  return Promise.all(
    wanted.map(async (name) => ({ name, text: await readFile(join(GATEWAY, name), 'utf8') })),
  )
}

t.test('no code is generated at run time and no process started, except in development', async (t) => {
  const all = await sources()
  t.ok(all.length > 50, 'all sources are looked at')
  const forbidden = /\beval\s*\(|new Function\b|Function\s*\(\s*['"`]|\bfrom 'node:vm'|child_process/
  const isCode = (text: string) => text.replace(/^import type .*$/gm, '')
  const found = all.filter(({ text }) => forbidden.test(isCode(text))).map(({ name }) => name)
  // bin.mjs only re-executes itself with Node 26 when an older version runs it; `dev` is not used in production.
  t.same(
    found.filter((name) => !name.startsWith('dev/') && name !== 'bin.mjs'),
    [],
  )
})

t.test('the gateway runs where dynamic code is forbidden and no file can be written', async (t) => {
  const upstream = await startRecordingUpstream()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-read-only-'))
  await chmod(folder, 0o555)
  t.teardown(async () => {
    await upstream.close()
    await chmod(folder, 0o755)
    await rm(folder, { recursive: true, force: true })
  })
  const config = await mkdtemp(join(tmpdir(), 'gateway-config-'))
  t.teardown(() => rm(config, { recursive: true, force: true }))
  const file = join(config, 'upstreams.json')
  await writeFile(
    file,
    JSON.stringify({
      upstreams: { main: { targets: [upstream.url] } },
      routes: [{ path: '/', upstream: 'main', auth: 'none' }],
    }),
  )
  // Node's permission model: no file can be written, no process started, no code compiled from text. The environment is
  // set by `env`, because the test runner would add options of its own.
  const guard = [
    '--permission',
    '--allow-fs-read=*',
    '--allow-net',
    '--disallow-code-generation-from-strings',
  ]
  const env = [
    'NODE_ENV=production',
    'HOST=127.0.0.1',
    'PORT=0',
    'ADMIN_PORT=0',
    'DATABASE_URL=postgres://gateway@127.0.0.1:1/none',
    `JWT_SECRET=${TEST_SECRET}`,
    `UPSTREAMS_FILE=${file}`,
  ]
  const child = spawn('env', ['-i', ...env, process.execPath, ...guard, join(GATEWAY, 'main.ts'), 'serve'], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const told = watch(child)
  const ended = new Promise<never>((_resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${told.output()}`)))
  })
  ended.catch(() => {})
  const listening = await Promise.race([told.line(({ msg }) => msg === 'listening'), ended])
  const { responses } = await rawRequest(listening.port as number, shot('request', '/x', []))
  t.equal(responses[0]?.status, 200)
  t.same(await readdir(folder), [], 'nothing was written')
  child.kill('SIGTERM')
  await new Promise((resolve) => child.once('exit', resolve))
})
