import { randomBytes } from 'node:crypto'
import type { App } from '../app/app.ts'
import { createApp } from '../app/app.ts'
import { createOperations } from '../app/operations.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { answerPrimary, reportListening, reportTokenStoreEvent } from '../cluster/worker.ts'
import { startWorkers } from '../cluster/workers.ts'
import type { FirstPages } from '../core/error-pages/live-error-pages.ts'
import { systemScheduler } from '../core/scheduler.ts'
import { UnusableError } from '../core/unusable-error.ts'
import { createLiveExplainer } from '../explain/live-explainer.ts'
import type { FirstReading } from '../routing/live-routing.ts'
import { listening } from '../server/listening.ts'
import type { Ports } from '../server/ports.ts'
import type { Settings } from '../settings/values.ts'
import type { LineWriter } from '../telemetry/logging/line-writer.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import type { SendEvent } from '../telemetry/logging/token-store-events.ts'
import { createTokenStoreLog } from '../telemetry/logging/token-store-log.ts'
import { exposeAggregated } from '../telemetry/metrics/exposition.ts'
import type { ServeEnvironment } from './serve-environment.ts'
import type { Signals } from './signals.ts'

/** The gateway cannot start; the process ends with exit code 2 and prints the reasons. */
export class StartError extends UnusableError {
  override readonly name = 'StartError'
}

const NO_PORTS: Ports = { port: 0, redirectPort: null }

/** How long the start waits for the database before it listens without it. */
const FIRST_PROBE_MS = 3000

/** What a start of the gateway has gathered before anything listens. */
export interface Start {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly file: { readonly path: string; readonly isExample: boolean }
  readonly firstReading: FirstReading
  readonly firstPages: FirstPages | null
  readonly log: Logger
  readonly lines: LineWriter
  readonly signals: Signals
}

function createAppFor(
  { file, ...start }: Start,
  environment: ServeEnvironment,
  sendStoreEvent: SendEvent,
): Promise<App> {
  return createApp({
    ...start,
    upstreamsFile: file.path,
    sendStoreEvent,
    version: environment.version,
  })
}

export async function serveAlone(
  start: Start,
  environment: ServeEnvironment,
  embedded: boolean,
): Promise<number> {
  const { log, signals } = start
  const storeLog = createTokenStoreLog(log, systemScheduler)
  const app = await createAppFor(start, environment, (event) => storeLog.record(0, event))
  signals.onHangUp(() => void app.reload())
  await awaitFirstProbe(app)
  const operations = createOperations({
    collect: async (part) => [await app.reporter[part]()],
    count: 1,
    expose: app.expose,
    explain: createLiveExplainer(app.live),
    version: environment.version,
    settings: start.settings,
    scheduler: systemScheduler,
    wallClock: Date.now,
  })
  const ports = await app.listen()
  await listenAndAnnounce(start, environment, { ports, operations, embedded })
  await signals.first
  log.info('shutting down')
  const code = await Promise.race([app.shutDown().then(() => 0), signals.second.then(() => 1)])
  storeLog.close()
  return code
}

/** Serves as one of several workers: the primary sends it requests and signals. */
export async function serveAsWorker(start: Start, environment: ServeEnvironment): Promise<number> {
  const app = await createAppFor(start, environment, reportTokenStoreEvent)
  start.signals.onHangUp(() => void app.reload())
  await awaitFirstProbe(app)
  const stopRequested = Promise.withResolvers<void>()
  answerPrimary({
    reporter: app.reporter,
    explain: createLiveExplainer(app.live),
    onDrain: stopRequested.resolve,
  })
  reportListening(await app.listen())
  await stopRequested.promise
  await app.shutDown()
  return 0
}

