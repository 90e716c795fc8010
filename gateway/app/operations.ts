import { randomUUID } from 'node:crypto'
import type { Server } from 'node:http'
import { hostname } from 'node:os'
import { createAdminGuard } from '../admin/admin-guard.ts'
import { createAdminServer } from '../admin/admin-server.ts'
import { combinedReadiness, combineStatus } from '../admin/combined-status.ts'
import type { Explain } from '../admin/explain-endpoint.ts'
import { createHistory, SAMPLE_MS } from '../admin/history.ts'
import type { Reports } from '../admin/reports.ts'
import { loadStatusPage } from '../admin/status-page.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Settings } from '../settings/values.ts'
import type { Exposition } from '../telemetry/metrics/exposition.ts'
import type { ExpositionFormat } from '../telemetry/metrics/exposition-format.ts'

export interface OperationsParts {
  /** What each serving process reports of this part; one that does not answer in time is left out. */
  readonly collect: <Part extends keyof Reports>(part: Part) => Promise<readonly Reports[Part][]>
  /** How many there should be. */
  readonly count: number
  readonly expose: (format: ExpositionFormat) => Promise<Exposition>
  readonly explain: Explain
  readonly version: string
  readonly settings: Pick<Settings, 'adminHost' | 'adminAllowedHosts'>
  readonly scheduler: Scheduler
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
}

/** The admin listener over one process or many. */
export function createOperations(parts: OperationsParts): { readonly server: Server; stop(): void } {
  const { collect, count, expose, settings, scheduler } = parts
  const instance = hostname()
  const startedAt = scheduler.now()
  const history = createHistory({ now: scheduler.now, wallClock: parts.wallClock, id: randomUUID() })
  let stopped = false
  let cancel = () => {}

  async function sample(): Promise<void> {
    try {
      // A worker that dies keeps the counts that it reported last, so they are collected regularly.
      const [totals] = await Promise.all([collect('totals'), count > 1 ? collect('metrics') : null])
      history.addSample(totals)
    } finally {
      if (!stopped) scheduleSample()
    }
  }

  function scheduleSample(): void {
    cancel = scheduler.after(SAMPLE_MS, () => {
      // An interval without an answer is a gap in the plots; the next one is sampled again.
      sample().catch(() => history.addSample([]))
    })
  }

  scheduleSample()
  return {
    server: createAdminServer({
      readiness: async () => combinedReadiness(await collect('readiness'), count),
      async status(since) {
        const each = await collect('status')
        const gateway = {
          readiness: combinedReadiness(
            each.map(({ readiness }) => readiness),
            count,
          ),
          instance,
          version: parts.version,
          node: process.version,
          uptimeS: Math.round((scheduler.now() - startedAt) / 1000),
          workers: count,
          history: history.since(since),
          recent: history.recent(),
          routeNumbers: history.routes(),
          now: parts.wallClock(),
        }
        return combineStatus(gateway, each)
      },
      explain: parts.explain,
      page: loadStatusPage(),
      guard: createAdminGuard({
        adminHost: settings.adminHost,
        instance,
        allowedHosts: settings.adminAllowedHosts,
      }),
      scrape: expose,
    }),
    stop() {
      stopped = true
      cancel()
    },
  }
}
