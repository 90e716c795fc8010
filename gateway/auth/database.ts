import postgres from 'postgres'
import type { Scheduler } from '../scheduler.ts'
import { createLane, type Lane } from './database-lane.ts'
import { parseDatabaseUrl } from './database-url.ts'

/** A value of a row as it is read: text, a number, a boolean or NULL. */
export type Cell = string | number | boolean | null

export interface Statement {
  readonly text: string
  readonly parameters: readonly (string | null)[]
  /**
   * The first cell of every row is `pg_is_in_recovery()`, and there is at least one row. An answer of a server in
   * recovery is a fault, and the next connection looks for the primary.
   */
  readonly primaryOnly?: boolean
}

/** Runs one statement in a transaction under way. @throws DatabaseError */
export type Ask = (statement: Statement) => Promise<Cell[][]>

/** A few connections, each of which carries one query at a time. */
export interface Database {
  /** Servers that the URL names. */
  readonly hosts: number
  /**
   * Runs one statement on a free connection, opening one where needed; where all are busy it waits its turn. At
   * the deadline the connection is discarded: a server that does not answer (stopped, frozen, cut off) does not
   * answer a cancellation either.
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
  transaction<T>(task: (ask: Ask) => Promise<T>, deadlineMs: number): Promise<T>
  close(): Promise<void>
}

/** The database could not be asked, or would not answer. The message never holds the URL or its password. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  /** PostgreSQL's SQLSTATE, or the code of the connection's error. */
  readonly code: string
  /** True where the connection has gone, and a fresh one may succeed at once. */
  readonly stale: boolean
  /** True where the server refused the statement alone, and goes on serving the connection. */
  readonly answered: boolean

  constructor(
    code: string,
    message: string,
    state: { readonly stale: boolean; readonly answered?: boolean },
  ) {
    super(message)
    this.code = code
    this.stale = state.stale
    this.answered = state.answered ?? false
  }
}

export interface DatabaseOptions {
  readonly url: string
  readonly connections: number
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly scheduler: Scheduler
  /** What the server shows of whose connection it is; `poweron-gateway` where nothing is said. */
  readonly applicationName?: string
}

const statement = (text: string): Statement => ({ text, parameters: [] })
const BEGIN = statement('begin isolation level read committed')
const COMMIT = statement('commit')
const ROLLBACK = statement('rollback')

interface Waiter {
  resolve(lane: Lane): void
}

/**
 * Opens connections as they are needed. One that fails is thrown away, and the next query opens another, at the
 * next host of the URL.
 */