export async function serveWithWorkers(
  start: Start,
  environment: ServeEnvironment,
  embedded: boolean,
): Promise<number> {
  const { settings, log, signals } = start
  const storeLog = createTokenStoreLog(log, systemScheduler)
  const workers = startWorkers({
    count: settings.workers,
    env: workerEnvironment(start, embedded),
    scheduler: systemScheduler,
    storeLog,
    log,
  })
  const operations = createOperations({
    collect: workers.collect,
    count: settings.workers,
    expose: async (format) => exposeAggregated(await workers.metrics(), format),
    explain: (question) => workers.explain(question, explainTimeoutMs(settings)),
    version: environment.version,
    settings,
    scheduler: systemScheduler,
    wallClock: Date.now,
  })
  const ports = await Promise.race([workers.listening, signals.second.then(() => NO_PORTS)])
  // Only now, since SIGHUP would end a worker that is still starting.
  signals.onHangUp(() => workers.signal('SIGHUP'))
  await listenAndAnnounce(start, environment, { ports, operations, embedded })
  await signals.first
  log.info('shutting down')
  const code = await Promise.race([workers.drain(), signals.second.then(() => 1)])
  workers.kill()
  storeLog.close()
  return code
}

/** Of the access token, of the refresh token, and a key set that is fetched first. */
function explainTimeoutMs({ lookupTimeoutMs }: Settings): number {
  return 2 * lookupTimeoutMs + 5000
}

/** Passes what the primary generated to the workers as settings, so that all of them use the same. */
function workerEnvironment(
  { settings, databaseUrl, keySource, file }: Start,
  embedded: boolean,
): Record<string, string> {
  return {
    // A client's next connection may be another worker's.
    ...(settings.tlsTicketSecret === null ? { TLS_TICKET_SECRET: randomBytes(48).toString('base64') } : {}),
    UPSTREAMS_FILE: file.path,
    ...(embedded ? { DATABASE_URL: databaseUrl } : {}),
    ...(keySource.kind === 'secret-file' ? { JWT_SECRET_FILE: keySource.path } : {}),
  }
}

async function listenAndAnnounce(
  start: Start,
  environment: ServeEnvironment,
  {
    ports,
    operations,
    embedded,
  }: { ports: Ports; operations: ReturnType<typeof createOperations>; embedded: boolean },
): Promise<void> {
  const { settings, log, file } = start
  const adminPort = await listening(operations.server, settings.adminPort, settings.adminHost)
  const { port, redirectPort } = ports
  // Whoever started the gateway waits for this line, so it is written at every log level.
  log
    .child({}, { level: 'info' })
    .info({ port, adminPort, ...(redirectPort === null ? {} : { redirectPort }) }, 'listening')
  if (file.isExample && embedded) await printWelcome(environment, settings, { ...start, port })
}

/**
 * A table that does not fit the settings ends the start. An unreachable database, or a missing table or grant, does
 * not, since they may appear without a restart.
 */
async function awaitFirstProbe(app: App): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((done) => {
    timer = setTimeout(done, FIRST_PROBE_MS)
  })
  await Promise.race([app.store.first, late])
  clearTimeout(timer)
  if (app.store.mappingProblems.length > 0 && !app.store.mayHeal)
    throw new StartError(app.store.mappingProblems)
}

async function printWelcome(
  environment: ServeEnvironment,
  settings: Settings,
  { databaseUrl, keySource, port }: { databaseUrl: string; keySource: KeySource; port: number },
): Promise<void> {
  const [{ welcomeText }, { openTokenAdmin }] = await Promise.all([
    import('../dev/welcome.ts'),
    import('./token-admin.ts'),
  ])
  const admin = openTokenAdmin({ settings, databaseUrl, keySource })
  try {
    const alice = { userId: 'alice', mandateId: 'acme', sessionId: null, ttlS: 86_400 }
    for (const { jwt, id } of await admin.issue(alice, ['access']))
      environment.stdout.write(welcomeText({ port, jwt, tokenId: id, cookie: settings.accessCookie }))
  } finally {
    await admin.close()
  }
}
