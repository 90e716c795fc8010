import { createHash } from 'node:crypto'
import type { LookupFunction } from 'node:net'
import { watchFile } from '../core/file-watch.ts'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { CookieNames } from '../http/cookies.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import type { Target } from '../upstreams/target.ts'
import { tlsFiles } from '../upstreams/transport/dispatcher.ts'
import { createUpstream, type Upstream } from '../upstreams/upstream.ts'
import { isBelowGatewayPath } from './file/file-warnings.ts'
import { loadRoutingFile } from './file/load-file.ts'
import type { RoutingConfig, UpstreamConfig } from './file/routing-file.ts'
import { createSnapshot, type Snapshot } from './snapshot.ts'

/** The routing in force, kept up with its file. */
export interface LiveRouting {
  current(): Snapshot
  /** The last reading of the file. */
  readonly status: RoutingStatus
  /** What another process can begin with where the file has become bad. */
  readonly inForce: RoutingInForce
  /** Reads the file again, changed or not. Never rejects: a bad file leaves the last good one in force. */
  reload(): Promise<void>
  close(): Promise<void>
}

/** The content of the routing file that was good last. */
export interface RoutingInForce {
  readonly text: string
  /** When it was read, milliseconds since the epoch. */
  readonly loadedAt: number
}

/** What routing begins with. */
export interface FirstReading extends RoutingInForce {
  readonly config: RoutingConfig
  /** Why it is not what the file says now; empty where it is. */
  readonly problems: readonly string[]
  /** The file's mark (core/file-mark.ts) from before it was read: what is written while a process starts must not be missed. */
  readonly mark: string
}

export interface RoutingStatus {
  readonly file: string
  /** When the file in force was read, milliseconds since the epoch. */
  readonly loadedAt: number
  /** When it was last read, whatever came of it. */
  readonly readAt: number
  /** Why the last reading failed; empty where it was good. */
  readonly problems: readonly string[]
}

