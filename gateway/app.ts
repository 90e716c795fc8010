import { interrupt } from './answers.ts'
import { createAttempts } from './attempts.ts'
import { createAuthentication } from './auth/authentication.ts'
import type { KeyRing, KeySource } from './auth/keys.ts'
import { quotedTable } from './auth/token-columns.ts'
import { describeFault, describeKeyFault } from './auth/token-store-faults.ts'
import type { TokenStoreMonitor } from './auth/token-store-monitor.ts'
import { createDecider } from './decision.ts'
import { createOwnEndpoints, type Readiness, type ReadinessCause, readinessBy } from './endpoints.ts'
import { createForwarder } from './forwarding.ts'
import { createGateway } from './gateway.ts'
import { createSystemNames } from './names/names.ts'
import { createAccessLog } from './ops/access-log.ts'
import { createDrain, type Drain } from './ops/drain.ts'
import type { Exposition } from './ops/exposition.ts'
import type { ExpositionFormat } from './ops/exposition-format.ts'
import { createFront, type Front, hstsOf, type Ports } from './ops/front.ts'
import type { LineWriter } from './ops/line-writer.ts'
import type { Logger } from './ops/logger.ts'
import { createMetrics, type Metrics } from './ops/metrics.ts'
import type { OtlpTracingParts } from './ops/otlp-tracing.ts'
import { createProcessReports } from './ops/process-reports.ts'
import { createTokenStoreEvents, type SendEvent, type TokenStoreEvents } from './ops/token-store-events.ts'
import type { Tracing } from './ops/tracing.ts'
import type { Reporter } from './ops/worker-messages.ts'
import { createPeerTrust } from './proxy/forwarded.ts'
import { createTraceIds, type TraceIds } from './proxy/traceparent.ts'
import { createLiveRouting, type FirstReading, type LiveRouting } from './routing/live-routing.ts'
import { type Scheduler, systemScheduler } from './scheduler.ts'
import { createOpenExchanges } from './sessions/open-exchanges.ts'
import { sessionTimeoutMs } from './sessions/session-timeout.ts'
import { createSessions } from './sessions/sessions.ts'
import { tracingOf } from './settings/tracing-variables.ts'
import type { Settings } from './settings.ts'

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
    refreshInPassing: sessions?.refreshInPassing ?? null,
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
  const table = quotedTable(settings.tokenTable)
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
  const { createOtlpTracing } = await import('./ops/otlp-tracing.ts')
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
  return readinessBy(causes)
}
