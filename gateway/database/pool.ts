import type { LookupFunction } from 'node:net'
import postgres from 'postgres'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress } from './address.ts'
import { limitOpening, SILENCE_MS } from './connect-timeout.ts'
import { openConnection, type ServerConnection } from './connection.ts'
import { cancelAndEnd, endConnection } from './connection-closing.ts'
import { asDatabaseError, DatabaseError, deadlinePassed, isOlder } from './database-error.ts'
import { createKnocking } from './host-probe.ts'
import { createWaiting } from './pending-queue.ts'
import { createSessionBounds } from './session-bounds.ts'
import { createTimelineFence } from './timeline-fence.ts'

/** A connection of the pool's that one statement or transaction has for itself. */
export interface PooledConnection extends Pick<ServerConnection, 'run'> {
  /** True while it may be given back. */
  readonly usable: boolean
}

/**
 * A few connections, of which the server never holds more than asked for, whatever happens: a place is free again when
 * the server has closed its side, not when this side has given up.
 */
export interface Pool {
  /** How many connections have shown themselves to lead to a primary so far. */
  readonly opened: number
  /**
   * A connection that nobody else uses, the one that was used last; opened where needed. Where all are busy the callers
   * wait in their order.
   *
   * @param deadlineMs how long to wait @throws DatabaseError
   */
  take(deadlineMs: number): PooledConnection | Promise<PooledConnection>
  giveBack(connection: PooledConnection): void
  /**
   * It did not answer in time, or failed: it is cancelled and ended, and no idle connection to that server is used again.
   * What was frozen meanwhile may have been replaced, and must not be believed when it wakes.
   *
   * @param underWay settles with the statement that is still under way, if there is one
   */
  giveUp(connection: PooledConnection, underWay: Promise<unknown> | null): void
  close(): Promise<void>
}

export interface PoolOptions {
  readonly address: DatabaseAddress
  readonly connections: number
  readonly prepare: boolean
  readonly applicationName: string
  /** The server's own limit for a statement, in milliseconds, should a cancel request be lost. */
  readonly statementTimeoutMs: number
  readonly scheduler: Scheduler
  readonly lookup?: LookupFunction | undefined
  readonly onNotification?: ((payload: string) => void) | undefined
  /** An open connection is gone, for whatever reason. */
  readonly onLost?: (() => void) | undefined
}

/** What statements under way are given when everything is closed. */
const CLOSE_MS = 1000

/** What nobody has used for this long is closed. */
const IDLE_MS = 30_000

/** The same, where another connection to that address has been answered meanwhile: they lead to another server. */
const FORGET_REPLACED_MS = 10_000

/** While others serve, a server that takes no more connections is asked for another one no more often than this. */
const REFUSED_PAUSE_MS = 500

type State = 'opening' | 'idle' | 'busy' | 'leaving'

interface Entry extends PooledConnection {
  state: State
  readonly connection: ServerConnection
  /** Which of the hosts, and how often that one had failed when it was opened. */
  readonly host: number
  readonly failures: number
  idleSince: number
}

