import postgres from 'postgres'
import { awaitClosed, cancelAndClose, closeConnection } from './connection-closing.ts'
import {
  asDatabaseError,
  busyError,
  closedError,
  type DatabaseError,
  deadlineError,
  fencedError,
} from './database-error.ts'
import { createHostList, type HostMark } from './host-list.ts'
import { createIdleConnections } from './idle-connections.ts'
import { createPendingQueue } from './pending-queue.ts'
import { openEntry, type PoolEntry, type PooledConnection } from './pool-entry.ts'
import type { PoolOptions } from './pool-options.ts'
import { createSessionBounds } from './session-bounds.ts'

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
  const { address, scheduler, fence } = options
  const severalHosts = address.hosts.length > 1
  const entries = new Set<PoolEntry>()
  const idle = createIdleConnections<PoolEntry>(scheduler, (entry) => closeEntry(entry, 'closeWhenIdle'))
  const pending = createPendingQueue<PoolEntry>(scheduler)
  const bounds = createSessionBounds(options.statementTimeoutMs)
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
  const stopLeaving = fence.onNewer(leaveFenced)

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
        anyServer: options.anyServer,
        onNotification: options.onNotification,
      },
      mark: hosts.current,
      scheduler,
      fence,
      onReady,
      onFailed: onOpenFailed,
      onClosed,
    })
    entries.add(entry)
  }

  function onReady(entry: PoolEntry): void {
    if (entry.state !== 'opening') return
    fence.note(entry.timeline)
    if (fence.isFenced(entry.timeline)) {
      fence.countRefused()
      onOpenFailed(entry, asDatabaseError(fencedError(false), { wasReady: false, severalHosts }))
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

  /** Leaves a server that was replaced before the next caller is given a connection to it. */
  function leaveFenced(): void {
    const fenced = [...entries].filter(({ state, timeline }) => state === 'idle' && fence.isFenced(timeline))
    for (const entry of fenced) {
      idle.delete(entry)
      closeEntry(entry, 'closeWhenIdle')
    }
    const [first] = fenced
    if (first === undefined) return
    if (severalHosts && !hosts.hasFailedSince(first)) onHostFailed(first, false)
    options.onLost?.()
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
    const fenced = fence.isFenced(entry.timeline)
    if (fenced && severalHosts && !hosts.hasFailedSince(entry)) onHostFailed(entry, false)
    if (closed || fenced || !hosts.isInUse(entry) || hosts.hasFailedSince(entry)) {
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
    const busy = entriesInUse().some(({ state }) => state === 'busy')
    return busy ? busyError(deadlineMs) : deadlineError(deadlineMs)
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
      stopLeaving()
      hosts.stop()
      cancelRetry?.()
      idle.stop()
      pending.rejectAll(closedError())
      const open = [...entries]
      for (const entry of open)
        if (entry.state !== 'busy') closeEntry(entry, entry.state === 'idle' ? 'closeWhenIdle' : 'halfClose')
      await awaitClosed(
        open.map(({ connection }) => connection),
        CLOSE_TIMEOUT_MS,
      )
    },
  }
}
