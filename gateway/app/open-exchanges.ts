import type { LookupFunction } from 'node:net'
import { queryHosts } from '../auth/token-store/host-retries.ts'
import type { TokenTable } from '../auth/token-store/token-table.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { TimelineFence } from '../database/timeline-fence.ts'
import type { Settings } from '../settings/values.ts'
import { createRevocationListener } from '../streams/revocation-listener.ts'
import { createStreamGuard, type StreamGuard } from '../streams/stream-guard.ts'
import type { TokenStoreEvents } from '../telemetry/logging/token-store-events.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'

export interface OpenExchangeParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly table: Pick<TokenTable, 'findMany' | 'canonicalId' | 'hosts'>
  readonly fence: TimelineFence
  readonly metrics: Metrics
  readonly scheduler: Scheduler
  /** How names become addresses. */
  readonly resolveName: LookupFunction
  readonly storeEvents: Pick<TokenStoreEvents, 'failed' | 'listening'>
}

/** What binds open exchanges to their tokens: the recheck, and notices where a channel is set. */
export function createOpenExchanges(parts: OpenExchangeParts): {
  readonly guard: StreamGuard
  close(): Promise<void>
} {
  const { settings, table, fence, metrics, storeEvents } = parts
  const guard = createStreamGuard({
    findMany: (ids) =>
      queryHosts(table.hosts, () => {
        metrics.tokenQueries.value++
        return table.findMany(ids, settings.lookupTimeoutMs)
      }),
    scheduler: parts.scheduler,
    wallClock: Date.now,
    recheckMs: settings.streamRecheckMs,
    faultGraceMs: settings.streamFaultGraceMs,
    clockToleranceMs: settings.jwtClockToleranceS * 1000,
    onClose(reason) {
      metrics.streamsClosed(reason).value++
    },
    onFault: (error) => storeEvents.failed('rechecks', error),
  })
  // The primary that was replaced has reported the tokens of open exchanges as good for as long as it was asked.
  const stopRechecks = fence.onNewer(guard.recheck)
  const listener =
    settings.revocationChannel === null
      ? null
      : createRevocationListener({
          databaseUrl: parts.databaseUrl,
          channel: settings.revocationChannel,
          scheduler: parts.scheduler,
          fence,
          timeoutMs: settings.lookupTimeoutMs,
          lookup: parts.resolveName,
          onToken: (id) => guard.closeByToken(table.canonicalId(id)),
          onListening() {
            storeEvents.listening()
            guard.recheck()
          },
          onFault: (error) => storeEvents.failed('notices', error),
        })
  return {
    guard,
    async close() {
      stopRechecks()
      guard.stop()
      await listener?.close()
    },
  }
}
