import { createHash } from 'node:crypto'
import { watchFile } from '../core/file-watch.ts'
import type { Log } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { CookieNames } from '../http/cookies.ts'
import type { OwnPaths } from '../http/own-paths.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import type { Target } from '../upstreams/target.ts'
import { tlsFiles } from '../upstreams/transport/target-address.ts'
import type { Transport } from '../upstreams/transport/transport.ts'
import { createUpstream, type Upstream } from '../upstreams/upstream.ts'
import { loadRoutingFile } from './file/load-file.ts'
import type { RoutingConfig, UpstreamConfig } from './file/routing-file.ts'
import { createSnapshot, type Snapshot } from './snapshot.ts'

/** The routing in force. Follows the changes of its file. */
export interface LiveRouting {
  current(): Snapshot
  /** The result of the last reading of the file. */
  readonly status: RoutingStatus
  /** The last good content of the file. A new worker starts with it where the file has become unusable. */
  readonly inForce: RoutingInForce
  /** Reads the file again, even if it is unchanged. Never rejects; an unusable file leaves the last good one in force. */
  reload(): Promise<void>
  close(): Promise<void>
}

/** The last good content of the routing file. */
export interface RoutingInForce {
  readonly text: string
  /** When it was read, milliseconds since the epoch. */
  readonly loadedAt: number
}

/** The reading of the routing file with which a process starts. */
export interface FirstReading extends RoutingInForce {
  readonly config: RoutingConfig
  /** Why the file's present content is unusable, so that an earlier one is used; empty where it is usable. */
  readonly problems: readonly string[]
  /** The file's mark (core/file-mark.ts) from before it was read, so that a change during the start is not missed. */
  readonly mark: string
}

export interface RoutingStatus {
  readonly file: string
  /** When the file in force was read, milliseconds since the epoch. */
  readonly loadedAt: number
  /** When it was last read, whether or not it was usable; milliseconds since the epoch. */
  readonly readAt: number
  /** Why the last reading failed; empty where it was good. */
  readonly problems: readonly string[]
}