export interface LiveRoutingParts {
  readonly file: string
  readonly cookies: CookieNames
  /** `Strict-Transport-Security` for clients that speak HTTPS; null where it is not set. */
  readonly hsts: string | null
  /** Prefix of the gateway's own endpoints: routes below it are never reached. */
  readonly gatewayPath: string
  /** SESSION_ENDPOINTS. */
  readonly sessionEndpoints: boolean
  readonly metrics: Metrics
  readonly scheduler: Scheduler
  /** How the targets' names become addresses. */
  readonly lookup: LookupFunction
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

const WATCH_MS = 250

/** Problems of a file that the log and the status page repeat: a generated one may have thousands. */
const TOLD_PROBLEMS = 100

/** A request that was matched by the old file may still be on its way to be admitted, and to take a target. */
const RETIRE_AFTER_MS = 10_000

export function createLiveRouting(first: FirstReading, parts: LiveRoutingParts): LiveRouting {
  const { metrics, scheduler, log } = parts
  let connectionKeys: ReadonlyMap<string, string> = new Map()
  let snapshot = build(first.config, null)
  let { text } = first
  let status: RoutingStatus = { ...goodReading(), loadedAt: first.loadedAt }
  /** Those of files before, for the exchanges that began with them. */
  const retired = new Set<Upstream>()
  let closed = false
  const watch = watchFile({
    path: parts.file,
    mark: first.mark,
    intervalMs: WATCH_MS,
    waitUntilStable: true,
    scheduler,
    read,
  })
  metrics.lastReloadSuccessful.value = 1
  metrics.lastReloadSuccessTime.value = status.loadedAt / 1000
  if (first.problems.length > 0) failed(first.problems)

  function goodReading(): RoutingStatus {
    const at = parts.wallClock()
    return { file: parts.file, loadedAt: at, readAt: at, problems: [] }
  }

  function build(next: RoutingConfig, before: Snapshot | null): Snapshot {
    // A file that cannot be read any more is found before anything is made.
    const keys = new Map([...next.upstreams].map(([name, upstream]) => [name, connectionKey(upstream)]))
    const upstreams = new Map<string, Upstream>()
    try {
      for (const [name, upstream] of next.upstreams) {
        const targetOf = (url: string) =>
          before?.upstreams.get(name)?.targets.find((target) => target.url === url)
        const isSame = connectionKeys.get(name) === keys.get(name)
        upstreams.set(
          name,
          createUpstream(name, upstream, {
            metrics,
            scheduler,
            lookup: parts.lookup,
            random: parts.random,
            existing: (url) => (isSame ? targetOf(url) : undefined),
            healthOf: (url) => targetOf(url)?.health,
            onTargetChange: tell,
          }),
        )
      }
    } catch (error) {
      for (const upstream of upstreams.values()) upstream.stop()
      throw error
    }
    connectionKeys = keys
    for (const { label, path, refresh } of next.routes) {
      // No error: the file is as good without the setting, which `check` cannot know, and nobody is let in by it.
      if (refresh === 'auto' && !parts.sessionEndpoints)
        log.warn({ route: label }, 'the route\'s "refresh" does nothing: SESSION_ENDPOINTS is off')
      if (!isBelowGatewayPath(path, parts.gatewayPath)) continue
      log.warn(
        { route: label, gatewayPath: parts.gatewayPath },
        'the route is never reached: its path is below GATEWAY_PATH',
      )
    }
    return createSnapshot(next, { upstreams, cookies: parts.cookies, metrics, hsts: parts.hsts })
  }

  function tell(upstream: string, target: Target, up: boolean, reason: string): void {
    const fields = { upstream, target: target.url, reason }
    if (up) log.info(fields, 'the target is up')
    else log.warn(fields, 'the target is down')
  }

  /** Between two requests: from here on the new file routes; exchanges under way keep what they started with. */
  function swap(next: RoutingConfig): void {
    const before = snapshot
    snapshot = build(next, before)
    for (const upstream of before.upstreams.values()) {
      upstream.stop()
      retired.add(upstream)
    }
    retire([...before.upstreams.values()])
    metrics.pruneTargets(
      (name, url) => snapshot.upstreams.get(name)?.targets.some((target) => target.url === url) ?? false,
    )
  }

  function inUse(): Set<Target> {
    return new Set([...snapshot.upstreams.values(), ...retired].flatMap(({ targets }) => targets))
  }

  /** Closes the targets that nobody has any more once the exchanges that began with them are over. */
  function retire(upstreams: readonly Upstream[]): void {
    scheduler.after(RETIRE_AFTER_MS, () => {
      const done = upstreams.filter(({ open }) => open === 0)
      for (const upstream of done) retired.delete(upstream)
      const kept = inUse()
      const gone = new Set(done.flatMap(({ targets }) => targets).filter((target) => !kept.has(target)))
      for (const target of gone) void target.close()
      if (done.length < upstreams.length) retire(upstreams.filter((upstream) => retired.has(upstream)))
    })
  }

  async function read(): Promise<void> {
    const loaded = await loadRoutingFile({ path: parts.file, regular: true })
    if (closed) return
    if (!loaded.ok) return failed(loaded.problems)
    try {
      swap(loaded.config)
    } catch (error) {
      // A file that it names was there a moment ago.
      return failed([`${parts.file}: cannot be put in force (${String(error)})`])
    }
    text = loaded.text
    status = goodReading()
    metrics.reloadSuccess.value++
    metrics.lastReloadSuccessful.value = 1
    metrics.lastReloadSuccessTime.value = status.loadedAt / 1000
    for (const warning of loaded.warnings) log.warn({ file: parts.file, warning }, 'routing file has warnings')
    log.info({ file: parts.file, routes: loaded.config.routes.length }, 'the routing file was read')
  }

  function failed(all: readonly string[]): void {
    const problems =
      all.length <= TOLD_PROBLEMS
        ? all
        : [...all.slice(0, TOLD_PROBLEMS), `and ${all.length - TOLD_PROBLEMS} more, which check tells`]
    metrics.reloadFailure.value++
    metrics.lastReloadSuccessful.value = 0
    status = { ...status, readAt: parts.wallClock(), problems }
    log.error(
      { file: parts.file, problems },
      'the routing file is not usable; the last good one stays in force',
    )
  }

  return {
    current: () => snapshot,
    get status() {
      return status
    },
    get inForce() {
      return { text, loadedAt: status.loadedAt }
    },
    reload: () => watch.reload(),
    async close() {
      closed = true
      watch.stop()
      for (const upstream of snapshot.upstreams.values()) upstream.stop()
      await Promise.all([...inUse()].map((target) => target.close()))
    },
  }
}

/**
 * A target is the same where everything that its connections were made with is; certificates are renewed under
 * the same file name.
 */
function connectionKey({ timeouts, tls, protocol, maxConnections }: UpstreamConfig): string {
  const files = Object.values(tlsFiles(tls ?? null)).map((file) =>
    createHash('sha256').update(file).digest('hex'),
  )
  return JSON.stringify([timeouts, tls ?? null, files, protocol, maxConnections])
}
