import type { LookupFunction } from 'node:net'
import postgres from 'postgres'
import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { asDatabaseError, isFatal, standbyError } from './database-error.ts'
import { MessageGuard } from './message-guard.ts'
import { type BackendKey, type Dial, dial, sendCancelRequest } from './socket.ts'
import { createStateReader, type Timeline } from './timeline.ts'

/** A value of a row as it is read: text, a number, a boolean or NULL. */
export type Cell = string | number | boolean | null

export interface Statement {
  readonly text: string
  readonly parameters: readonly (string | null)[]
  /**
   * True for a statement whose rows say which server answered: there is at least one row, and the first cell of each is
   * false on the primary, true on a server in recovery, and NULL where the table is not the one that the statement was
   * made for. Anything but false is a fault.
   */
  readonly primaryOnly?: boolean
  /**
   * Sent instead of `text` to a server that tells its timeline. The first cell of each row is then that timeline, as
   * `TIMELINE_SQL` has it, in place of false, and another text in place of true.
   */
  readonly fencedText?: string
}

/** One session at one server, which carries one statement at a time. */
export interface ServerConnection {
  /**
   * Resolves once the server has shown that it is a primary. That is asked in a round trip of its own: a statement that is
   * bound before a promotion and executed after it reads a standby's snapshot, and reports a primary.
   *
   * @throws DatabaseError
   */
  readonly ready: Promise<void>
  /** The server's timeline once the connection is ready; null where the server does not tell it, or was not asked. */
  readonly timeline: Timeline | null
  /** Bytes that the server has sent so far. */
  readonly bytesRead: number
  /** Resolves when the server has closed its side, and so holds no session for this connection any more. */
  readonly closed: Promise<void>
  /** The setting for which the server refused the session; null where it did not, or for another reason. */
  readonly refusedSetting: string | null
  /** @throws what postgres.js throws */
  run(statement: Statement): Promise<Cell[][]>
  /**
   * Asks the server to cancel the statement under way, which then fails.
   *
   * @returns resolves when the server has received the request
   */
  cancel(): Promise<void>
  /** Ends the session as soon as no statement is under way; `closed` resolves once the server has done so too. */
  closeWhenIdle(): void
  /** Closes this side's half of the connection, whatever is under way. */
  halfClose(): void
  /** Closes the socket. The server may still hold the session. */
  destroy(): void
}

export interface ConnectionOptions {
  readonly address: DatabaseAddress
  readonly host: DatabaseHost
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly applicationName: string
  /** Settings that bound what the server does for this session. A server that does not know one refuses the session. */
  readonly bounds: Readonly<Record<string, string>>
  readonly lookup?: LookupFunction | undefined
  /** True where the server may be a standby, and is not asked for its timeline. */
  readonly anyServer?: boolean | undefined
  readonly onNotification?: ((payload: string) => void) | undefined
}

/** SQLSTATEs of a setting that is unknown, not possible here, or not passed on by a pooler. */
const REFUSED_SETTING = new Set(['42704', '22023', '0A000', '08P01', '42501'])

type Sql = ReturnType<typeof postgres>

/**
 * Opens a connection. postgres.js sends statements on busy connections, waits up to 20 s between tries, and never rejects
 * where several hosts are down. So each connection is an instance of postgres.js of its own, on a socket opened here.
 */
