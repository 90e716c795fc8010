import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { spawnGateway, type TestGateway, watch } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE, plainGateway, until } from '../support/plain-gateway.ts'
import { TEST_SECRET } from '../support/tokens.ts'

const CURRENT = 'gateway_error_pages_last_load_successful'
const NAVIGATES = { 'sec-fetch-mode': 'navigate' }

const visit = (gateway: TestGateway) => ask({ url: gateway.url, headers: NAVIGATES })
const shows = (gateway: TestGateway, body: string) => until(async () => (await visit(gateway)).body === body)

async function pagesFolder(t: Test, pages: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-pages-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(pages)) await writeFile(join(folder, name), text)
  return folder
}

/** A gateway whose only target is not there, so that every request is answered with 502. */
const start = (t: Test, folder: string, env: Record<string, string> = {}) =>
  plainGateway(t, { targets: ['http://127.0.0.1:1'], env: { ERROR_PAGES_DIR: folder, ...env } })

t.test('an own page is served with its values filled in, and programs still get problem+json', async (t) => {
  const folder = await pagesFolder(t, { '502.html': '{{status}}|{{code}}|{{title}}|{{requestId}}|é' })
  const gateway = await start(t, folder, { TRUSTED_PROXIES: '127.0.0.1' })
  const page = await ask({ url: gateway.url, headers: { ...NAVIGATES, 'x-request-id': 'r-1' } })
  t.equal(page.status, 502)
  t.equal(page.body, '502|upstream_unreachable|The upstream could not be reached|r-1|é')
  t.equal(page.headers['content-type'], 'text/html; charset=utf-8')
  t.equal(page.headers['content-length'], String(Buffer.byteLength(page.body)))
  t.equal(page.headers['content-security-policy'], undefined, 'the page may load what it wants')
  t.equal((await ask({ url: gateway.url })).headers['content-type'], 'application/problem+json')
})

t.test('pages that are written, removed, or swapped by a link are read without a restart', async (t) => {
  const folder = await pagesFolder(t, { '502.html': 'by status' })
  const gateway = await start(t, folder)
  await shows(gateway, 'by status')
  await writeFile(join(folder, '502.html'), 'written again')
  await shows(gateway, 'written again')
  await writeFile(join(folder, 'upstream_unreachable.html'), 'by code')
  await shows(gateway, 'by code')
  await rm(join(folder, 'upstream_unreachable.html'))
  await shows(gateway, 'written again')
  // As Kubernetes mounts a ConfigMap: each file is a link into ..data, which is a link to a folder.
  const version = async (name: string, text: string) => {
    await mkdir(join(folder, name))
    await writeFile(join(folder, name, '502.html'), text)
    await symlink(name, join(folder, `..data_${name}`))
    await rename(join(folder, `..data_${name}`), join(folder, '..data'))
  }
  await version('..1', 'linked')
  await rm(join(folder, '502.html'))
  await symlink('..data/502.html', join(folder, '502.html'))
  await shows(gateway, 'linked')
  await version('..2', 'linked again')
  await shows(gateway, 'linked again')
})

t.test('SIGHUP reads unchanged pages again, together with the routing file', async (t) => {
  const gateway = await start(t, await pagesFolder(t, { '502.html': 'a' }))
  gateway.signal('SIGHUP')
  await gateway.line(({ msg }) => msg === 'the error pages were read')
  await gateway.line(({ msg }) => msg === 'the routing file was read')
  t.equal((await visit(gateway)).body, 'a')
})

t.test('a bad page, and a folder that is gone, leave the last good pages in force', async (t) => {
  const folder = await pagesFolder(t, { '502.html': 'good', '404.html': 'good' })
  const gateway = await start(t, folder)
  t.equal(await gateway.metric(CURRENT), 1)
  await writeFile(join(folder, '404.html'), '<p>\n  {{stauts}}')
  await writeFile(join(folder, '502.html'), 'new')
  const { problems } = await gateway.line(({ msg }) => msg.startsWith('the error pages are not usable'))
  t.match(problems, [`${join(folder, '404.html')}:2:3: : found the unknown placeholder "{{stauts}}"`])
  t.equal((await visit(gateway)).body, 'good', 'pages are replaced all together')
  t.equal(await gateway.metric(CURRENT), 0)
  await rm(folder, { recursive: true })
  await gateway.line(({ problems }) => /no such folder/.test(String(problems)))
  t.equal((await visit(gateway)).body, 'good')
  await mkdir(folder)
  await writeFile(join(folder, '502.html'), 'back')
  await shows(gateway, 'back')
  t.equal(await gateway.metric(CURRENT), 1)
})

t.test('a start with bad pages ends with 2, and one message names these and all bad settings', async (t) => {
  const folder = await pagesFolder(t, { 'error.html': '{{status', '503.html': '{{path}}' })
  const child = spawnGateway(['serve'], {
    NODE_ENV: 'production',
    DATABASE_URL: NO_DATABASE,
    JWT_SECRET: TEST_SECRET,
    PORT: 'x',
    ERROR_PAGES_DIR: folder,
  })
  const { output } = watch(child)
  t.same((await once(child, 'close'))[0], 2)
  t.match(output(), 'PORT: found "x"')
  t.match(output(), `${join(folder, '503.html')}:1:1: : found the unknown placeholder "{{path}}", expected `)
  t.match(output(), `${join(folder, 'error.html')}:1:1: : found the broken placeholder "{{status", expected `)
})

t.test('a start without the folder ends with 2 and names it', async (t) => {
  const folder = join(await pagesFolder(t, {}), 'none')
  const child = spawnGateway(['serve'], {
    NODE_ENV: 'production',
    DATABASE_URL: NO_DATABASE,
    JWT_SECRET: TEST_SECRET,
    ERROR_PAGES_DIR: folder,
  })
  const { output } = watch(child)
  t.same((await once(child, 'close'))[0], 2)
  t.match(
    output(),
    `${folder}:1:1: : found no such folder (ENOENT), expected a readable folder (ERROR_PAGES_DIR)`,
  )
})

t.test(
  'a worker that replaces a dead one while a page is bad has the last good pages of the others',
  async (t) => {
    const folder = await pagesFolder(t, { '502.html': 'good' })
    const gateway = await start(t, folder, { WORKERS: '2' })
    await writeFile(join(folder, '502.html'), '{{bad}}')
    const refused = () => gateway.lines.filter(({ msg }) => msg.startsWith('the error pages are not usable'))
    await until(() => refused().length === 2)
    const workers = execFileSync('pgrep', ['-P', String(gateway.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n')
    process.kill(Number(workers[0]), 'SIGKILL')
    await until(() => refused().length === 3)
    await until(async () => {
      const answer = await fetch(`http://127.0.0.1:${gateway.adminPort}/status.json`)
      return ((await answer.json()) as { processes: unknown[] }).processes.length === 2
    })
    for (let n = 0; n < 8; n++) t.equal((await visit(gateway)).body, 'good')
  },
)
