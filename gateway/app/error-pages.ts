import {
  createLiveErrorPages,
  type FirstPages,
  type LiveErrorPages,
} from '../core/error-pages/live-error-pages.ts'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'

/** The pages of errors, and the metric of their last reading. */
export function createErrorPages(
  { firstPages, log }: { readonly firstPages: FirstPages | null; readonly log: Log },
  metrics: Metrics,
  scheduler: Scheduler,
): LiveErrorPages {
  const current = firstPages === null ? null : metrics.errorPagesCurrent()
  return createLiveErrorPages(firstPages, {
    scheduler,
    wallClock: Date.now,
    log,
    onReading(good) {
      if (current !== null) current.value = good ? 1 : 0
    },
  })
}
