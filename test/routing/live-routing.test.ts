import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fileMark } from '../../gateway/core/file-mark.ts'
import { SILENT_LOG } from '../../gateway/core/log.ts'
import { type Scheduler, systemScheduler } from '../../gateway/core/scheduler.ts'
import { createOwnPaths } from '../../gateway/http/own-paths.ts'
import { loadRoutingFile } from '../../gateway/routing/file/load-file.ts'
import { createLiveRouting } from '../../gateway/routing/live-routing.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { plainRouting, until } from '../support/plain-gateway.ts'
import { testTransport } from '../support/target-client.ts'

const routing = (path: string, targets: readonly string[] = ['http://127.0.0.1:1']) => {
  const { upstreams, routes } = plainRouting(targets)
  return JSON.stringify({ upstreams, routes: routes.map((route) => ({ ...route, path })) })
}

async function routingFile(t: Test, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gateway-routing-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const file = join(folder, 'upstreams.json')
  await writeFile(file, text)
  return file
}

/** Reads the file, calls `meanwhile`, and then watches the file. */
async function liveRouting(t: Test, file: string, scheduler: Scheduler, meanwhile = async () => {}) {
  const mark = await fileMark(file)
  const loaded = await loadRoutingFile({ path: file })
  if (!loaded.ok) throw new Error(loaded.problems.join())
  await meanwhile()
  const live = createLiveRouting(
    { ...loaded, mark, loadedAt: Date.now(), problems: [] },
    {
      file,
      cookies: { access: 'auth_token', refresh: 'refresh_token' },
      hsts: null,
      ownPaths: createOwnPaths('/-', false),
      sessionEndpoints: false,
      metrics: createMetrics({ version: 'test', node: process.version }, Date.now),
      scheduler,
      transport: testTransport(),
      wallClock: Date.now,
      random: Math.random,
      log: SILENT_LOG,
    },
  )
  t.teardown(() => live.close())
  return live
}

t.test(
  'a file that changes between its first reading and the start of the watch is read again',
  async (t) => {
    const file = await routingFile(t, routing('/before'))
    const live = await liveRouting(t, file, systemScheduler, () => writeFile(file, routing('/afterwards')))
    const matches = (path: string) => live.current().routes.match({ host: 'any', path, method: 'GET' }).kind
    t.equal(matches('/before'), 'matched')
    await until(() => matches('/afterwards') === 'matched')
    t.equal(matches('/before'), 'none')
  },
)

t.test(
  'a target that is removed from the file stays open while an exchange that began with it may be retried there',
  async (t) => {
    const scheduler = createFakeScheduler()
    const file = await routingFile(t, routing('/', ['http://127.0.0.1:1', 'http://127.0.0.1:2']))
    const live = await liveRouting(t, file, scheduler)
    const before = live.current().upstreams.get('api')!
    const closed: string[] = []
    for (const target of before.targets) Object.assign(target, { close: async () => closed.push(target.url) })
    const first = before.acquire()
    await writeFile(file, routing('/', ['http://127.0.0.1:2', 'http://127.0.0.1:3']))
    await live.reload()
    await writeFile(file, routing('/', ['http://127.0.0.1:3']))
    await live.reload()
    await scheduler.advance(60_000)
    t.same(closed, [], 'a minute later')
    if (first.kind === 'leased') first.lease.release('success')
    await scheduler.advance(10_000)
    t.same(closed, ['http://127.0.0.1:1', 'http://127.0.0.1:2'])
  },
)

t.test('a pipe in the place of the file is refused and blocks nothing', async (t) => {
  const file = await routingFile(t, routing('/before'))
  const live = await liveRouting(t, file, createFakeScheduler())
  await rm(file)
  execFileSync('mkfifo', [file])
  await live.reload()
  t.match(live.status.problems, [/found a pipe, socket or device, expected a file/])
  await rm(file)
  await writeFile(file, routing('/after'))
  await live.reload()
  t.same(live.status.problems, [])
})

t.test('the first hundred of thousands of problems are reported, and the number of the others', async (t) => {
  const file = await routingFile(t, routing('/'))
  const live = await liveRouting(t, file, createFakeScheduler())
  const routes = Array.from({ length: 1000 }, (_, n) => ({ path: `/${n}`, upstream: 'none' }))
  await writeFile(file, JSON.stringify({ upstreams: {}, routes }))
  await live.reload()
  t.equal(live.status.problems.length, 101)
  t.equal(live.status.problems.at(-1), 'and 900 more, which the command check lists')
})

t.test('a target that stays keeps its health, even if its connections have to be made anew', async (t) => {
  const scheduler = createFakeScheduler()
  const file = await routingFile(t, routing('/'))
  const live = await liveRouting(t, file, scheduler)
  const health = { path: '/', interval: '5s', timeout: '1s' }
  const fileWith = (idle: string, more = {}) => {
    const { upstreams, routes } = plainRouting(['http://127.0.0.1:1'], {
      health,
      timeouts: { idle },
      ...more,
    })
    return JSON.stringify({ upstreams, routes })
  }
  await writeFile(file, fileWith('60s'))
  await live.reload()
  const [before] = live.current().upstreams.get('api')!.targets
  before!.health.passing = false
  await writeFile(file, fileWith('61s', { maxConnections: 5 }))
  await live.reload()
  const [after] = live.current().upstreams.get('api')!.targets
  t.not(after, before)
  t.equal(after!.health.passing, false)
  t.equal(after!.metrics.up.value, 0)
})
