import { describeStatus } from '../admin/process-status.ts'
import type { Reporter } from '../admin/reports.ts'
import type { CertificateStatus, LastFailure } from '../admin/status.ts'
import type { KeyRing } from '../auth/jwt/key-ring.ts'
import type { NegativeCache } from '../auth/token-store/negative-cache.ts'
import type { TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import type { LiveErrorPages } from '../core/error-pages/live-error-pages.ts'
import type { Readiness } from '../core/readiness.ts'
import type { Timelines } from '../core/timelines.ts'
import type { LiveRouting } from '../routing/live-routing.ts'
import type { CertificateStore } from '../server/tls/certificate-store.ts'
import type { StreamGuard } from '../streams/stream-guard.ts'
import type { EventLoopWatch } from '../telemetry/event-loop.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import { type Exposition, expose, valuesOf } from '../telemetry/metrics/exposition.ts'
import type { ExpositionFormat } from '../telemetry/metrics/exposition-format.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { totalsOf } from '../telemetry/metrics/totals.ts'
import { SLOW_MS } from '../telemetry/metrics/traffic-metrics.ts'

export interface ProcessReportsParts {
  readonly metrics: Metrics
  readonly guard: Pick<StreamGuard, 'count' | 'lateAnswers'>
  readonly keys: Pick<KeyRing, 'state' | 'fault'>
  readonly refusals: Pick<NegativeCache, 'size'>
  readonly lines: Pick<LineWriter, 'dropped'>
  readonly routing: Pick<LiveRouting, 'current' | 'status' | 'inForce'>
  readonly pages: Pick<LiveErrorPages, 'inForce' | 'problems'>
  readonly eventLoop: Pick<EventLoopWatch, 'heldUpMs'>
  /** Null without TLS. */
  readonly certificates: Pick<CertificateStore, 'all' | 'faults'> | null
  readonly maxConnections: number
  readonly lastFailure: () => LastFailure | null
  readonly store: Pick<TokenStoreMonitor, 'fault'>
  readonly timelines: () => Timelines
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
  const { certificates } = parts
  const reportCertificates = certificates === null ? null : metrics.certificates()

  /** Sets the gauges whose values are read only when a report is made. @returns open streams by kind */
  function refreshGauges() {
    metrics.negativeCacheEntries.value = parts.refusals.size
    metrics.keysCurrent.value = parts.keys.state === 'current' ? 1 : 0
    const { newest, oldPrimaries, refused } = parts.timelines()
    metrics.timelines.newest.value = newest ?? 0
    metrics.timelines.oldPrimaries.value = oldPrimaries.length
    metrics.timelines.refused.value = refused
    metrics.logLinesDropped.value = parts.lines.dropped
    if (certificates !== null) reportCertificates?.(certificates)
    metrics.setPending(
      new Map([...routing.current().upstreams.values()].map(({ name, pending }) => [name, pending])),
    )
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
          timelines: parts.timelines(),
          routing: routing.status,
          snapshot: routing.current(),
          openStreams: refreshGauges(),
          lateAnswers: guard.lateAnswers(SLOW_MS),
          lastFailure: parts.lastFailure(),
          keys: { state: parts.keys.state, reason: parts.keys.fault },
          certificates: describeCertificates(certificates),
          errorPages: parts.pages.problems,
          process: {
            connections: metrics.clientConnections.open.value,
            maxConnections: parts.maxConnections,
            heldUpMs: parts.eventLoop.heldUpMs,
          },
          totals: await totalsOf(metrics),
          now,
        })
      },
    },
  }
}

function describeCertificates(store: ProcessReportsParts['certificates']): CertificateStatus[] {
  const { all = [], faults = [] } = store ?? {}
  const reasons = new Map(faults.map(({ name, reason }) => [name, reason]))
  const inForce = all.map(({ files, startsAt, expiresAt }) => ({
    file: files.name,
    beginsAt: new Date(startsAt).toISOString(),
    endsAt: new Date(expiresAt).toISOString(),
    reason: reasons.get(files.name) ?? null,
  }))
  const known = new Set(inForce.map(({ file }) => file))
  const unused = faults.filter(({ name }) => !known.has(name))
  return [
    ...inForce,
    ...unused.map(({ name, reason }) => ({ file: name, beginsAt: null, endsAt: null, reason })),
  ]
}
