import type { LookupFunction } from 'node:net'
import postgres from 'postgres'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress } from './address.ts'
import { cancelAndClose, closeConnection } from './connection-closing.ts'
import { asDatabaseError, DatabaseError, deadlineError, fencedError } from './database-error.ts'
import { createHostList, type HostMark } from './host-list.ts'
import { createIdleConnections } from './idle-connections.ts'
import { createPendingQueue } from './pending-queue.ts'
import { openEntry, type PoolEntry, type PooledConnection } from './pool-entry.ts'
import { createSessionBounds } from './session-bounds.ts'
import { createTimelineFence } from './timeline-fence.ts'

/**
 * A few connections. The server holds no more of them than the pool may open: a place is free again when the server has
 * closed its side, not when this side has. docs/database.md lists the exceptions.
 */
export interface Pool {
  /** How many connections have led to a primary so far. */
  readonly opened: number
  /**
   * A connection for this caller alone: the one that was used last, or a new one. Where all are busy the callers wait,
   * first come, first served.
   *
   * @param deadlineMs how long to wait @throws DatabaseError
   */
  acquire(deadlineMs: number): PooledConnection | Promise<PooledConnection>
  release(connection: PooledConnection): void
  /**
   * Closes a connection that failed or did not answer in time, and all idle ones to the same server. A server that was
   * frozen may have been replaced meanwhile, so that its old connections are not used again when it goes on.
   *
   * @param statement settles with the statement that is still under way, and that is cancelled; null where there is none
   */
  discard(connection: PooledConnection, statement: Promise<unknown> | null): void
  close(): Promise<void>
}

export interface PoolOptions {
  readonly address: DatabaseAddress
  readonly connections: number
  readonly prepare: boolean
  readonly applicationName: string
  /** The server's own limit for a statement, in milliseconds, in case a cancel request is lost. */
  readonly statementTimeoutMs: number
  readonly scheduler: Scheduler
  readonly lookup?: LookupFunction | undefined
  readonly onNotification?: ((payload: string) => void) | undefined
  /** An open connection is gone, for whatever reason. */
  readonly onLost?: (() => void) | undefined
}

/** How long statements under way may go on when the pool is closed. */
const CLOSE_TIMEOUT_MS = 1000

/**
 * How long ended connections still count after another one to the same address was answered. They lead to a server that
 * was replaced, and that will not close them.
 */
const FORGET_REPLACED_MS = 10_000

/** While other connections work, a server that refuses another one is tried again after this time. */
const REFUSED_PAUSE_MS = 500