export function createPool(options: PoolOptions): Pool {
  const { address, scheduler } = options
  const severalHosts = address.hosts.length > 1
  const entries = new Set<Entry>()
  const idle: Entry[] = []
  const waiting = createWaiting<Entry>(scheduler)
  /** How often each host has failed: what was opened before that is not used again. */
  const failures = address.hosts.map(() => 0)
  const bounds = createSessionBounds(options.statementTimeoutMs)
  const fence = createTimelineFence()
  /**
   * Hosts that did not answer in time. A connection to one is begun only after it has answered a knock: one that was begun
   * before it woke may lead to a primary that was replaced, though the address leads to another server by now.
   */
  const silent = address.hosts.map(() => false)
  let knockedAt = 0
  let host = 0
  let opened = 0
  let closed = false
  /** One connection more than allowed: where all places are taken by what a server that is gone may still hold. */
  let spare = false
  let mayOpenAt = 0
  let cancelRetry: (() => void) | null = null
  let cancelSweep: (() => void) | null = null

  const here = () => [...entries].filter((entry) => entry.host === host)

  /** Whether every place is taken by a connection that was ended and that the server may still hold. */
  function allLeaving(): boolean {
    const places = here()
    return places.length >= options.connections && places.every(({ state }) => state === 'leaving')
  }

  function end(entry: Entry, how: 'leave' | 'hangUp'): void {
    entry.state = 'leaving'
    endConnection(entry.connection, how, scheduler)
  }

  const knocking = createKnocking({
    scheduler,
    onHeard() {
      silent[knockedAt] = false
      grow()
    },
    onSilence() {
      host = (host + 1) % address.hosts.length
    },
    onOver(isThere) {
      spare ||= isThere && allLeaving()
      grow()
    },
  })

  /** Opens what the waiting need, within the bound. */
  function grow(): void {
    while (!closed && waiting.length > 0) {
      const places = here()
      const opening = places.filter(({ state }) => state === 'opening').length
      if (opening >= waiting.length) return
      const waitMs = mayOpenAt - scheduler.now()
      if (waitMs > 0) {
        retryAfter(waitMs)
        return
      }
      const isFree = places.length < options.connections + (spare ? 1 : 0)
      if (isFree && !silent[host]) open()
      else {
        if (isFree || allLeaving()) knockAtHost()
        return
      }
    }
  }

  function knockAtHost(): void {
    if (knocking.underWay) return
    knockedAt = host
    knocking.start({ host: address.hosts[host]!, tls: address.tls, lookup: options.lookup })
  }

  function retryAfter(ms: number): void {
    cancelRetry ??= scheduler.after(ms, () => {
      cancelRetry = null
      grow()
    })
  }

  function open(): void {
    const connection = openConnection({
      address,
      host: address.hosts[host]!,
      prepare: options.prepare,
      applicationName: options.applicationName,
      bounds: bounds.settings,
      lookup: options.lookup,
      onNotification: options.onNotification,
    })
    const entry: Entry = {
      state: 'opening',
      connection,
      host,
      failures: failures[host]!,
      idleSince: 0,
      run: connection.run,
      get usable() {
        return this.state === 'busy'
      },
    }
    entries.add(entry)
    const cancel = limitOpening(connection, address.connectTimeoutMs, scheduler, () =>
      openingFailed(entry, deadlinePassed(SILENCE_MS)),
    )
    connection.ready.then(
      () => {
        cancel()
        if (entry.state === 'opening') becomeReady(entry)
      },
      (error: unknown) => {
        cancel()
        openingFailed(entry, asDatabaseError(error, { proven: false, severalHosts }))
      },
    )
    void connection.closed.then(() => remove(entry))
  }

  function becomeReady(entry: Entry): void {
    if (fence.isFenced(entry.connection.timeline)) {
      openingFailed(entry, asDatabaseError(isOlder(), { proven: false, severalHosts }))
      return
    }
    opened++
    if (spare) forgetReplaced(entry.host)
    settle(entry)
  }

  /** Ends a connection that was not ready in time, or that the server refused. */
  function openingFailed(entry: Entry, error: DatabaseError): void {
    if (entry.state !== 'opening') return
    const { refusedSetting } = entry.connection
    // A server that says no is there: what else is connected to it serves on.
    const refused = error.cause instanceof postgres.PostgresError
    const others = here().some(({ state, failures: at }) => state === 'busy' && at === failures[host])
    const outdated = entry.failures !== failures[entry.host]
    end(entry, 'hangUp')
    if (refusedSetting !== null) bounds.drop(refusedSetting)
    else if (!outdated && refused && others) mayOpenAt = scheduler.now() + REFUSED_PAUSE_MS
    else if (!outdated) {
      hostFailed(entry.host, error.code === 'DEADLINE')
      waiting.refuseAll(error)
    }
    grow()
  }

  /** Only the first of several that failed there moves on; two would lead back to the same one of two hosts. */
  function hostFailed(failed: number, isSilent: boolean): void {
    failures[failed]!++
    silent[failed] ||= isSilent
    // All that are idle lead to the host in use.
    if (failed === host) for (const entry of idle.splice(0)) end(entry, 'leave')
    if (failed === host) host = (host + 1) % address.hosts.length
  }

  function remove(entry: Entry): void {
    const { state } = entry
    entries.delete(entry)
    // Why it could not be opened is about to be known.
    if (state === 'opening') return
    if (state === 'idle') idle.splice(idle.indexOf(entry), 1)
    entry.state = 'leaving'
    // It ended in the middle of a statement: that its server is as it was cannot be told.
    if (state === 'busy' && entry.failures === failures[entry.host]) hostFailed(entry.host, false)
    if (here().length < options.connections) spare = false
    if (state === 'idle' || state === 'busy') options.onLost?.()
    grow()
  }

  /** Gives a connection that is free to whoever waits longest, or keeps it. */
  function settle(entry: Entry): void {
    if (closed || entry.host !== host || entry.failures !== failures[host]) {
      end(entry, 'leave')
      grow()
      return
    }
    entry.state = 'busy'
    if (waiting.give(entry)) return
    entry.state = 'idle'
    entry.idleSince = scheduler.now()
    idle.push(entry)
    cancelSweep ??= scheduler.after(IDLE_MS, sweep)
  }

  /** The longest unused are in front. */
  function sweep(): void {
    cancelSweep = null
    const due = scheduler.now() - IDLE_MS
    while (idle.length > 0 && idle[0]!.idleSince <= due) end(idle.shift()!, 'leave')
    if (idle.length > 0) cancelSweep = scheduler.after(Math.max(1, idle[0]!.idleSince - due), sweep)
  }

  function forgetReplaced(at: number): void {
    const before = [...entries].filter((entry) => entry.host === at && entry.state === 'leaving')
    scheduler.after(FORGET_REPLACED_MS, () => {
      for (const entry of before) if (entries.has(entry)) entry.connection.destroy()
    })
  }

  function take(deadlineMs: number): Entry | Promise<Entry> {
    if (closed) throw closedError()
    const entry = idle.pop()
    if (entry !== undefined) {
      entry.state = 'busy'
      return entry
    }
    const taken = waiting.add(deadlineMs, () => waitedInVain(deadlineMs))
    grow()
    return taken
  }

  function waitedInVain(deadlineMs: number): DatabaseError {
    if (!here().some(({ state }) => state === 'busy')) return deadlinePassed(deadlineMs)
    return new DatabaseError('BUSY', `no connection became free within ${Math.round(deadlineMs)} ms`, {
      stale: false,
    })
  }

  return {
    get opened() {
      return opened
    },
    take,
    giveBack(connection) {
      const entry = connection as Entry
      if (entry.state === 'busy') settle(entry)
    },
    giveUp(connection, underWay) {
      const entry = connection as Entry
      if (entry.state !== 'busy') return
      if (entry.failures === failures[entry.host]) hostFailed(entry.host, underWay !== null)
      if (underWay === null) end(entry, 'leave')
      else {
        entry.state = 'leaving'
        cancelAndEnd(entry.connection, underWay, scheduler)
      }
      grow()
    },
    async close() {
      closed = true
      knocking.stop()
      cancelRetry?.()
      cancelSweep?.()
      waiting.refuseAll(closedError())
      const open = [...entries]
      for (const entry of open)
        if (entry.state !== 'busy') end(entry, entry.state === 'idle' ? 'leave' : 'hangUp')
      const late = Promise.withResolvers<void>()
      const timer = setTimeout(late.resolve, CLOSE_MS)
      await Promise.race([Promise.all(open.map(({ connection }) => connection.closed)), late.promise])
      clearTimeout(timer)
      for (const { connection } of open) connection.destroy()
    },
  }
}

function closedError(): DatabaseError {
  return new DatabaseError('CLOSED', 'the database connections are closed', { stale: false })
}
