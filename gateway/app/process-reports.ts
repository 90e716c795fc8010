import type { Reporter } from '../admin/reports.ts'
import { describeStatus } from '../admin/status.ts'
import type { KeyRing } from '../auth/jwt/key-ring.ts'
import type { NegativeCache } from '../auth/token-store/negative-cache.ts'
import type { TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import type { LiveErrorPages } from '../core/error-pages/live-error-pages.ts'
import type { Readiness } from '../core/readiness.ts'
import type { LiveRouting } from '../routing/live-routing.ts'
import type { StreamGuard } from '../streams/stream-guard.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import { type Exposition, expose, valuesOf } from '../telemetry/metrics/exposition.ts'
import type { ExpositionFormat } from '../telemetry/metrics/exposition-format.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { totalsOf } from '../telemetry/metrics/totals.ts'

export interface ProcessReportsParts {
  readonly metrics: Metrics
  readonly guard: Pick<StreamGuard, 'count'>
  readonly keys: Pick<KeyRing, 'state'>
  readonly refusals: Pick<NegativeCache, 'size'>
  readonly lines: Pick<LineWriter, 'dropped'>
  readonly routing: Pick<LiveRouting, 'current' | 'status' | 'inForce'>
  readonly pages: Pick<LiveErrorPages, 'inForce'>
  readonly store: Pick<TokenStoreMonitor, 'fault'>
  readonly readiness: () => Readiness
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** What this process reports about itself: to Prometheus, to the status page, and to its primary. */
export interface ProcessReports {
  readonly reporter: Reporter
  expose(format: ExpositionFormat): Promise<Exposition>
}

export function createProcessReports(parts: ProcessReportsParts): ProcessReports {
  const { metrics, guard, routing, now } = parts
  const startedAt = now()

  /** Sets the gauges whose values are read only when a report is made. @returns open streams by kind */
  function refreshGauges() {
    metrics.negativeCacheEntries.value = parts.refusals.size
    metrics.keysCurrent.value = parts.keys.state === 'current' ? 1 : 0
    metrics.logLinesDropped.value = parts.lines.dropped
    const openStreams = {
      websocket: guard.count('websocket'),
      sse: guard.count('sse'),
      other: guard.count('other'),
    }
    for (const kind of ['websocket', 'sse', 'other'] as const)
      metrics.openStreams(kind).value = openStreams[kind]
    return openStreams
  }

  return {
    expose(format) {
      refreshGauges()
      return expose(metrics.registry, format)
    },
    reporter: {
      readiness: parts.readiness,
      routing: () => routing.inForce,
      errorPages: () => parts.pages.inForce,
      totals: () => totalsOf(metrics),
      metrics() {
        refreshGauges()
        return valuesOf(metrics.registry)
      },
      async status() {
        return describeStatus({
          readiness: parts.readiness(),
          uptimeS: (now() - startedAt) / 1000,
          storeFault: parts.store.fault,
          routing: routing.status,
          snapshot: routing.current(),
          openStreams: refreshGauges(),
          totals: await totalsOf(metrics),
          now,
        })
      },
    },
  }
}