export function createPool(options: PoolOptions): Pool {
  const { address, scheduler } = options
  const severalHosts = address.hosts.length > 1
  const entries = new Set<PoolEntry>()
  const idle = createIdleConnections<PoolEntry>(scheduler, (entry) => closeEntry(entry, 'closeWhenIdle'))
  const pending = createPendingQueue<PoolEntry>(scheduler)
  const bounds = createSessionBounds(options.statementTimeoutMs)
  const fence = createTimelineFence()
  const hosts = createHostList({
    address,
    scheduler,
    lookup: options.lookup,
    onAnswer: openForPending,
    onPauseOver(answered) {
      extraPlace ||= answered && isFullOfClosing()
      openForPending()
    },
  })
  let opened = 0
  let closed = false
  /** One connection above the maximum, because a dead server may never close those that occupy all places. */
  let extraPlace = false
  let mayOpenAt = 0
  let cancelRetry: (() => void) | null = null

  const entriesInUse = () => [...entries].filter(hosts.isInUse)

  /** Whether connections that were ended, and that the server may still hold, take all places. */
  function isFullOfClosing(): boolean {
    const taken = entriesInUse()
    return taken.length >= options.connections && taken.every(({ state }) => state === 'closing')
  }

  function closeEntry(entry: PoolEntry, how: 'closeWhenIdle' | 'halfClose'): void {
    entry.state = 'closing'
    closeConnection(entry.connection, how, scheduler)
  }

  /** Opens as many connections as callers wait for, within the bound. */
  function openForPending(): void {
    while (!closed && pending.length > 0) {
      const taken = entriesInUse()
      const opening = taken.filter(({ state }) => state === 'opening').length
      if (opening >= pending.length) return
      const waitMs = mayOpenAt - scheduler.now()
      if (waitMs > 0) {
        retryAfter(waitMs)
        return
      }
      const isFree = taken.length < options.connections + (extraPlace ? 1 : 0)
      if (isFree && !hosts.isCurrentSilent) open()
      else {
        if (isFree || isFullOfClosing()) hosts.probeCurrent()
        return
      }
    }
  }

  function retryAfter(ms: number): void {
    cancelRetry ??= scheduler.after(ms, () => {
      cancelRetry = null
      openForPending()
    })
  }

  function open(): void {
    const entry = openEntry({
      connection: {
        address,
        host: hosts.currentHost,
        prepare: options.prepare,
        applicationName: options.applicationName,
        bounds: bounds.settings,
        lookup: options.lookup,
        onNotification: options.onNotification,
      },
      mark: hosts.current,
      scheduler,
      onReady,
      onFailed: onOpenFailed,
      onClosed,
    })
    entries.add(entry)
  }

  function onReady(entry: PoolEntry): void {
    if (entry.state !== 'opening') return
    if (fence.isFenced(entry.connection.timeline)) {
      onOpenFailed(entry, asDatabaseError(fencedError(), { wasReady: false, severalHosts }))
      return
    }
    opened++
    if (extraPlace) forgetReplaced(entry.host)
    makeAvailable(entry)
  }

  /** Closes a connection that was not ready in time, or that the server refused. */
  function onOpenFailed(entry: PoolEntry, error: DatabaseError): void {
    if (entry.state !== 'opening') return
    const { refusedSetting } = entry.connection
    // A server that refuses a connection is there, so its other connections stay in use.
    const refused = error.cause instanceof postgres.PostgresError
    const othersWork = entriesInUse().some((other) => other.state === 'busy' && !hosts.hasFailedSince(other))
    const outdated = hosts.hasFailedSince(entry)
    closeEntry(entry, 'halfClose')
    if (refusedSetting !== null) bounds.drop(refusedSetting)
    else if (!outdated && refused && othersWork) mayOpenAt = scheduler.now() + REFUSED_PAUSE_MS
    else if (!outdated) {
      onHostFailed(entry, error.code === 'DEADLINE')
      pending.rejectAll(error)
    }
    openForPending()
  }

  function onHostFailed({ host }: HostMark, isSilent: boolean): void {
    // All idle connections lead to the host in use.
    if (hosts.recordFailure(host, isSilent))
      for (const entry of idle.takeAll()) closeEntry(entry, 'closeWhenIdle')
  }

  function onClosed(entry: PoolEntry): void {
    const { state } = entry
    entries.delete(entry)
    // The reason why it could not be opened is about to be known.
    if (state === 'opening') return
    if (state === 'idle') idle.delete(entry)
    entry.state = 'closing'
    // It ended in the middle of a statement, so its server may have died.
    if (state === 'busy' && !hosts.hasFailedSince(entry)) onHostFailed(entry, false)
    if (entriesInUse().length < options.connections) extraPlace = false
    if (state === 'idle' || state === 'busy') options.onLost?.()
    openForPending()
  }

  /** Gives a free connection to the caller that has waited longest, or keeps it. */
  function makeAvailable(entry: PoolEntry): void {
    if (closed || !hosts.isInUse(entry) || hosts.hasFailedSince(entry)) {
      closeEntry(entry, 'closeWhenIdle')
      openForPending()
      return
    }
    entry.state = 'busy'
    if (pending.resolveNext(entry)) return
    entry.state = 'idle'
    idle.add(entry)
  }

  function forgetReplaced(host: number): void {
    const replaced = [...entries].filter((entry) => entry.host === host && entry.state === 'closing')
    scheduler.after(FORGET_REPLACED_MS, () => {
      for (const entry of replaced) if (entries.has(entry)) entry.connection.destroy()
    })
  }

  function timeoutError(deadlineMs: number): DatabaseError {
    if (!entriesInUse().some(({ state }) => state === 'busy')) return deadlineError(deadlineMs)
    return new DatabaseError('BUSY', `no connection became free within ${Math.round(deadlineMs)} ms`, {
      stale: false,
    })
  }

  return {
    get opened() {
      return opened
    },
    acquire(deadlineMs) {
      if (closed) throw closedError()
      const entry = idle.take()
      if (entry !== undefined) {
        entry.state = 'busy'
        return entry
      }
      const acquired = pending.wait(deadlineMs, () => timeoutError(deadlineMs))
      openForPending()
      return acquired
    },
    release(connection) {
      const entry = connection as PoolEntry
      if (entry.state === 'busy') makeAvailable(entry)
    },
    discard(connection, statement) {
      const entry = connection as PoolEntry
      if (entry.state !== 'busy') return
      if (!hosts.hasFailedSince(entry)) onHostFailed(entry, statement !== null)
      if (statement === null) closeEntry(entry, 'closeWhenIdle')
      else {
        entry.state = 'closing'
        cancelAndClose(entry.connection, statement, scheduler)
      }
      openForPending()
    },
    async close() {
      closed = true
      hosts.stop()
      cancelRetry?.()
      idle.stop()
      pending.rejectAll(closedError())
      const open = [...entries]
      for (const entry of open)
        if (entry.state !== 'busy') closeEntry(entry, entry.state === 'idle' ? 'closeWhenIdle' : 'halfClose')
      const timeout = Promise.withResolvers<void>()
      const timer = setTimeout(timeout.resolve, CLOSE_TIMEOUT_MS)
      await Promise.race([Promise.all(open.map(({ connection }) => connection.closed)), timeout.promise])
      clearTimeout(timer)
      for (const { connection } of open) connection.destroy()
    },
  }
}

function closedError(): DatabaseError {
  return new DatabaseError('CLOSED', 'the database connections are closed', { stale: false })
}
