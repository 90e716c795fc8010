import type { Reporter } from '../admin/reports.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import type { TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import type { FirstPages } from '../core/error-pages/live-error-pages.ts'
import { systemScheduler } from '../core/scheduler.ts'
import { interruptExchange } from '../exchange/answers.ts'
import { createPeerTrust } from '../http/forwarded.ts'
import { createOwnPaths } from '../http/own-paths.ts'
import { createTraceIds } from '../http/traceparent.ts'
import { createSystemNames } from '../names/names.ts'

import { createAttempts } from '../pipeline/attempts.ts'
import { createDecider } from '../pipeline/decision.ts'
import { createOwnEndpoints } from '../pipeline/endpoints.ts'
import { createForwarder } from '../pipeline/forwarding.ts'
import { createGateway } from '../pipeline/gateway.ts'
import { createIdentification } from '../pipeline/identification.ts'
import { createTargetFailureLog } from '../pipeline/target-failure-log.ts'
import { createLiveRouting, type FirstReading } from '../routing/live-routing.ts'
import { createConnectionRegistry } from '../server/connection-registry.ts'
import { createDrain, type DrainState } from '../server/drain.ts'
import type { Ports } from '../server/ports.ts'
import type { Settings } from '../settings/values.ts'
import { watchEventLoop } from '../telemetry/event-loop.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import type { SendEvent } from '../telemetry/logging/token-store-events.ts'
import type { Exposition } from '../telemetry/metrics/exposition.ts'
import type { ExpositionFormat } from '../telemetry/metrics/exposition-format.ts'
import { createMetrics } from '../telemetry/metrics/metrics.ts'
import { createTransport } from '../upstreams/transport/transport.ts'
import { accessLogOf } from './access-log.ts'
import { createAuthentication } from './authentication.ts'
import { createErrorPages } from './error-pages.ts'
import { createSecureUrl, hstsOf, type PublicPort } from './https-policy.ts'
import { instanceReadiness } from './instance-readiness.ts'
import { rememberLastFailure } from './last-failure.ts'
import { createListeners } from './listeners.ts'
import type { LiveParts } from './live-parts.ts'
import { loadTracing } from './load-tracing.ts'
import { createOpenExchanges } from './open-exchanges.ts'
import { createProcessReports } from './process-reports.ts'
import { createSessions } from './sessions.ts'
import { createStoreEvents } from './store-events.ts'

export interface AppParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly upstreamsFile: string
  /** The last good content of `upstreamsFile`. */
  readonly firstReading: FirstReading
  /** The last good content of ERROR_PAGES_DIR; null where it is not set. */
  readonly firstPages: FirstPages | null
  readonly log: Logger
  /** Receives the events of this process's token store. */
  readonly sendStoreEvent: SendEvent
  /** The writer of the log's lines. */
  readonly lines: Pick<LineWriter, 'dropped' | 'write'>
  readonly version: string
}

/** One instance of the gateway. */
export interface App {
  readonly store: TokenStoreMonitor
  /** Reads the routing file and the error pages again, even if they are unchanged. Never rejects. */
  reload(): Promise<void>
  /** Opens the listeners towards clients. @throws a listener's error, such as EADDRINUSE */
  listen(): Promise<Ports>
  /** This process's metrics. */
  expose(format: ExpositionFormat): Promise<Exposition>
  /** What the admin listener shows of this process. */
  readonly reporter: Reporter
  /** What an explanation of a request reads. */
  readonly live: LiveParts
  /** Drains, then closes everything. */
  shutDown(): Promise<void>
}

