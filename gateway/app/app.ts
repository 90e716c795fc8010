import type { Reporter } from '../admin/reports.ts'
import type { KeyRing, KeySource } from '../auth/jwt/key-ring.ts'
import { quoteTable } from '../auth/token-store/token-columns.ts'
import { describeFault, describeKeyFault } from '../auth/token-store/token-store-faults.ts'
import type { TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import { type Readiness, type ReadinessCause, readinessFrom } from '../core/readiness.ts'
import { type Scheduler, systemScheduler } from '../core/scheduler.ts'
import { interrupt } from '../exchange/answers.ts'
import type { Tracing } from '../exchange/tracing.ts'
import { createPeerTrust } from '../http/forwarded.ts'
import { createTraceIds, type TraceIds } from '../http/traceparent.ts'
import { createSystemNames } from '../names/names.ts'
import { createAccessLog } from '../pipeline/access-log.ts'
import { createAttempts } from '../pipeline/attempts.ts'
import { createDecider } from '../pipeline/decision.ts'
import { createOwnEndpoints } from '../pipeline/endpoints.ts'
import { createForwarder } from '../pipeline/forwarding.ts'
import { createGateway } from '../pipeline/gateway.ts'
import { createLiveRouting, type FirstReading, type LiveRouting } from '../routing/live-routing.ts'
import { createDrain, type Drain } from '../server/drain.ts'
import type { Ports } from '../server/ports.ts'
import { sessionTimeoutMs } from '../sessions/session-timeout.ts'
import { tracingOf } from '../settings/tracing-variables.ts'
import type { Settings } from '../settings/values.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import {
  createTokenStoreEvents,
  type SendEvent,
  type TokenStoreEvents,
} from '../telemetry/logging/token-store-events.ts'
import type { Exposition } from '../telemetry/metrics/exposition.ts'
import type { ExpositionFormat } from '../telemetry/metrics/exposition-format.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics/metrics.ts'
import type { OtlpTracingParts } from '../tracing/otlp-tracing.ts'
import { createAuthentication } from './authentication.ts'
import { createFront, type Front, hstsOf } from './front.ts'
import { createOpenExchanges } from './open-exchanges.ts'
import { createProcessReports } from './process-reports.ts'
import { createSessions } from './sessions.ts'

export interface AppParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly upstreamsFile: string
  /** What `upstreamsFile` said when it was good last. */
  readonly firstReading: FirstReading
  readonly log: Logger
  /** Takes what this process finds out about the token store. */
  readonly sendStoreEvent: SendEvent
  /** Where the log's lines go. */
  readonly lines: Pick<LineWriter, 'dropped'>
  readonly version: string
}

/** One instance of the gateway. */
export interface App {
  readonly routing: LiveRouting
  readonly store: TokenStoreMonitor
  /** Opens the listeners towards clients. @throws a listener's error, such as EADDRINUSE */
  listen(): Promise<Ports>
  /** This process's metrics. */
  expose(format: ExpositionFormat): Promise<Exposition>
  /** What the admin listener tells of this process. */
  readonly reporter: Reporter
  /** Leaves in order: drains, then closes everything. */
  leave(): Promise<void>
}

