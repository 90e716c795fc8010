import cluster from 'node:cluster'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { reportCannotStart, requestInForce } from '../cluster/worker.ts'
import type { FirstPages } from '../core/error-pages/live-error-pages.ts'
import { loadErrorPages, pagesMark } from '../core/error-pages/pages-folder.ts'
import { fileMark } from '../core/file-mark.ts'
import { systemScheduler } from '../core/scheduler.ts'
import { UnusableError } from '../core/unusable-error.ts'
import type { EchoUpstream } from '../dev/echo-upstream.ts'
import type { EmbeddedPostgres } from '../dev/embedded-postgres.ts'
import { loadRoutingFile, loadRoutingText } from '../routing/file/load-file.ts'
import type { FirstReading } from '../routing/live-routing.ts'
import { readSettings } from '../settings/settings.ts'
import type { Settings } from '../settings/values.ts'
import { createLineWriter } from '../telemetry/logging/line-writer.ts'
import { createLogger, type Logger } from '../telemetry/logging/logger.ts'
import { exampleRoutingFile } from './example-routing.ts'
import type { ServeEnvironment } from './serve-environment.ts'
import { StartError, serveAlone, serveAsWorker, serveWithWorkers } from './serving.ts'

const ECHO = { host: '127.0.0.1', port: 8001 }

interface Resources {
  postgres: EmbeddedPostgres | null
  echo: EchoUpstream | null
}

/** Runs the gateway until a signal ends it. @returns the exit code */
export async function serve(environment: ServeEnvironment): Promise<number> {
  const resources: Resources = { postgres: null, echo: null }
  try {
    return await runGateway(environment, resources)
  } catch (error) {
    const reasons = reasonsForFailedStart(error)
    if (reasons === null) throw error
    if (cluster.isWorker) {
      await reportCannotStart(reasons)
      return 2
    }
    environment.stderr.write(
      `poweron-gateway cannot start:\n${reasons.map((reason) => `  ${reason}\n`).join('')}`,
    )
    return 2
  } finally {
    await resources.echo?.close()
    await resources.postgres?.stop()
  }
}

async function runGateway(environment: ServeEnvironment, resources: Resources): Promise<number> {
  const { signals } = environment
  const read = readSettings(environment.env)
  const pages = await readErrorPages(environment)
  const problems = [...(read.ok ? [] : read.problems), ...(pages.ok ? [] : pages.problems)]
  if (!read.ok || !pages.ok) throw new StartError(problems)
  const { settings } = read
  const lines = createLineWriter({
    stdout: environment.stdout,
    scheduler: systemScheduler,
    onResume: (dropped) => log.warn({ dropped }, 'log lines were dropped because stdout was not read'),
  })
  const log = createLogger(settings.logLevel, lines)
  if (cluster.isPrimary) {
    for (const warning of read.warnings) log.warn(warning)
    for (const warning of pages.warnings) log.warn({ warning }, 'error pages have warnings')
  }
  const file = routingFile(settings, environment.cwd)
  const firstReading = await readRouting(file.path, log)

  const { databaseUrl, keySource, notices } = await provideMissing(settings, environment.cwd, resources)
  for (const notice of notices) log.warn(notice)
  const embedded = resources.postgres !== null
  if (file.isExample) resources.echo = await startEcho()
  const { firstPages } = pages
  const start = { settings, databaseUrl, keySource, file, firstReading, firstPages, log, lines, signals }
  const code = await (cluster.isWorker
    ? serveAsWorker(start, environment)
    : settings.workers > 1
      ? serveWithWorkers(start, environment, embedded)
      : serveAlone(start, environment, embedded))
  await lines.close()
  return code
}

/** Outside production, a start without a routing file serves the example. */
function routingFile(
  settings: Settings,
  cwd: string,
): { readonly path: string; readonly isExample: boolean } {
  const path = resolve(cwd, settings.upstreamsFile)
  const isExample = !settings.production && !settings.upstreamsFileGiven && !existsSync(path)
  return isExample ? { path: exampleRoutingFile(cwd), isExample } : { path, isExample }
}

/**
 * Reads the routing file. If the file on disk is unusable, a worker that replaces a dead one gets the routing of the
 * other workers.
 *
 * @throws StartError
 */
async function readRouting(path: string, log: Logger): Promise<FirstReading> {
  const mark = await fileMark(path)
  const loaded = await loadRoutingFile({ path, regular: true })
  if (loaded.ok) {
    if (cluster.isPrimary)
      for (const warning of loaded.warnings) log.warn({ file: path, warning }, 'routing file has warnings')
    return { ...loaded, mark, loadedAt: Date.now(), problems: [] }
  }
  const others = cluster.isWorker ? await requestInForce('routing') : null
  const kept = others === null ? null : loadRoutingText(others.text, { path })
  if (others === null || !kept?.ok) throw new StartError(loaded.problems)
  return { ...kept, mark, loadedAt: others.loadedAt, problems: loaded.problems }
}

type ReadPages =
  | { readonly ok: true; readonly firstPages: FirstPages | null; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly problems: readonly string[] }

/** Reads ERROR_PAGES_DIR, where it is set. A worker that replaces a dead one gets the pages of the others as well. */
async function readErrorPages({ env, cwd }: ServeEnvironment): Promise<ReadPages> {
  if (!env.ERROR_PAGES_DIR) return { ok: true, firstPages: null, warnings: [] }
  const folder = resolve(cwd, env.ERROR_PAGES_DIR)
  const mark = await pagesMark(folder)
  const loaded = await loadErrorPages(folder)
  if (loaded.ok) {
    const firstPages = { folder, mark, texts: loaded.texts, loadedAt: Date.now(), problems: [] }
    return { ok: true, firstPages, warnings: loaded.warnings }
  }
  const others = cluster.isWorker ? await requestInForce('errorPages') : null
  if (others === null) return loaded
  return { ok: true, firstPages: { folder, mark, ...others, problems: loaded.problems }, warnings: [] }
}

async function provideMissing(settings: Settings, cwd: string, resources: Resources) {
  const { databaseUrl, keySource } = settings
  if (databaseUrl !== null && keySource !== null) return { databaseUrl, keySource, notices: [] }
  // This is outside production, since in production the settings require both.
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
      `the echo backend of the first try cannot listen on ${ECHO.host}:${ECHO.port} (${codeOf(error)}); expected a free port, or an upstreams.json of your own`,
    ])
  }
}

/** Why the gateway cannot start; null where neither the settings nor the machine but a defect is the cause. */
function reasonsForFailedStart(error: unknown): readonly string[] | null {
  if (error instanceof UnusableError) return error.reasons
  if (!(error instanceof Error)) return null
  if ('syscall' in error && (error.syscall === 'getaddrinfo' || codeOf(error) === 'EADDRNOTAVAIL')) {
    const { hostname, address } = error as { hostname?: string; address?: string }
    return [
      `cannot listen on ${JSON.stringify(hostname ?? address)} (${codeOf(error)}); expected an address of this machine: set HOST or ADMIN_HOST`,
    ]
  }
  // The primary binds for its workers; there the failed call is `bind`.
  if ('syscall' in error && (error.syscall === 'listen' || error.syscall === 'bind')) {
    const { address, port } = error as { address?: string; port?: number }
    return [
      `cannot listen on ${address}:${port} (${codeOf(error)}); expected a free port: set PORT, ADMIN_PORT or HTTP_REDIRECT_PORT`,
    ]
  }
  return null
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