export function openConnection(options: ConnectionOptions): ServerConnection {
  const { address, host, bounds } = options
  const target = { host, tls: address.tls, lookup: options.lookup }
  const closed = Promise.withResolvers<void>()
  let dialled: Dial | null = null
  let guard: MessageGuard | null = null
  let key: BackendKey | null = null
  let refusedSetting: string | null = null
  let timeline: Timeline | null = null

  async function openSocket(): Promise<MessageGuard> {
    // postgres.js would go on for ever where each connection is closed before it is ready.
    if (dialled !== null)
      throw Object.assign(new Error('the connection was closed'), { code: 'CONNECTION_CLOSED' })
    dialled = dial(target)
    try {
      const socket = await dialled.socket
      socket.once('close', () => closed.resolve())
      guard = new MessageGuard(socket)
      return guard
    } catch (error) {
      closed.resolve()
      throw error
    }
  }

  const sql = createSql(options, openSocket)

  function run({ text, fencedText, parameters }: Statement): Promise<Cell[][]> {
    const sent = timeline === null ? text : (fencedText ?? text)
    const query = sql.unsafe(sent, [...parameters], { prepare: options.prepare && address.prepare }).values()
    return query.then(takeRows)
  }

  async function checkPrimary(): Promise<void> {
    try {
      const rows = await sql.unsafe('select pg_catalog.pg_is_in_recovery()').values()
      key = rows.state
      if (options.anyServer === true) return
      if (rows[0]?.[0] !== false) throw standbyError()
      const state = await createStateReader(askForState)()
      if (state.kind === 'standby') throw standbyError()
      if (state.kind === 'primary') timeline = state.timeline
    } catch (error) {
      if (error instanceof postgres.PostgresError && isFatal(error) && REFUSED_SETTING.has(error.code))
        refusedSetting = Object.keys(bounds).find((name) => error.message.includes(name)) ?? null
      throw asDatabaseError(error, { wasReady: false, severalHosts: address.hosts.length > 1 })
    }
  }

  async function askForState(text: string): Promise<Cell[][]> {
    try {
      return await sql.unsafe(text).values()
    } catch (error) {
      throw asDatabaseError(error, { wasReady: true, severalHosts: address.hosts.length > 1 })
    }
  }

  const closeWhenIdle = () => void sql.end({ timeout: 0 }).catch(() => {})
  const ready = checkPrimary()
  // The pool handles a failure later; until then it must not count as an unhandled rejection.
  ready.catch(() => {})
  return {
    ready,
    closed: closed.promise,
    get bytesRead() {
      return dialled?.bytesRead ?? 0
    },
    get timeline() {
      return timeline
    },
    get refusedSetting() {
      return refusedSetting
    },
    run,
    cancel: async () => {
      if (key !== null) await sendCancelRequest(target, key)
    },
    closeWhenIdle,
    halfClose() {
      // Until something was sent the server holds no session.
      if (guard?.hasSent === true) guard.end()
      else dialled?.abort()
    },
    destroy() {
      dialled?.abort()
      closeWhenIdle()
    },
  }
}

function createSql(options: ConnectionOptions, openSocket: () => Promise<MessageGuard>): Sql {
  const { address, onNotification } = options
  return postgres({
    // postgres.js looks for what is missing here in the environment (PGHOST, PGPASSWORD and so on).
    host: 'database',
    port: 5432,
    max: 1,
    ...(address.user === undefined ? {} : { user: address.user }),
    pass: () => address.password ?? '',
    database: address.database ?? address.user ?? '',
    ssl: false,
    sslnegotiation: null,
    prepare: options.prepare && address.prepare,
    // Fetching array types costs a query for each new connection; arrays are sent as literals instead.
    fetch_types: false,
    connect_timeout: 0,
    idle_timeout: 0,
    max_lifetime: null,
    max_pipeline: 1,
    keep_alive: 0,
    debug: false,
    publications: '',
    backoff: () => 0,
    onnotice: () => {},
    onnotify: (_channel: string, payload: string) => onNotification?.(payload),
    connection: {
      application_name: options.applicationName,
      // Casts between types of time depend on the session's zone.
      TimeZone: 'UTC',
      ...options.bounds,
      ...address.parameters,
    },
    socket: openSocket,
    // The types of postgres.js lack `socket`, `onnotify` and a password that is a function.
  } as unknown as postgres.Options<Record<string, never>>)
}

/**
 * Moves the rows into an array of our own, and empties that of postgres.js. The query object lives longer than the young
 * generation; if it still held the rows, the collector would copy each of them twice instead of dropping it.
 */
function takeRows(from: Cell[][]): Cell[][] {
  // Not `splice`, which would create another array of this subclass of Array, by a look-up of its constructor.
  const rows: Cell[][] = []
  for (let i = 0; i < from.length; i++) rows.push(from[i]!)
  from.length = 0
  return rows
}
