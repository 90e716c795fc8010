import cluster from 'node:cluster'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type App, createApp } from '../app.ts'
import { KeyError, type KeySource } from '../auth/keys.ts'
import type { EchoUpstream } from '../dev/echo-upstream.ts'
import type { EmbeddedPostgres } from '../dev/embedded-postgres.ts'
import { CertificateError } from '../ops/certificates.ts'
import { listening } from '../ops/listening.ts'
import { createLogger, type Logger } from '../ops/logger.ts'
import { createOperations } from '../ops/operations.ts'
import { answerPrimary, startWorkers, tellListening } from '../ops/workers.ts'
import { loadUpstreamsFile } from '../routing/live-routing.ts'
import type { UpstreamsConfig } from '../routing/upstreams-schema.ts'
import { systemScheduler } from '../scheduler.ts'
import { readSettings, type Settings } from '../settings.ts'
import type { Environment } from './environment.ts'

export interface ServeEnvironment extends Environment {
  readonly version: string
  readonly onSignal: (name: NodeJS.Signals, listener: () => void) => void
}

/** A start that cannot be; the process ends with 2 and these reasons. */
class StartError extends Error {
  readonly reasons: readonly string[]

  constructor(reasons: readonly string[]) {
    super(reasons.join('\n'))
    this.reasons = reasons
  }
}

const EXAMPLE = 'upstreams.example.json'
const ECHO = { host: '127.0.0.1', port: 8001 }

/** How long the start waits for the database before it listens without it. */
const FIRST_PROBE_MS = 3000

interface Resources {
  postgres: EmbeddedPostgres | null
  echo: EchoUpstream | null
}

/** Runs the gateway until it is told to leave. @returns the exit code */
export async function serve(environment: ServeEnvironment): Promise<number> {
  const resources: Resources = { postgres: null, echo: null }
  try {
    return await run(environment, resources)
  } catch (error) {
    const reasons = startReasons(error)
    if (reasons === null) throw error
    environment.stderr.write(
      `poweron-gateway cannot start:\n${reasons.map((reason) => `  ${reason}\n`).join('')}`,
    )
    return 2
  } finally {
    await resources.echo?.close()
    await resources.postgres?.stop()
  }
}

async function run(environment: ServeEnvironment, resources: Resources): Promise<number> {
  const signals = countSignals(environment)
  const read = readSettings(environment.env)
  if (!read.ok) throw new StartError(read.problems)
  const { settings } = read
  const { log, flush } = createLogger({ level: settings.logLevel, fd: 1 })
  const file = routingFile(settings, environment.cwd)
  const loaded = await loadUpstreamsFile(file.path)
  if (!loaded.ok) throw new StartError(loaded.problems)

  const { databaseUrl, keySource, notices } = await backing(settings, environment.cwd, resources)
  for (const notice of notices) log.warn(notice)
  const embedded = resources.postgres !== null
  if (file.isExample) resources.echo = await startEcho()
  const start = { settings, databaseUrl, keySource, file, config: loaded.config, log, signals }
  const code = await (cluster.isWorker
    ? serveAsWorker(start, environment)
    : settings.workers > 1
      ? serveWithWorkers(start, environment, embedded)
      : serveAlone(start, environment, embedded))
  flush()
  return code
}

interface Start {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly file: { readonly path: string; readonly isExample: boolean }
  readonly config: UpstreamsConfig
  readonly log: Logger
  readonly signals: Signals
}

interface Signals {
  readonly first: Promise<void>
  readonly second: Promise<void>
}

function appOf(
  { settings, databaseUrl, keySource, file, config, log }: Start,
  environment: ServeEnvironment,
): Promise<App> {
  return createApp({
    settings,
    databaseUrl,
    keySource,
    upstreamsFile: file.path,
    config,
    log,
    version: environment.version,
  })
}

async function serveAlone(start: Start, environment: ServeEnvironment, embedded: boolean): Promise<number> {
  const { log, signals } = start
  const app = await appOf(start, environment)
  await firstProbe(app)
  environment.onSignal('SIGHUP', () => void app.routing.reload())
  const operations = createOperations({
    reports: async () => [await app.report()],
    count: 1,
    expose: app.expose,
    scheduler: systemScheduler,
    wallClock: Date.now,
  })
  const port = await app.listen()
  await announce(start, environment, { port, operations, embedded })
  await signals.first
  log.info('leaving')
  return Promise.race([app.leave().then(() => 0), signals.second.then(() => 1)])
}

/** One of several: its primary tells it what to do, and its signals come from there too. */
async function serveAsWorker(start: Start, environment: ServeEnvironment): Promise<number> {
  const app = await appOf(start, environment)
  await firstProbe(app)
  environment.onSignal('SIGHUP', () => void app.routing.reload())
  const left = Promise.withResolvers<void>()
  answerPrimary(app.report, left.resolve)
  tellListening(await app.listen())
  await left.promise
  await app.leave()
  return 0
}

