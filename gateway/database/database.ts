import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress } from './address.ts'
import type { Cell, Statement } from './connection.ts'
import {
  asDatabaseError,
  DatabaseError,
  deadlineError,
  fencedError,
  replacedError,
  standbyError,
} from './database-error.ts'
import { createPool } from './pool.ts'
import type { PooledConnection } from './pool-entry.ts'
import { type Timeline, timelineNumber } from './timeline.ts'
import { createTimelineFence, type TimelineFence } from './timeline-fence.ts'
import { parseDatabaseUrl } from './url.ts'

export type { Cell, Statement } from './connection.ts'
export { DatabaseError } from './database-error.ts'

/** Runs one statement and resolves with its rows. @throws DatabaseError */
export type Query = (statement: Statement) => Promise<Cell[][]>

/** A few connections, each of which carries one query at a time. */
export interface Database {
  /** Servers that the URL names. */
  readonly hosts: number
  /** How many connections have been opened so far. A new one may lead to another server, or to a changed table. */
  readonly connectionsOpened: number
  /**
   * Runs one statement on a free connection, and opens one where needed; where all are busy it waits. At the deadline the
   * statement is cancelled at the server, and its connection closed.
   *
   * @param deadlineMs from the call to the answer
   * @throws DatabaseError
   */
  query(statement: Statement, deadlineMs: number): Promise<Cell[][]>
  /**
   * Runs `task` in one transaction in which each statement sees what was committed before it (READ COMMITTED).
   * Nothing is committed where the task throws, or where the deadline passes before COMMIT is sent.
   *
   * @param deadlineMs from the call to the answer to COMMIT
   * @throws DatabaseError, and what `task` throws
   */
  transaction<T>(task: (query: Query) => Promise<T>, deadlineMs: number): Promise<T>
  close(): Promise<void>
}

export interface DatabaseOptions {
  readonly url: string
  readonly connections: number
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly scheduler: Scheduler
  /** Shared by all that are to refuse the same servers; one of its own where absent. */
  readonly fence?: TimelineFence
  /** Appended to the application name that the server shows for the connections; nothing where absent. */
  readonly purpose?: 'sessions' | 'listen' | 'look'
  /** True where the servers may be standbys or old primaries. */
  readonly anyServer?: boolean
  /** The longest deadline in use, milliseconds. The server itself ends a statement that takes longer. */
  readonly statementTimeoutMs?: number
  /** Resolves the hosts' names; Node's own where absent. */
  readonly lookup?: LookupFunction
  /** Called with the payload of each notification on a channel for which LISTEN was sent. */
  readonly onNotification?: (payload: string) => void
  /** Called when an open connection is gone. */
  readonly onLost?: () => void
}

const APPLICATION = 'poweron-gateway'

/** The server's limit for a statement, where no longest deadline is given. */
const DEFAULT_STATEMENT_TIMEOUT_MS = 10_000

/** How much longer the server's own limit is than the deadline, so that the cancel request comes first. */
const CANCEL_MARGIN_MS = 250

const statement = (text: string): Statement => ({ text, parameters: [] })
const BEGIN = statement('begin isolation level read committed')
const COMMIT = statement('commit')
const ROLLBACK = statement('rollback')

/** Opens connections as they are needed. One that fails is closed, and the next query opens another. */
export function createDatabase(options: DatabaseOptions): Database {
  return openDatabase(parseDatabaseUrl(options.url), options)
}