/** Creates all parts and connects them. @throws KeyError where a key file is not usable */
export async function createApp(parts: AppParts): Promise<App> {
  const { settings, log } = parts
  const scheduler = systemScheduler
  const { now } = scheduler
  const cookies = { access: settings.accessCookie, refresh: settings.refreshCookie }
  const metrics = createMetrics({ version: parts.version, node: process.version }, Date.now)
  const peers = createPeerTrust(settings.trustedProxies)

  const names = createSystemNames({ scheduler, log })
  const resolveName = names.lookup
  const failures = rememberLastFailure(parts.sendStoreEvent, scheduler)
  const storeEvents = createStoreEvents(settings, failures.send, scheduler)
  const authentication = await createAuthentication({
    ...parts,
    metrics,
    scheduler,
    resolveName,
    storeEvents,
  })
  const { authenticator, keys, verifier, table, fence, refusals, store } = authentication
  const hsts = hstsOf(settings)
  const ownPaths = createOwnPaths(settings.gatewayPath, settings.sessionEndpoints)
  const transport = createTransport({
    findAddresses: names.findAddresses,
    prepareName: names.prepare,
    scheduler,
  })
  const routing = createLiveRouting(parts.firstReading, {
    file: parts.upstreamsFile,
    cookies,
    hsts,
    ownPaths,
    sessionEndpoints: settings.sessionEndpoints,
    metrics,
    scheduler,
    transport,
    wallClock: Date.now,
    random: Math.random,
    log,
  })
  const identification = createIdentification({ authenticator, accessCookie: cookies.access, metrics, now })
  const { identify } = identification
  const pages = createErrorPages(parts, metrics, scheduler)
  const sessions = settings.sessionEndpoints
    ? createSessions({
        settings,
        databaseUrl: parts.databaseUrl,
        cookies,
        keys,
        verifier,
        table,
        fence,
        scheduler,
        resolveName,
        onFault: (error) => storeEvents.failed('sessions', error),
        identify,
      })
    : null
  const decider = createDecider({
    identification,
    inlineRefresh: sessions?.inlineRefresh ?? null,
    metrics,
    log,
    now,
  })
  const open = createOpenExchanges({ ...parts, table, fence, metrics, scheduler, resolveName, storeEvents })
  const { guard } = open
  const targetFailures = createTargetFailureLog(log, scheduler)
  const forwarder = createForwarder({
    attempts: createAttempts(),
    failures: targetFailures,
    log,
    guard,
    interrupt: (exchange, code) => interruptExchange(exchange, code, { accessCookie: cookies.access, pages }),
    now,
  })
  const traceIds = createTraceIds()
  const { version } = parts
  const tracing = await loadTracing({
    settings,
    version,
    log,
    metrics,
    ids: traceIds,
    lookup: resolveName,
    now,
  })

  const drainState: DrainState = { started: false }
  const draining = () => drainState.started
  const readiness = () => instanceReadiness({ draining: draining(), store, keys })
  const port: PublicPort = { current: settings.port }
  const gateway = createGateway({
    snapshot: routing.current,
    decider,
    forwarder,
    endpoints: createOwnEndpoints({
      identify,
      readiness,
      sessions: sessions?.endpoints ?? null,
      accessCookie: cookies.access,
      pages,
    }),
    peers,
    traceIds,
    tracing,
    ownPaths,
    hsts,
    secureUrl: createSecureUrl(settings, port),
    accessCookie: cookies.access,
    pages,
    metrics,
    log,
    accessLog: accessLogOf(parts, peers),
    now,
    draining,
  })
  const connections = createConnectionRegistry()
  const listeners = createListeners({
    settings,
    gateway,
    connections,
    wire: transport.wire,
    port,
    hsts,
    peers,
    metrics,
    log,
    scheduler,
  })
  const drain = createDrain({
    state: drainState,
    listeners: listeners.all,
    connections,
    closeStreams: () => guard.closeAll('drain'),
    delayMs: settings.drainDelayMs,
    timeoutMs: settings.drainTimeoutMs,
  })
  const eventLoop = watchEventLoop(scheduler)
  const reports = createProcessReports({
    metrics,
    guard,
    keys,
    refusals,
    lines: parts.lines,
    routing,
    pages,
    store,
    timelines: authentication.timelines,
    readiness,
    eventLoop,
    certificates: listeners.certificates,
    maxConnections: settings.maxConnections,
    lastFailure: failures.last,
    now,
  })

  return {
    store,
    async reload() {
      await Promise.all([routing.reload(), pages.reload()])
    },
    listen: listeners.listen,
    expose: reports.expose,
    reporter: reports.reporter,
    live: {
      settings,
      databaseUrl: parts.databaseUrl,
      keySource: parts.keySource,
      keys,
      verifier,
      table,
      timelines: authentication.timelines,
      routing,
      ownPaths,
      readiness,
      scheduler,
      onQuery: () => metrics.tokenQueries.value++,
    },
    async shutDown() {
      await drain.start()
      listeners.stop()
      pages.close()
      await Promise.all([
        routing.close(),
        authentication.close(),
        open.close(),
        sessions?.store.close(),
        tracing?.close(),
      ])
      eventLoop.stop()
      targetFailures.close()
      storeEvents.close()
      names.close()
    },
  }
}
