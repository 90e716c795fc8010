import { DatabaseError } from './database-error.ts'

/** The timeline that a server writes: each promotion of a standby begins a new one, with the next number. */
export interface Timeline {
  /** The identifier of the database system; empty where the role may not read it. */
  readonly system: string
  readonly number: number
}

/** What a server says of itself. `untold` where it has no such functions (Aurora), or the role may not call them. */
export type ServerState =
  | { readonly kind: 'primary'; readonly timeline: Timeline }
  | { readonly kind: 'standby' }
  | { readonly kind: 'untold' }

/**
 * SQL of the timeline of a primary. The name of a segment of the write-ahead log begins with its eight hexadecimal digits.
 * `pg_control_checkpoint()` is not asked: it shows a promotion only after the next checkpoint. On a server in recovery
 * this SQL fails.
 */
export const TIMELINE_SQL = 'pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)'

const STATE_SQL = `case when pg_catalog.pg_is_in_recovery() then 'standby' else ${TIMELINE_SQL} end`

/** With the identifier of the system, and without it, since a role may have no right to read the control file. */
const STATEMENTS = [
  `select ${STATE_SQL}, system_identifier::text from pg_catalog.pg_control_system()`,
  `select ${STATE_SQL}, ''`,
]

/** Of a function that does not exist, may not be called, or is not supported. */
const UNTOLD = /^(42|0A)/

/**
 * Makes a reader that asks a server for its state. It keeps to the statement that was answered last: one that is refused
 * is a line in the server's log each time.
 *
 * @param ask sends a statement
 * @returns throws DatabaseError, but not where the server refuses to tell its timeline
 */
export function createStateReader(
  ask: (text: string) => Promise<readonly (readonly unknown[])[]>,
): () => Promise<ServerState> {
  let next = 0
  return async () => {
    for (; next < STATEMENTS.length; next++) {
      try {
        const [row] = await ask(STATEMENTS[next]!)
        if (row?.[0] === 'standby') return { kind: 'standby' }
        const number = timelineNumber(row?.[0])
        if (number !== null) return { kind: 'primary', timeline: { system: String(row?.[1]), number } }
      } catch (error) {
        if (!(error instanceof DatabaseError && error.answered && UNTOLD.test(error.code))) throw error
      }
    }
    next = 0
    return { kind: 'untold' }
  }
}

/** @returns the number of eight hexadecimal digits; null of anything else */
export function timelineNumber(cell: unknown): number | null {
  return typeof cell === 'string' && /^[0-9A-F]{8}$/.test(cell) ? Number.parseInt(cell, 16) : null
}
