import postgres from 'postgres'

/** A statement that had no answer, or that the server refused. The message never holds the URL or its password. */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError'
  /**
   * PostgreSQL's SQLSTATE, the code of the connection's error, or one of the gateway: `DEADLINE`, `BUSY`, `STANDBY`,
   * `FENCED`, `REPLACED`, `CHANGED`, `MAPPING`, `TLS_UNAVAILABLE`, `PROTOCOL`, `CLOSED`.
   */
  readonly code: string
  /** True where the connection is gone, and a new one may succeed at once. */
  readonly stale: boolean
  /** True where the server refused this statement only, and the connection is still good. */
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
 * SQLSTATEs after which the connection is not used again: connection exceptions, a server that stops or is starting up,
 * and a session that is read only, as it stays until it ends (`default_transaction_read_only`).
 */
const GONE_STATES = /^(08|57P0|25006)/

/** Errors of a connection that was good and then was lost, so that a new one may succeed at once. */
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

/** What decides whether a new connection may succeed at once. */
export interface Circumstances {
  /** True where the connection had been ready before the error. */
  readonly wasReady: boolean
  readonly severalHosts: boolean
}

export function asDatabaseError(error: unknown, { wasReady, severalHosts }: Circumstances): DatabaseError {
  if (error instanceof DatabaseError) {
    // Another host may be the primary, but after a deadline there is no time left to ask it.
    if (!severalHosts || error.stale || error.answered || error.code === 'DEADLINE') return error
    return new DatabaseError(error.code, error.message, { stale: true, cause: error.cause })
  }
  const code = codeOf(error)
  const byServer = error instanceof postgres.PostgresError
  const answered = byServer && !isFatal(error) && !GONE_STATES.test(code)
  return new DatabaseError(
    code,
    `the database did not answer the query (${byServer ? `${code}: ${error.message}` : code})`,
    { answered, stale: !answered && (severalHosts || (wasReady && STALE.has(code))), cause: error },
  )
}

/** True where the server ends the connection with this error. */
export function isFatal(error: postgres.PostgresError): boolean {
  // `severity` is in English whatever the server's language (PostgreSQL manual, section 54.8); poolers leave it out.
  return /^(FATAL|PANIC)$/.test(error.severity ?? error.severity_local)
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN'
}

export function deadlineError(deadlineMs: number): DatabaseError {
  return new DatabaseError('DEADLINE', `no answer within ${Math.round(deadlineMs)} ms`, { stale: false })
}

/** No connection became free in time, while others were in use. */
export function busyError(deadlineMs: number): DatabaseError {
  return new DatabaseError('BUSY', `no connection became free within ${Math.round(deadlineMs)} ms`, {
    stale: false,
  })
}

export function closedError(): DatabaseError {
  return new DatabaseError('CLOSED', 'the database connections are closed', { stale: false })
}

export function standbyError(): DatabaseError {
  return new DatabaseError(
    'STANDBY',
    'the database server is in recovery (a standby); only the primary decides',
    { stale: false },
  )
}

/** @param stale true where a new connection may lead to another server */
export function fencedError(stale: boolean): DatabaseError {
  return new DatabaseError(
    'FENCED',
    'the database server is on an older timeline than another one: it is a primary that was replaced',
    { stale },
  )
}

/**
 * Behind a pooler the server of an open connection can change. The snapshot of the statement may be from before the
 * promotion of the server that answered.
 */
export function replacedError(): DatabaseError {
  return new DatabaseError(
    'REPLACED',
    'the answer came from another timeline than that of the server with which the connection began',
    { stale: true },
  )
}