export interface LiveRoutingParts {
  readonly file: string
  readonly cookies: CookieNames
  /** `Strict-Transport-Security` for clients that speak HTTPS; null where it is not set. */
  readonly hsts: string | null
  /** Routes for these are never reached. */
  readonly ownPaths: OwnPaths
  /** True where SESSION_ENDPOINTS is on. */
  readonly sessionEndpoints: boolean
  readonly metrics: Metrics
  readonly scheduler: Scheduler
  readonly transport: Transport
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

const WATCH_MS = 250

/** The log and the status page list no more problems than this, since a generated file may have thousands. */
const MAX_REPORTED_PROBLEMS = 100

/** A request that was matched against the old file may still wait for its token look-up before it acquires a target. */
const RETIRE_AFTER_MS = 10_000

export function createLiveRouting(first: FirstReading, parts: LiveRoutingParts): LiveRouting {
  const { metrics, scheduler, log } = parts
  let connectionKeys: ReadonlyMap<string, string> = new Map()
  let snapshot = buildSnapshot(first.config, null)
  let { text } = first
  let status: RoutingStatus = { ...newStatus(), loadedAt: first.loadedAt }
  /** Upstreams of earlier files that are still needed for exchanges that began with them. */
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
  if (first.problems.length > 0) recordFailure(first.problems)

  function newStatus(): RoutingStatus {
    const at = parts.wallClock()
    return { file: parts.file, loadedAt: at, readAt: at, problems: [] }
  }

  function buildSnapshot(next: RoutingConfig, before: Snapshot | null): Snapshot {
    // Reads the TLS files. If one has become unreadable this throws before any upstream is created.
    const keys = new Map([...next.upstreams].map(([name, upstream]) => [name, connectionKey(upstream)]))
    const upstreams = new Map<string, Upstream>()
    try {
      for (const [name, upstream] of next.upstreams) {
        const previousTarget = (url: string) =>
          before?.upstreams.get(name)?.targets.find((target) => target.url === url)
        const isSame = connectionKeys.get(name) === keys.get(name)
        upstreams.set(
          name,
          createUpstream(name, upstream, {
            metrics,
            scheduler,
            transport: parts.transport,
            random: parts.random,
            existing: (url) => (isSame ? previousTarget(url) : undefined),
            healthOf: (url) => previousTarget(url)?.health,
            onTargetChange: logTargetChange,
          }),
        )
      }
    } catch (error) {
      for (const upstream of upstreams.values()) upstream.stop()
      throw error
    }
    connectionKeys = keys
    for (const { label, path, refresh } of next.routes) {
      // A warning, not an error: the file itself is valid, `check` cannot know the setting, and no request is admitted by it.
      if (refresh === 'auto' && !parts.sessionEndpoints)
        log.warn({ route: label }, 'the route\'s "refresh" does nothing: SESSION_ENDPOINTS is off')
      if (parts.ownPaths.has(path))
        log.warn({ route: label }, 'the route is never reached: the gateway answers its path itself')
    }
    return createSnapshot(next, { upstreams, cookies: parts.cookies, metrics, hsts: parts.hsts })
  }

  function logTargetChange(upstream: string, target: Target, up: boolean, reason: string): void {
    const fields = { upstream, target: target.url, reason }
    if (up) log.info(fields, 'the target is up')
    else log.warn(fields, 'the target is down')
  }

  /** Puts a new file in force for all further requests. Exchanges under way keep the routes they began with. */
  function swap(next: RoutingConfig): void {
    const before = snapshot
    snapshot = buildSnapshot(next, before)
    for (const upstream of before.upstreams.values()) {
      upstream.stop()
      retired.add(upstream)
    }
    closeUnusedLater([...before.upstreams.values()])
    metrics.pruneTargets(
      (name, url) => snapshot.upstreams.get(name)?.targets.some((target) => target.url === url) ?? false,
    )
  }

  function targetsInUse(): Set<Target> {
    return new Set([...snapshot.upstreams.values(), ...retired].flatMap(({ targets }) => targets))
  }

  /** Closes the targets that are no longer in the file, once the exchanges that began with them have ended. */
  function closeUnusedLater(upstreams: readonly Upstream[]): void {
    scheduler.after(RETIRE_AFTER_MS, () => {
      const done = upstreams.filter(({ open }) => open === 0)
      for (const upstream of done) retired.delete(upstream)
      const kept = targetsInUse()
      const gone = new Set(done.flatMap(({ targets }) => targets).filter((target) => !kept.has(target)))
      for (const target of gone) void target.close()
      if (done.length < upstreams.length)
        closeUnusedLater(upstreams.filter((upstream) => retired.has(upstream)))
    })
  }

  async function read(): Promise<void> {
    const loaded = await loadRoutingFile({ path: parts.file, regular: true })
    if (closed) return
    if (!loaded.ok) return recordFailure(loaded.problems)
    try {
      swap(loaded.config)
    } catch (error) {
      // A TLS file that the routing file names was removed after the check.
      return recordFailure([`${parts.file}: cannot be put in force (${String(error)})`])
    }
    text = loaded.text
    status = newStatus()
    metrics.reloadSuccess.value++
    metrics.lastReloadSuccessful.value = 1
    metrics.lastReloadSuccessTime.value = status.loadedAt / 1000
    for (const warning of loaded.warnings)
      log.warn({ file: parts.file, warning }, 'routing file has warnings')
    log.info({ file: parts.file, routes: loaded.config.routes.length }, 'the routing file was read')
  }

  function recordFailure(all: readonly string[]): void {
    const problems =
      all.length <= MAX_REPORTED_PROBLEMS
        ? all
        : [
            ...all.slice(0, MAX_REPORTED_PROBLEMS),
            `and ${all.length - MAX_REPORTED_PROBLEMS} more, which the command check lists`,
          ]
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
      await Promise.all([...targetsInUse()].map((target) => target.close()))
    },
  }
}

/**
 * Equal where connections to the targets are made with the same settings, so that existing ones can be used further.
 * The content of TLS files counts as well, because certificates are renewed under the same file name.
 */
function connectionKey({ timeouts, tls, protocol }: UpstreamConfig): string {
  const files = Object.values(tlsFiles(tls ?? null)).map((file) =>
    createHash('sha256').update(file).digest('hex'),
  )
  return JSON.stringify([timeouts, tls ?? null, files, protocol])
}
