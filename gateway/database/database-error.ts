import postgres from 'postgres'

/** The database could not be asked, or would not answer. The message never holds the URL or its password. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  /**
   * PostgreSQL's SQLSTATE, the code of the connection's error, or one of the gateway's own: `DEADLINE`, `BUSY`, `STANDBY`,
   * `FENCED`, `CHANGED`, `MAPPING`, `TLS_UNAVAILABLE`, `PROTOCOL`, `CLOSED`.
   */
  readonly code: string
  /** True where the connection has gone, and a fresh one may succeed at once. */
  readonly stale: boolean
  /** True where the server refused the statement alone, and goes on serving the connection. */
  readonly answered: boolean

  constructor(
    code: string,
    message: string,
    state: { readonly stale: boolean; readonly answered?: boolean; readonly cause?: unknown },
  ) {
    super(message, state.cause === undefined ? undefined : { cause: state.cause })
    this.code = code
    this.stale = state.stale
    this.answered = state.answered ?? false
  }
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

/** @param proven the server had been there, so that its going away is news */
export interface Circumstances {
  readonly proven: boolean
  readonly severalHosts: boolean
}

export function asDatabaseError(error: unknown, { proven, severalHosts }: Circumstances): DatabaseError {
  if (error instanceof DatabaseError) {
    // Another host may be the primary. Past a deadline there is no time to ask it.
    if (!severalHosts || error.stale || error.answered || error.code === 'DEADLINE') return error
    return new DatabaseError(error.code, error.message, { stale: true, cause: error.cause })
  }
  const code = codeOf(error)
  const byServer = error instanceof postgres.PostgresError
  const answered = byServer && !isFatal(error) && !GONE_STATES.test(code)
  return new DatabaseError(
    code,
    `the database did not answer the query (${byServer ? `${code}: ${error.message}` : code})`,
    { answered, stale: !answered && (severalHosts || (proven && STALE.has(code))), cause: error },
  )
}

/** The server ends the connection with it. */
export function isFatal(error: postgres.PostgresError): boolean {
  // In English whatever the server's language (PostgreSQL manual, section 54.8); poolers send the other field alone.
  return /^(FATAL|PANIC)$/.test(error.severity ?? error.severity_local)
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
}

export function deadlinePassed(deadlineMs: number): DatabaseError {
  return new DatabaseError('DEADLINE', `no answer within ${Math.round(deadlineMs)} ms`, { stale: false })
}

export function isStandby(): DatabaseError {
  return new DatabaseError(
    'STANDBY',
    'the database server is in recovery (a standby); only the primary decides',
    { stale: false },
  )
}

export function isOlder(): DatabaseError {
  return new DatabaseError(
    'FENCED',
    'the database server is on an older timeline than another one: it is a primary that was replaced',
    { stale: false },
  )
}