export function openDatabase(address: DatabaseAddress, options: Omit<DatabaseOptions, 'url'>): Database {
  const { scheduler, purpose, fence = createTimelineFence() } = options
  const severalHosts = address.hosts.length > 1
  const name = address.applicationName ?? APPLICATION
  const pool = createPool({
    address,
    connections: options.connections,
    prepare: options.prepare,
    applicationName: purpose === undefined ? name : `${name}-${purpose}`,
    statementTimeoutMs: (options.statementTimeoutMs ?? DEFAULT_STATEMENT_TIMEOUT_MS) + CANCEL_MARGIN_MS,
    scheduler,
    fence,
    anyServer: options.anyServer,
    lookup: options.lookup,
    onNotification: options.onNotification,
    onLost: options.onLost,
  })

  async function run(
    connection: PooledConnection,
    { primaryOnly, ...statement }: Statement,
    deadlineMs: number,
  ): Promise<Cell[][]> {
    const deadline = Promise.withResolvers<never>()
    const cancel = scheduler.after(deadlineMs, () => deadline.reject(deadlineError(deadlineMs)))
    const query = connection.run(statement)
    // The loser of the race must not become an unhandled rejection.
    query.catch(() => {})
    try {
      const rows = await Promise.race([query, deadline.promise])
      // A newer timeline may have been met while the answer was on its way.
      if (fence.isFenced(connection.timeline)) throw fencedError(true)
      if (primaryOnly === true) checkAnswer(rows, connection.timeline)
      return rows
    } catch (error) {
      const failure = asDatabaseError(error, { wasReady: true, severalHosts })
      if (failure.code === 'FENCED') fence.countRefused()
      if (!failure.answered) pool.discard(connection, failure.code === 'DEADLINE' ? query : null)
      throw failure
    } finally {
      cancel()
    }
  }

  /** Runs `use` with a connection of its own, and with the time that is left once the connection is free. */
  async function withConnection<T>(
    deadlineMs: number,
    use: (connection: PooledConnection, leftMs: number) => Promise<T>,
  ): Promise<T> {
    const began = scheduler.now()
    const acquired = pool.acquire(deadlineMs)
    const connection = acquired instanceof Promise ? await acquired : acquired
    const leftMs =
      acquired instanceof Promise ? Math.max(1, deadlineMs - (scheduler.now() - began)) : deadlineMs
    try {
      return await use(connection, leftMs)
    } finally {
      pool.release(connection)
    }
  }

  async function transact<T>(
    connection: PooledConnection,
    task: (query: Query) => Promise<T>,
    leftMs: number,
  ): Promise<T> {
    const end = scheduler.now() + leftMs
    const query: Query = async (statement) => {
      const left = end - scheduler.now()
      if (left <= 0) throw new DatabaseError('DEADLINE', 'the transaction had no time left', { stale: false })
      if (!connection.usable) throw new DatabaseError('CLOSED', 'the transaction has ended', { stale: false })
      return run(connection, statement, left)
    }
    try {
      await query(BEGIN)
      const result = await task(query)
      await query(COMMIT)
      return result
    } catch (error) {
      // A closed connection rolls back by itself; so one that cannot roll back, or not in time, is closed.
      if (connection.usable) await query(ROLLBACK).catch(() => pool.discard(connection, null))
      throw error
    }
  }

  return {
    hosts: address.hosts.length,
    get connectionsOpened() {
      return pool.opened
    },
    query: (statement, deadlineMs) =>
      withConnection(deadlineMs, (connection, leftMs) => run(connection, statement, leftMs)),
    transaction: (task, deadlineMs) =>
      withConnection(deadlineMs, (connection, leftMs) => transact(connection, task, leftMs)),
    close: () => pool.close(),
  }
}

/**
 * Checks the first cell of an answer, as `Statement` describes it.
 *
 * @param began the timeline of the server with which the connection began
 * @throws DatabaseError
 */
function checkAnswer(rows: readonly (readonly Cell[])[], began: Timeline | null): void {
  const state = rows[0]?.[0]
  if (state === false) return
  if (state === null)
    throw new DatabaseError('CHANGED', 'the token table is not the one that the statement was made for', {
      stale: false,
      answered: true,
    })
  const number = timelineNumber(state)
  if (number === null || began === null) throw standbyError()
  if (number < began.number) throw fencedError(true)
  if (number > began.number) throw replacedError()
}