/** Puts the parts together. @throws KeyError where a key file is not usable */
export async function createApp(parts: AppParts): Promise<App> {
  const { settings, log } = parts
  const scheduler = systemScheduler
  const { now } = scheduler
  const cookies = { access: settings.accessCookie, refresh: settings.refreshCookie }
  const metrics = createMetrics({ version: parts.version, node: process.version }, Date.now)
  const peers = createPeerTrust(settings.trustedProxies)

  const names = createSystemNames({ scheduler, log })
  const { lookup } = names
  const storeEvents = storeEventsOf(parts, scheduler)
  const authentication = await createAuthentication({ ...parts, metrics, scheduler, lookup, storeEvents })
  const { authenticator, keys, verifier, table, refusals, store } = authentication
  const hsts = hstsOf(settings)
  const routing = createLiveRouting(parts.firstReading, {
    file: parts.upstreamsFile,
    cookies,
    hsts,
    gatewayPath: settings.gatewayPath,
    sessionEndpoints: settings.sessionEndpoints,
    metrics,
    scheduler,
    lookup,
    wallClock: Date.now,
    random: Math.random,
    log,
  })
  const sessions = settings.sessionEndpoints
    ? createSessions({
        settings,
        databaseUrl: parts.databaseUrl,
        cookies,
        keys,
        verifier,
        table,
        scheduler,
        lookup,
        onFault: (error) => storeEvents.failed('sessions', error),
        identify: (exchange) => decider.identify(exchange),
      })
    : null
  const decider = createDecider({
    authenticator,
    accessCookie: cookies.access,
    inlineRefresh: sessions?.inlineRefresh ?? null,
    metrics,
    log,
    now,
  })
  const open = createOpenExchanges({ ...parts, table, metrics, scheduler, lookup, storeEvents })
  const { guard } = open
  const forwarder = createForwarder({
    attempts: createAttempts(),
    log,
    guard,
    interrupt: (exchange, code) => interrupt(exchange, code, { accessCookie: cookies.access }),
    now,
  })
  const traceIds = createTraceIds()
  const tracing = await loadTracing(parts, { metrics, traceIds, lookup, now })

  // The drain needs the servers, the servers the gateway, and the gateway asks whether it drains, and where to.
  let drain: Drain | null = null
  let front: Front | null = null
  const draining = () => drain?.started ?? false
  const readiness = (): Readiness => readinessOf({ draining: draining(), store, keys })
  const gateway = createGateway({
    snapshot: routing.current,
    decider,
    forwarder,
    endpoints: createOwnEndpoints({
      decider,
      readiness,
      sessions: sessions?.endpoints ?? null,
      accessCookie: cookies.access,
    }),
    peers,
    traceIds,
    tracing,
    gatewayPath: settings.gatewayPath,
    hsts,
    secureUrl: (target) => front!.secureUrl(target),
    accessCookie: cookies.access,
    metrics,
    log,
    accessLog: settings.accessLog ? createAccessLog(log, peers) : null,
    now,
    draining,
  })
  front = createFront({ settings, gateway, hsts, peers, metrics, log, scheduler })
  drain = createDrain({
    servers: front.servers,
    closeStreams: () => guard.closeAll('drain'),
    delayMs: settings.drainDelayMs,
    timeoutMs: settings.drainTimeoutMs,
  })
  const reports = createProcessReports({
    metrics,
    guard,
    keys,
    refusals,
    lines: parts.lines,
    routing,
    store,
    readiness,
    now,
  })

  return {
    routing,
    store,
    listen: front.listen,
    expose: reports.expose,
    reporter: reports.reporter,
    async leave() {
      await drain?.start()
      front?.stop()
      await Promise.all([
        routing.close(),
        authentication.close(),
        open.close(),
        sessions?.store.close(),
        tracing?.close(),
      ])
      storeEvents.close()
      names.close()
    },
  }
}

function storeEventsOf({ settings, sendStoreEvent }: AppParts, scheduler: Scheduler): TokenStoreEvents {
  const table = quoteTable(settings.tokenTable)
  const timeoutMs = settings.lookupTimeoutMs
  return createTokenStoreEvents({
    send: sendStoreEvent,
    describe(what, error) {
      if (what === 'verifications') return describeKeyFault(error)
      return describeFault(error, {
        table,
        timeoutMs: what === 'sessions' ? sessionTimeoutMs(timeoutMs) : timeoutMs,
      })
    },
    scheduler,
  })
}

/** The packages for it take their time and memory, which nobody is to spend who does not trace. */
async function loadTracing(
  { settings, version, log }: AppParts,
  {
    metrics,
    traceIds,
    lookup,
    now,
  }: Pick<OtlpTracingParts, 'lookup' | 'now'> & { metrics: Metrics; traceIds: TraceIds },
): Promise<Tracing | null> {
  const wanted = tracingOf(settings)
  if (wanted === null) return null
  const { createOtlpTracing } = await import('../tracing/otlp-tracing.ts')
  return createOtlpTracing({
    settings: wanted,
    version,
    ids: traceIds,
    counts: metrics.spans(),
    lookup,
    log,
    now,
  })
}

const DRAINING = 'the instance is leaving: it was told to by a signal'

const NO_KEYS =
  'there is no key yet to verify tokens with, since the key set could not be fetched; look at JWT_JWKS_URL and the log'

function readinessOf({
  draining,
  store,
  keys,
}: {
  draining: boolean
  store: TokenStoreMonitor
  keys: KeyRing
}): Readiness {
  const causes: ReadinessCause[] = []
  if (draining) causes.push({ reason: 'draining', cause: DRAINING })
  if (keys.state === 'none') causes.push({ reason: 'keys', cause: NO_KEYS })
  if (store.fault !== null) {
    const reason = store.fault.code === 'FENCED' ? 'fenced' : 'token_store'
    causes.push({ reason, cause: store.fault.cause })
  }
  return readinessFrom(causes)
}
