import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createMetrics } from '../../gateway/ops/metrics.ts'
import { createLiveRouting, markOf } from '../../gateway/routing/live-routing.ts'
import { loadUpstreamsFile } from '../../gateway/routing/load-file.ts'
import { systemScheduler } from '../../gateway/scheduler.ts'
import { plainRouting, until } from '../support/plain-gateway.ts'

const SILENT = { info() {}, warn() {}, error() {} }

t.test(
  'a file that is written between its first reading and the start of its watch is read again',
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'gateway-routing-'))
    t.teardown(() => rm(folder, { recursive: true }))
    const file = join(folder, 'upstreams.json')
    const routing = (path: string) => {
      const { upstreams, routes } = plainRouting(['http://127.0.0.1:1'])
      return JSON.stringify({ upstreams, routes: routes.map((route) => ({ ...route, path })) })
    }
    await writeFile(file, routing('/before'))
    const mark = await markOf(file)
    const loaded = await loadUpstreamsFile({ path: file })
    if (!loaded.ok) throw new Error(loaded.problems.join())
    await writeFile(file, routing('/afterwards'))
    const live = createLiveRouting(
      { ...loaded, mark, loadedAt: Date.now(), problems: [] },
      {
        file,
        cookies: { access: 'auth_token', refresh: 'refresh_token' },
        hsts: null,
        gatewayPath: '/-',
        sessionEndpoints: false,
        metrics: createMetrics({ version: 'test', node: process.version }, Date.now),
        scheduler: systemScheduler,
        wallClock: Date.now,
        random: Math.random,
        log: SILENT,
      },
    )
    t.teardown(() => live.close())
    const matches = (path: string) => live.current().routes.match({ host: 'any', path, method: 'GET' }).kind
    t.equal(matches('/before'), 'matched')
    await until(() => matches('/afterwards') === 'matched')
    t.equal(matches('/before'), 'none')
  },
)
