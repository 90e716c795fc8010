import type { LookupFunction } from 'node:net'
import postgres from 'postgres'
import type { DatabaseAddress, DatabaseHost } from './address.ts'
import { asDatabaseError, isFatal, isStandby } from './database-error.ts'
import { MessageGuard } from './message-guard.ts'
import { type BackendKey, type Dial, dial, sendCancelRequest } from './socket.ts'

/** A value of a row as it is read: text, a number, a boolean or NULL. */
export type Cell = string | number | boolean | null

export interface Statement {
  readonly text: string
  readonly parameters: readonly (string | null)[]
  /**
   * The first cell of every row is false where the server is the primary, true where it is in recovery, and NULL where
   * the table is not the one that the statement was made for; and there is at least one row. All but false is a fault.
   */
  readonly primaryOnly?: boolean
}

/** Which of the histories of a database a server writes: each promotion begins a new one, with the next number. */
export interface Timeline {
  /** The identifier of the database system. */
  readonly system: string
  readonly number: number
}

/** One session at one server, which carries one statement at a time. */
export interface ServerConnection {
  /**
   * Resolves once the server has shown itself to be a primary, in an exchange of its own: a statement that is bound before
   * a promotion and executed after it would read a standby's snapshot and say that it comes from a primary.
   *
   * @throws DatabaseError
   */
  readonly ready: Promise<void>
  /** The server's timeline once it is ready; null where it does not say. */
  readonly timeline: Timeline | null
  /** Bytes that the server has sent so far. */
  readonly bytesRead: number
  /** Resolves when the server has closed its side: it holds no session for this connection any more. */
  readonly closed: Promise<void>
  /** Why the server refused a parameter of the session's start; the name, or null where it was something else. */
  readonly refusedSetting: string | null
  /** @throws what postgres.js throws */
  run(statement: Statement): Promise<Cell[][]>
  /**
   * Asks the server to give up the statement under way. Its answer, if it comes, is the statement's.
   *
   * @returns resolves when the server has taken note
   */
  cancel(): Promise<void>
  /** Ends the session as soon as no statement is under way. The server's side ends when it takes notice. */
  leave(): void
  /** Ends this side's part, whatever is under way. */
  hangUp(): void
  /** Closes the socket. Nothing is known of the server's side after it. */
  destroy(): void
}

export interface ConnectionOptions {
  readonly address: DatabaseAddress
  readonly host: DatabaseHost
  /** False behind a pooler that cannot keep prepared statements. */
  readonly prepare: boolean
  readonly applicationName: string
  /** Settings that bound what the server does for this session; one that it does not know ends the start. */
  readonly bounds: Readonly<Record<string, string>>
  readonly lookup?: LookupFunction | undefined
  readonly onNotification?: ((payload: string) => void) | undefined
}

/** SQLSTATEs of a setting that is not known, not possible here, or not passed on by a pooler. */
const REFUSED_SETTING = new Set(['42704', '22023', '0A000', '08P01', '42501'])

/** The name of a segment of the log begins with the timeline's eight hexadecimal digits. */
const TIMELINE =
  'select system_identifier::text, pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) ' +
  'from pg_catalog.pg_control_system()'

type Sql = ReturnType<typeof postgres>

/**
 * Opens a connection. postgres.js pipelines onto busy connections, waits up to 20 s between tries, and with several hosts
 * down never rejects; so each connection is an instance of its own, with a socket that is not its own.
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
    // It would go on opening connections where each is closed before it is ready.
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

  function run({ text, parameters }: Statement): Promise<Cell[][]> {
    const query = sql.unsafe(text, [...parameters], { prepare: options.prepare && address.prepare }).values()
    return query.then(takeRows)
  }

  async function prove(): Promise<void> {
    try {
      const query = sql.unsafe('select pg_catalog.pg_is_in_recovery()').values()
      const [row] = (await query) as unknown as Cell[][]
      // What the server calls this session, for cancel requests; postgres.js's types do not know that a query has it.
      key = (query as unknown as { readonly state: BackendKey | null }).state
      if (row?.[0] !== false) throw isStandby()
      timeline = await readTimeline()
    } catch (error) {
      if (error instanceof postgres.PostgresError && isFatal(error) && REFUSED_SETTING.has(error.code))
        refusedSetting = Object.keys(bounds).find((name) => error.message.includes(name)) ?? null
      throw asDatabaseError(error, { proven: false, severalHosts: address.hosts.length > 1 })
    }
  }

  /** Aurora and poolers of other makes have no such functions, and some roles may not call them. */
  async function readTimeline(): Promise<Timeline | null> {
    try {
      const [row] = (await sql.unsafe(TIMELINE).values()) as unknown as Cell[][]
      return row === undefined
        ? null
        : { system: String(row[0]), number: Number.parseInt(String(row[1]), 16) }
    } catch (error) {
      if (error instanceof postgres.PostgresError && !isFatal(error)) return null
      throw error
    }
  }

  const leave = () => void sql.end({ timeout: 0 }).catch(() => {})
  const ready = prove()
  // The pool looks at it in its own time.
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
    leave,
    hangUp() {
      // Before anything was said the server holds no session.
      if (guard?.hasSpoken === true) guard.end()
      else dialled?.abort()
    },
    destroy() {
      dialled?.abort()
      leave()
    },
  }
}

function createSql(options: ConnectionOptions, openSocket: () => Promise<MessageGuard>): Sql {
  const { address, onNotification } = options
  return postgres({
    // Everything that postgres.js would else look for in the environment (PGHOST, PGPASSWORD and so on) is given.
    host: 'database',
    port: 5432,
    max: 1,
    ...(address.user === undefined ? {} : { user: address.user }),
    pass: () => address.password ?? '',
    database: address.database ?? address.user ?? '',
    ssl: false,
    sslnegotiation: null,
    prepare: options.prepare && address.prepare,
    // Array types would cost a query for each new connection; arrays are sent as literals.
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
      // Types may be cast into each other by the session's zone.
      TimeZone: 'UTC',
      ...options.bounds,
      ...address.parameters,
    },
    socket: openSocket,
    // Its types do not know of a socket, of `onnotify` and of a password that is asked for.
  } as unknown as postgres.Options<Record<string, never>>)
}

/**
 * Empties postgres.js's own array. What a query leaves behind gets old before it is collected, its answer with it:
 * the young generation's collector then copies every row twice instead of dropping it.
 */
function takeRows(answer: unknown): Cell[][] {
  const from = answer as Cell[][]
  // Not by `splice`, which asks a subclass of arrays what it wants to be: half a microsecond a look-up.
  const rows: Cell[][] = []
  for (let i = 0; i < from.length; i++) rows.push(from[i]!)
  from.length = 0
  return rows
}
