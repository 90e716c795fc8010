import { execFile } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { programPath } from '../support/programs.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'
import { headings, inRepository, readText } from '../support/repository.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const MANUAL = 'docs/operating.md'
const manual = readText(MANUAL)

interface Entry {
  readonly title: string
  readonly lastParagraph: string
}

/** Those of the alerts and of the codes. */
const entries: readonly Entry[] = ['Alerts', 'Codes'].flatMap((section) => {
  const [, rest = ''] = manual.split(`\n## ${section}\n`)
  const [text = ''] = rest.split(/\n## /)
  return text
    .split(/\n### /)
    .slice(1)
    .map((entry) => ({
      title: entry.slice(0, entry.indexOf('\n')),
      lastParagraph: entry.trimEnd().split('\n\n').at(-1) ?? '',
    }))
})

const FORM = /^\*\*Run\*\* `([^`]+)`\. When well it prints (nothing|[^`]*`[^`]+`.*)\.$/

t.test('the manual begins with a table of symptoms, each with a place in the manual', async (t) => {
  t.match(manual, /^# Operating\n\n## Find your symptom\n\n\| what you see \| read \|\n/)
  const [, table = ''] = /## Find your symptom\n\n((?:\|.*\n)+)/.exec(manual) ?? []
  const rows = table.split('\n').slice(2, -1)
  t.ok(rows.length > 15)
  // The first row is of links that stand elsewhere.
  for (const row of rows.slice(1)) t.match(row, /\]\(#[\w-]+\)/, row)
})

t.test('every entry ends with a command, and with what it prints when all is well', async (t) => {
  t.ok(entries.length > 40)
  for (const { title, lastParagraph } of entries) t.match(lastParagraph, FORM, title)
})

t.test('every section that the status page names is in the manual', async (t) => {
  const sources = readdirSync(inRepository('gateway/admin'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readText(`gateway/admin/${name}`))
  const named = sources.flatMap((text) => [...text.matchAll(/\b(?:Gateway[A-Z]\w+|draining)(?=')/g)])
  const titles = headings(MANUAL, 3)
  t.ok(named.length > 5)
  for (const [section] of named) t.ok(titles.includes(section), section)
})

t.test('the commands of the manual print with a healthy gateway what it says', async (t) => {
  const missing = ['bash', 'curl', 'jq', 'awk', 'grep'].filter((name) => programPath(name) === null)
  if (missing.length > 0) {
    t.pass(`${missing.join(', ')} not installed here: the commands were not run`)
    return
  }
  const { gateway, cookie } = await healthyGateway(t)
  const cwd = t.testdir({})
  writeFileSync(join(cwd, 'gateway.log'), gateway.output())
  const commands = new Map(
    entries.map(({ title, lastParagraph }) => {
      const [, command = '', printed = ''] = FORM.exec(lastParagraph) ?? []
      return [command, { title, printed }] as const
    }),
  )
  for (const [command, { title, printed }] of commands) {
    // The certificate is that of the public name.
    if (command.startsWith('openssl ')) continue
    const { code, output } = await shell(inTest(command, gateway), { cwd, cookie })
    if (code !== 0) t.fail(`${title}: ${command}`, { output })
    const [, kind = '', value = ''] = /^(.*?)`([^`]+)`/.exec(printed) ?? []
    if (kind.endsWith('below ')) t.ok(output !== '' && Number(output) < Number(value), `${title}: ${output}`)
    else t.equal(output, value, `${title}: ${command}`)
  }
})

/** With an error page folder, after a request with a session, once its status has a sample of it. */
async function healthyGateway(t: Test): Promise<{ gateway: TestGateway; cookie: string }> {
  const [database, backend] = await Promise.all([
    startPostgres(),
    startRawBackend(({ socket }) => void socket.write(OK)),
  ])
  const databaseUrl = await database.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const row = await insertToken(sql)
  await sql.end()
  const gateway = await startGateway({
    databaseUrl,
    routing: {
      upstreams: { app: { targets: [backend.url] } },
      routes: [{ path: '/', upstream: 'app' }],
    },
    env: { ERROR_PAGES_DIR: t.testdir({ 'error.html': '{{title}}' }) },
  })
  t.teardown(async () => {
    await gateway.stop()
    await Promise.all([database.close(), backend.close()])
  })
  const ready = () => fetch(`${gateway.url}/-/readyz`).then(({ ok }) => ok)
  await until(ready)
  const cookie = `auth_token=${await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } })}`
  t.equal((await fetch(`${gateway.url}/path`, { headers: { cookie } })).status, 200)
  await until(async () => {
    const answer = await fetch(`http://127.0.0.1:${gateway.adminPort}/status.json`)
    const { history } = (await answer.json()) as { history: { samples: { p99Ms: number | null }[] } }
    return history.samples.some(({ p99Ms }) => p99Ms !== null)
  })
  return { gateway, cookie }
}

function inTest(command: string, { url, adminPort }: TestGateway): string {
  return command
    .replaceAll('http://ADMIN:9090', `http://127.0.0.1:${adminPort}`)
    .replaceAll('https://app.example.com', url)
    .replaceAll('poweron-gateway ', `'${process.execPath}' '${inRepository('gateway/main.ts')}' `)
}

function shell(
  command: string,
  { cwd, cookie }: { readonly cwd: string; readonly cookie: string },
): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const options = { cwd, env: { PATH: '/usr/bin:/bin', COOKIE: cookie }, timeout: 30_000 }
    execFile('bash', ['-c', `set -o pipefail; ${command}`], options, (error, stdout) => {
      resolve({ code: error === null ? 0 : 1, output: stdout.trimEnd() })
    })
  })
}
