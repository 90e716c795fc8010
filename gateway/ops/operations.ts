import { readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import type { Scheduler } from '../scheduler.ts'
import { createAdminServer } from './admin-server.ts'
import type { Exposition } from './exposition.ts'
import type { ExpositionFormat } from './exposition-format.ts'
import { createHistory, SAMPLE_MS } from './history.ts'
import { combineStatus } from './status.ts'
import { combinedReadiness, type WorkerReport } from './workers.ts'

export interface OperationsParts {
  /** What each serving process reports of itself. */
  readonly reports: () => Promise<readonly WorkerReport[]>
  /** How many there should be. */
  readonly count: number
  readonly expose: (format: ExpositionFormat) => Promise<Exposition>
  readonly scheduler: Scheduler
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
}

/** The admin listener over one process or many. */
export function createOperations({ reports, count, expose, scheduler, wallClock }: OperationsParts): {
  readonly server: Server
  stop(): void
} {
  const history = createHistory()
  const page = readFileSync(new URL('./status-page/index.html', import.meta.url), 'utf8')
  const readiness = async () => combinedReadiness(await reports(), count)
  const status = async () => {
    const given = await reports()
    return combineStatus(
      given.map((each) => each.status),
      combinedReadiness(given, count),
    )
  }
  let cancel = () => {}

  function sample(): void {
    cancel = scheduler.after(SAMPLE_MS, () => {
      void status().then((now) => {
        if (now !== null) history.take(now, wallClock())
        sample()
      })
    })
  }

  sample()
  return {
    server: createAdminServer({
      readiness,
      status,
      page,
      samples: history.samples,
      scrape: expose,
    }),
    stop: () => cancel(),
  }
}