async function serveWithWorkers(
  start: Start,
  environment: ServeEnvironment,
  embedded: boolean,
): Promise<number> {
  const { settings, log, signals } = start
  const workers = startWorkers({
    count: settings.workers,
    env: workerEnvironment(start, embedded),
    scheduler: systemScheduler,
    log,
  })
  environment.onSignal('SIGHUP', () => workers.signal('SIGHUP'))
  const operations = createOperations({
    reports: workers.reports,
    count: settings.workers,
    expose: null,
    scheduler: systemScheduler,
    wallClock: Date.now,
  })
  const port = await Promise.race([workers.listening, signals.second.then(() => 0)])
  await announce(start, environment, { port, operations, embedded })
  await signals.first
  log.info('leaving')
  const code = await Promise.race([workers.leave(), signals.second.then(() => 1)])
  workers.kill()
  return code
}

/** Workers get what was made up for them as settings, and make up nothing themselves. */
function workerEnvironment(
  { databaseUrl, keySource, file }: Start,
  embedded: boolean,
): Record<string, string> {
  return {
    UPSTREAMS_FILE: file.path,
    ...(embedded ? { DATABASE_URL: databaseUrl } : {}),
    ...(keySource.kind === 'secret-file' ? { JWT_SECRET_FILE: keySource.path } : {}),
  }
}

async function announce(
  start: Start,
  environment: ServeEnvironment,
  {
    port,
    operations,
    embedded,
  }: { port: number; operations: ReturnType<typeof createOperations>; embedded: boolean },
): Promise<void> {
  const { settings, log, file } = start
  const adminPort = await listening(operations.server, settings.adminPort, settings.adminHost)
  log.info({ port, adminPort }, 'listening')
  if (file.isExample && embedded) await greet(environment, settings, { ...start, port })
}

/** The first signal asks to leave in order, the second to leave now. */
function countSignals({ onSignal }: ServeEnvironment): Signals {
  const first = Promise.withResolvers<void>()
  const second = Promise.withResolvers<void>()
  let count = 0
  const onEach = () => {
    count++
    if (count === 1) first.resolve()
    else second.resolve()
  }
  onSignal('SIGTERM', onEach)
  onSignal('SIGINT', onEach)
  return { first: first.promise, second: second.promise }
}

/** Outside production, a start without a routing file serves the example. */
function routingFile(
  settings: Settings,
  cwd: string,
): { readonly path: string; readonly isExample: boolean } {
  const path = resolve(cwd, settings.upstreamsFile)
  const isExample = !settings.production && !settings.upstreamsFileGiven && !existsSync(path)
  return isExample ? { path: resolve(cwd, EXAMPLE), isExample } : { path, isExample }
}

async function backing(settings: Settings, cwd: string, resources: Resources) {
  const { databaseUrl, keySource } = settings
  if (databaseUrl !== null && keySource !== null) return { databaseUrl, keySource, notices: [] }
  // Not part of a production installation, and never reached there: the settings were refused before.
  const { provision } = await import('../dev/provision.ts')
  const provisions = await provision(settings, cwd)
  resources.postgres = provisions.postgres
  return provisions
}

async function startEcho(): Promise<EchoUpstream> {
  const { startEchoUpstream } = await import('../dev/echo-upstream.ts')
  try {
    return await startEchoUpstream(ECHO)
  } catch (error) {
    throw new StartError([
      `the echo backend of ${EXAMPLE} cannot listen on ${ECHO.host}:${ECHO.port} (${codeOf(error)}); expected a free port, or an upstreams.json of your own`,
    ])
  }
}

/** A table that does not fit ends the start; a database that cannot be reached does not. */
async function firstProbe(app: App): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((done) => {
    timer = setTimeout(done, FIRST_PROBE_MS)
  })
  await Promise.race([app.store.first, late])
  clearTimeout(timer)
  if (app.store.mappingProblems.length > 0) throw new StartError(app.store.mappingProblems)
}

async function greet(
  environment: ServeEnvironment,
  settings: Settings,
  { databaseUrl, keySource, port }: { databaseUrl: string; keySource: KeySource; port: number },
): Promise<void> {
  const [{ welcome }, { openTokenAdmin }] = await Promise.all([
    import('../dev/welcome.ts'),
    import('../sessions/token-admin.ts'),
  ])
  const admin = await openTokenAdmin({ settings, databaseUrl, keySource })
  try {
    const { jwt, id } = await admin.issue(
      { userId: 'alice', mandateId: 'acme', sessionId: null, ttlS: 86_400 },
      'access',
    )
    environment.stdout.write(welcome({ port, jwt, tokenId: id, cookie: settings.accessCookie }))
  } finally {
    await admin.close()
  }
}

/** Why the start cannot be, where that is the settings' or the surroundings' doing; null for a defect. */
function startReasons(error: unknown): readonly string[] | null {
  if (error instanceof StartError) return error.reasons
  if (error instanceof KeyError || error instanceof CertificateError) return [error.message]
  if (!(error instanceof Error)) return null
  if (error.name === 'EmbeddedPostgresError') return [error.message]
  if ('syscall' in error && error.syscall === 'listen') {
    const { address, port } = error as { address?: string; port?: number }
    return [
      `cannot listen on ${address}:${port} (${codeOf(error)}); expected a free port: set PORT or ADMIN_PORT`,
    ]
  }
  return null
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
