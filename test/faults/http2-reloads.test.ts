import { type ChildProcess, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { accepts } from '../support/accepts.ts'
import { startCountingBackend } from '../support/counting-backend.ts'
import { ask, keepAliveAgent, many } from '../support/http-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { programPath } from '../support/programs.ts'
import { freePort } from '../support/raw-backend.ts'

const haproxy = programPath('haproxy')
const REQUESTS = 2000
const RELOAD_EVERY_MS = 300

/** HAProxy that speaks HTTP/2 before a backend of HTTP/1.1. @returns replaces it as its reload does */
async function startHaproxy(t: Test, port: number, backendPort: number): Promise<() => void> {
  const file = join(t.testdir(), 'haproxy.cfg')
  await writeFile(
    file,
    `defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  timeout http-keep-alive 50ms
frontend in
  bind 127.0.0.1:${port} proto h2
  default_backend b
backend b
  server s 127.0.0.1:${backendPort}
`,
  )
  const processes: ChildProcess[] = []
  t.teardown(() => {
    for (const each of processes) each.kill('SIGKILL')
  })
  const start = () => {
    const before = processes.at(-1)
    const replaced = before === undefined ? [] : ['-sf', String(before.pid)]
    processes.push(spawn(haproxy!, ['-db', '-f', file, ...replaced], { stdio: 'ignore' }))
  }
  start()
  await until(() => accepts(port))
  return start
}

t.test(
  'HAProxy as an HTTP/2 target that is reloaded again and again: no request fails, and none is sent twice',
  { skip: haproxy === null ? 'HAProxy is not installed' : false },
  async (t) => {
    const backend = await startCountingBackend(t)
    const port = await freePort()
    const reload = await startHaproxy(t, port, backend.port)
    const gateway = await plainGateway(t, {
      targets: [`http://127.0.0.1:${port}`],
      upstream: { protocol: 'http2' },
    })
    const agent = keepAliveAgent(40)
    t.teardown(() => agent.destroy())
    let reloads = 0
    const reloading = setInterval(() => {
      reload()
      reloads++
    }, RELOAD_EVERY_MS)
    t.teardown(() => clearInterval(reloading))
    const wrong: string[] = []
    await many(REQUESTS, 40, async (n) => {
      const size = [0, 3000, 0, 200_000][n % 4]!
      const { status, body } = await ask({
        url: gateway.url,
        method: size === 0 ? 'GET' : 'POST',
        headers: { 'X-Id': String(n) },
        agent,
        ...(size === 0 ? {} : { body: 'x'.repeat(size) }),
      })
      if (status !== 200 || body !== String(size)) wrong.push(`${size}: ${status} ${body}`)
    })
    clearInterval(reloading)
    t.same(wrong, [])
    t.equal(backend.seen.size, REQUESTS)
    t.ok(
      [...backend.seen.values()].every((times) => times === 1),
      'none was sent twice',
    )
    t.ok(reloads > 2, `${reloads} reloads`)
  },
)
