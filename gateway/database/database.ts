import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { Cell, Statement } from './connection.ts'
import { asDatabaseError, DatabaseError, deadlinePassed, isStandby } from './database-error.ts'
import { createPool, type PooledConnection } from './pool.ts'
import { parseDatabaseUrl } from './url.ts'

export type { Cell, Statement } from './connection.ts'
export { DatabaseError } from './database-error.ts'

/** Runs one statement in a transaction under way. @throws DatabaseError */
export type Query = (statement: Statement) => Promise<Cell[][]>

/** A few connections, each of which carries one query at a time. */
export interface Database {
  /** Servers that the URL names. */
  readonly hosts: number
  /** How many connections have been opened so far: what was found out by another one may not hold for a new one. */
  readonly connectionsOpened: number
  /**
   * Runs one statement on a free connection, opening one where needed; where all are busy it waits its turn. At the
   * deadline the statement is cancelled at the server, and the connection given up.
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
  /** What the server shows of whose connection it is, behind the name that the URL gives it; nothing where absent. */
  readonly purpose?: 'sessions' | 'listen'
  /** The longest deadline in use, milliseconds: the server ends by itself what takes longer. */
  readonly statementTimeoutMs?: number
  /** Resolves the hosts' names; Node's own where absent. */
  readonly lookup?: LookupFunction
  /** Gets the payload of each notice of a channel that was listened to. */
  readonly onNotification?: (payload: string) => void
  /** A connection that was open is gone. */
  readonly onLost?: () => void
}

const APPLICATION = 'poweron-gateway'

/** Above this a statement is hopeless, and nobody waits for it. */
const STATEMENT_TIMEOUT_MS = 10_000

/** What a cancel request is ahead of the server's own limit. */
const MARGIN_MS = 250

const statement = (text: string): Statement => ({ text, parameters: [] })
const BEGIN = statement('begin isolation level read committed')
const COMMIT = statement('commit')
const ROLLBACK = statement('rollback')

/** Opens connections as they are needed. One that fails is thrown away, and the next query opens another. */
export function createDatabase(options: DatabaseOptions): Database {
  const { scheduler, purpose } = options
  const address = parseDatabaseUrl(options.url)
  const severalHosts = address.hosts.length > 1
  const name = address.applicationName ?? APPLICATION
  const pool = createPool({
    address,
    connections: options.connections,
    prepare: options.prepare,
    applicationName: purpose === undefined ? name : `${name}-${purpose}`,
    statementTimeoutMs: (options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS) + MARGIN_MS,
    scheduler,
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
    const cancel = scheduler.after(deadlineMs, () => deadline.reject(deadlinePassed(deadlineMs)))
    const query = connection.run(statement)
    // The loser of the race must not become an unhandled rejection.
    query.catch(() => {})
    try {
      const rows = await Promise.race([query, deadline.promise])
      if (primaryOnly === true) checkServer(rows)
      return rows
    } catch (error) {
      const failure = asDatabaseError(error, { proven: true, severalHosts })
      if (!failure.answered) pool.giveUp(connection, failure.code === 'DEADLINE' ? query : null)
      throw failure
    } finally {
      cancel()
    }
  }

  /** A connection for this alone, with the time that is left once it is free. */
  async function withConnection<T>(
    deadlineMs: number,
    use: (connection: PooledConnection, leftMs: number) => Promise<T>,
  ): Promise<T> {
    const began = scheduler.now()
    const taken = pool.take(deadlineMs)
    const connection = taken instanceof Promise ? await taken : taken
    const leftMs = taken instanceof Promise ? Math.max(1, deadlineMs - (scheduler.now() - began)) : deadlineMs
    try {
      return await use(connection, leftMs)
    } finally {
      pool.giveBack(connection)
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
      if (left <= 0) throw new DatabaseError('DEADLINE', 'a transaction was given up', { stale: false })
      if (!connection.usable) throw new DatabaseError('CLOSED', 'the transaction has ended', { stale: false })
      return run(connection, statement, left)
    }
    try {
      await query(BEGIN)
      const result = await task(query)
      await query(COMMIT)
      return result
    } catch (error) {
      // One that was given up rolls back by itself, and so does one that has no time left for it.
      if (connection.usable) await query(ROLLBACK).catch(() => pool.giveUp(connection, null))
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

function checkServer(rows: readonly (readonly Cell[])[]): void {
  const state = rows[0]?.[0]
  if (state === false) return
  if (state === null)
    throw new DatabaseError('CHANGED', 'the token table is not the one that the statement was made for', {
      stale: false,
      answered: true,
    })
  throw isStandby()
}