export function createDatabase(options: DatabaseOptions): Database {
  const address = parseDatabaseUrl(options.url)
  const severalHosts = address.hosts.length > 1
  const lanes: Lane[] = []
  const waiters: Waiter[] = []
  let host = 0
  let closed = false

  function discard(lane: Lane): void {
    const at = lanes.indexOf(lane)
    if (at === -1) return
    lanes.splice(at, 1)
    lane.mayConnect = false
    lane.destroy()
    lane.sql.end({ timeout: 0 }).catch(() => {})
    // Only the first of several that failed there moves on; two would lead back to the same one of two hosts.
    if (lane.host === host) host = (host + 1) % address.hosts.length
  }

  function take(): Lane | undefined {
    const idle = lanes.find((each) => !each.busy)
    if (idle !== undefined || lanes.length >= options.connections) return idle
    const lane = createLane(address, () => host, options)
    lanes.push(lane)
    return lane
  }

  /** Queries that find all lanes busy get them in the order in which they came. */
  function release(lane: Lane): void {
    lane.busy = false
    if (waiters.length === 0) return
    const next = take()
    if (next === undefined) return
    next.busy = true
    waiters.shift()!.resolve(next)
  }

  function acquire(deadlineMs: number): Lane | Promise<Lane> {
    const lane = take()
    if (lane !== undefined) {
      lane.busy = true
      return lane
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve(next) {
          cancel()
          resolve(next)
        },
      }
      const cancel = options.scheduler.after(deadlineMs, () => {
        waiters.splice(waiters.indexOf(waiter), 1)
        reject(
          new DatabaseError('BUSY', `no connection became free within ${deadlineMs} ms`, { stale: false }),
        )
      })
      waiters.push(waiter)
    })
  }

  async function run(lane: Lane, statement: Statement, deadlineMs: number): Promise<Cell[][]> {
    const deadline = Promise.withResolvers<never>()
    const cancel = options.scheduler.after(deadlineMs, () => {
      deadline.reject(new DatabaseError('DEADLINE', `no answer within ${deadlineMs} ms`, { stale: false }))
    })
    try {
      const { text, parameters } = statement
      const query = lane.sql.unsafe(text, [...parameters], { prepare: options.prepare }).values()
      // The loser of the race must not become an unhandled rejection.
      query.catch(() => {})
      const answer = (await Promise.race([query, deadline.promise])) as unknown as Cell[][]
      const rows = takenFrom(answer)
      if (statement.primaryOnly === true) refuseStandby(rows)
      lane.proven = true
      return rows
    } catch (error) {
      const failure = asDatabaseError(error, { proven: lane.proven, severalHosts })
      if (!failure.answered) discard(lane)
      throw failure
    } finally {
      cancel()
    }
  }

  /** A connection for this alone, with the time that is left once it is free. */
  async function withLane<T>(
    deadlineMs: number,
    use: (lane: Lane, leftMs: number) => Promise<T>,
  ): Promise<T> {
    if (closed) throw new DatabaseError('CLOSED', 'the database connections are closed', { stale: false })
    const began = options.scheduler.now()
    const taken = acquire(deadlineMs)
    const lane = taken instanceof Promise ? await taken : taken
    const leftMs = taken instanceof Promise ? deadlineMs - (options.scheduler.now() - began) : deadlineMs
    try {
      lane.mayConnect = true
      return await use(lane, leftMs)
    } finally {
      release(lane)
    }
  }

  async function transact<T>(lane: Lane, task: (ask: Ask) => Promise<T>, leftMs: number): Promise<T> {
    const end = options.scheduler.now() + leftMs
    const ask: Ask = async (statement) => {
      const left = end - options.scheduler.now()
      if (left <= 0) throw new DatabaseError('DEADLINE', 'a transaction was given up', { stale: false })
      const rows = await run(lane, statement, left)
      // What follows belongs to this connection; on a fresh one it would be outside of the transaction.
      lane.mayConnect = false
      return rows
    }
    try {
      await ask(BEGIN)
      const result = await task(ask)
      await ask(COMMIT)
      return result
    } catch (error) {
      // One that was given up rolls back by itself, and so does one that has no time left for it.
      if (lanes.includes(lane)) await ask(ROLLBACK).catch(() => discard(lane))
      throw error
    }
  }

  return {
    hosts: address.hosts.length,
    query: (statement, deadlineMs) => withLane(deadlineMs, (lane, leftMs) => run(lane, statement, leftMs)),
    transaction: (task, deadlineMs) => withLane(deadlineMs, (lane, leftMs) => transact(lane, task, leftMs)),
    async close() {
      closed = true
      await Promise.all(lanes.map((lane) => lane.sql.end({ timeout: 1 }).catch(() => {})))
    },
  }
}

/**
 * Empties postgres.js's own array. What a query leaves behind gets old before it is collected, its answer with it:
 * the young generation's collector then copies every row twice instead of dropping it.
 */
function takenFrom(answer: Cell[][]): Cell[][] {
  // Not by `splice`, which asks a subclass of arrays what it wants to be: half a microsecond a look-up.
  const rows: Cell[][] = []
  for (let i = 0; i < answer.length; i++) rows.push(answer[i]!)
  answer.length = 0
  return rows
}

function refuseStandby(rows: readonly (readonly Cell[])[]): void {
  if (rows[0]?.[0] === false) return
  throw new DatabaseError(
    'STANDBY',
    'the database server is in recovery (a standby); only the primary decides',
    {
      stale: false,
    },
  )
}

/**
 * The connection is of no use any more: connection exceptions, shutdowns, a server that only starts; and one that
 * reads only, which it was told at its beginning and would be for ever (`default_transaction_read_only`).
 */
const GONE_STATES = /^(08|57P0|25006)/

/** Errors of a connection that was good and went away: a fresh one may succeed at once. */
const STALE = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'ECONNRESET',
  'EPIPE',
  '57P01',
  '57P02',
  '25006',
])

interface Circumstances {
  readonly proven: boolean
  readonly severalHosts: boolean
}

function asDatabaseError(error: unknown, { proven, severalHosts }: Circumstances): DatabaseError {
  if (error instanceof DatabaseError) {
    // Another host may be the primary. Past a deadline there is no time to ask it.
    if (error.code !== 'STANDBY' || !severalHosts) return error
    return new DatabaseError(error.code, error.message, { stale: true })
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
  const byServer = error instanceof postgres.PostgresError
  const answered = byServer && !/^(FATAL|PANIC)$/.test(error.severity) && !GONE_STATES.test(code)
  return new DatabaseError(
    code,
    `the database did not answer the query (${byServer ? `${code}: ${error.message}` : code})`,
    { answered, stale: !answered && (severalHosts || (proven && STALE.has(code))) },
  )
}
