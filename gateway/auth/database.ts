import { connect, type Socket } from 'node:net'
import postgres from 'postgres'
import type { Scheduler } from '../scheduler.ts'
import { type DatabaseAddress, type DatabaseHost, parseDatabaseUrl } from './database-url.ts'

/** A value of a row as it is read: text, a number, a boolean or NULL. */
export type Cell = string | number | boolean | null

export interface Statement {
  readonly text: string
  readonly parameters: readonly string[]
}

/** A few connections, each of which carries one query at a time. */
export interface Database {
  /**
   * Runs one statement on a free connection, opening one where needed. At the deadline the connection is
   * discarded: a server that does not answer (stopped, frozen, cut off) does not answer a cancellation either.
   *
   * @throws DatabaseError
   */
  query(statement: Statement, deadlineMs: number): Promise<Cell[][]>
  /** Connections that could take a query now. */
  readonly free: number
  close(): Promise<void>
}

/** The database could not be asked, or would not answer. The message never holds the URL or its password. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  /** PostgreSQL's SQLSTATE, or the code of the connection's error. */
  readonly code: string
  /** True where the connection has gone, and a fresh one may succeed at once. */
  readonly stale: boolean

  constructor(code: string, message: string, options: { readonly stale: boolean; readonly cause?: unknown }) {
    super(message, { cause: options.cause })
    this.code = code
    this.stale = options.stale
  }
}

export interface DatabaseOptions {
  readonly url: string
  readonly connections: number
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly scheduler: Scheduler
}

interface Lane {
  readonly sql: postgres.Sql
  readonly sockets: Set<Socket>
  busy: boolean
  /** True once a query succeeded: the server was there, and its going away is news. */
  proven: boolean
}

/**
 * postgres.js pipelines onto busy connections, waits up to 20 s between tries, and with several hosts down
 * never rejects. So each connection is an instance of its own with its own socket; one that fails is thrown
 * away and the next query opens another, at the next host of the URL.
 */
export function createDatabase(options: DatabaseOptions): Database {
  const address = parseDatabaseUrl(options.url)
  const lanes: Lane[] = []
  let hostIndex = 0
  let closed = false

  function open(): Lane {
    const lane: Lane = {
      ...createLane(address, () => address.hosts[hostIndex % address.hosts.length]!, options),
      busy: false,
      proven: false,
    }
    lanes.push(lane)
    return lane
  }

  function discard(lane: Lane): void {
    const at = lanes.indexOf(lane)
    if (at === -1) return
    lanes.splice(at, 1)
    for (const socket of lane.sockets) socket.destroy()
    lane.sql.end({ timeout: 0 }).catch(() => {})
  }

  function take(): Lane {
    if (closed) throw new DatabaseError('CLOSED', 'the database connections are closed', { stale: false })
    const lane = lanes.find((each) => !each.busy) ?? (lanes.length < options.connections ? open() : undefined)
    if (lane === undefined)
      throw new DatabaseError('NO_CONNECTION', 'all database connections are busy', { stale: false })
    return lane
  }

  async function run(lane: Lane, { text, parameters }: Statement, deadlineMs: number): Promise<Cell[][]> {
    const deadline = Promise.withResolvers<never>()
    const cancel = options.scheduler.after(deadlineMs, () => {
      deadline.reject(new DatabaseError('DEADLINE', `no answer within ${deadlineMs} ms`, { stale: false }))
    })
    try {
      const query = lane.sql.unsafe(text, [...parameters], { prepare: options.prepare }).values()
      // The loser of the race must not become an unhandled rejection.
      query.catch(() => {})
      const rows = await Promise.race([query, deadline.promise])
      lane.proven = true
      return rows as unknown as Cell[][]
    } finally {
      cancel()
    }
  }

  return {
    async query(statement, deadlineMs) {
      const lane = take()
      lane.busy = true
      try {
        return await run(lane, statement, deadlineMs)
      } catch (error) {
        const failure = asDatabaseError(error, lane.proven)
        if (!isAnswer(failure)) {
          hostIndex++
          discard(lane)
        }
        throw failure
      } finally {
        lane.busy = false
      }
    },
    get free() {
      return options.connections - lanes.filter((lane) => lane.busy).length
    },
    async close() {
      closed = true
      await Promise.all(lanes.map((lane) => lane.sql.end({ timeout: 1 }).catch(() => {})))
    },
  }
}

/** The statement was answered by a server that goes on serving: the connection is good. */
function isAnswer(error: DatabaseError): boolean {
  return /^[0-9A-Z]{5}$/.test(error.code) && !GONE_STATES.test(error.code) && error.code !== 'EPIPE'
}

/** Connection exceptions, shutdowns, and a server that only starts or takes no more connections. */
const GONE_STATES = /^(08|57P0[1-4]|53300)/

const STALE = new Set([
  'CONNECTION_CLOSED',
  'CONNECTION_ENDED',
  'CONNECTION_DESTROYED',
  'ECONNRESET',
  'EPIPE',
  '57P01',
  '57P02',
])

function asDatabaseError(error: unknown, proven: boolean): DatabaseError {
  if (error instanceof DatabaseError) return error
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
  const told = error instanceof postgres.PostgresError ? `${code}: ${error.message}` : code
  return new DatabaseError(code, `the database did not answer the query (${told})`, {
    stale: proven && STALE.has(code),
  })
}

function createLane(
  address: DatabaseAddress,
  nextHost: () => DatabaseHost,
  options: DatabaseOptions,
): Pick<Lane, 'sql' | 'sockets'> {
  const sockets = new Set<Socket>()
  const sql = postgres({
    max: 1,
    ...(address.user === undefined ? {} : { user: address.user }),
    ...(address.password === undefined ? {} : { password: address.password }),
    ...(address.database === undefined ? {} : { database: address.database }),
    ssl: address.ssl as never,
    prepare: options.prepare,
    // Array types would cost a query for each new connection; arrays are sent as literals.
    fetch_types: false,
    connect_timeout: 0,
    idle_timeout: 0,
    max_lifetime: null,
    onnotice: () => {},
    connection: { application_name: 'poweron-gateway', ...address.parameters },
    socket: () => openSocket(nextHost(), sockets),
  } as postgres.Options<Record<string, never>>)
  return { sql, sockets }
}

/** A connected socket, as postgres.js wants it from a `socket` option. */
function openSocket({ host, port }: DatabaseHost, sockets: Set<Socket>): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect({ host, port })
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 10_000)
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      // What postgres.js verifies the server's certificate against.
      resolve(Object.assign(socket, { host, port }))
    })
  })
}
