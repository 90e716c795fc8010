import { canonicalValue } from '../auth/token-store/column-values.ts'
import { checkedTexts, type MappedTable } from '../auth/token-store/mapped-table.ts'
import type { DecidingRow } from '../auth/token-store/row-decision.ts'
import {
  equalsParameterSql,
  identityFromCell,
  insertStatement,
  mandateFromCell,
  revokeSql,
  rowColumnsSql,
} from '../auth/token-store/row-statements.ts'
import { expirySql, isTime } from '../auth/token-store/token-expiry.ts'
import type { Query } from '../database/database.ts'

/** A token's row. */
export interface SessionToken {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  /** Seconds since the epoch, with the fraction that the column holds. */
  readonly exp: number
}

export interface SessionRow extends SessionToken, DecidingRow {
  /** The database's clock when the row was read: seconds since the epoch, with the precision of `exp`. */
  readonly now: number
}

/** The statements of one transaction on a session. */
export interface SessionRows {
  /**
   * Waits until no other gateway's transaction changes the session. The statements that follow see what those have
   * committed, and the table cannot be altered until this transaction ends.
   *
   * @throws DatabaseError, also where the server is in recovery, or the table is not as it was mapped
   */
  lockSession(sessionId: string): Promise<void>
  /** Locks the session of a token in the same way; locks nothing where the token has no row. */
  lockSessionOf(tokenId: string): Promise<void>
  /** Reads the row and locks it against changes by others than gateways; null where there is none. */
  read(tokenId: string): Promise<SessionRow | null>
  revokeSession(session: { readonly userId: string; readonly sessionId: string }): Promise<void>
  /** @param precedingId the token that the new ones succeed */
  insert(tokens: readonly SessionToken[], precedingId: string): Promise<void>
}

/**
 * Row locks are not enough: an update that waits for a refresh of the same session does not see the rows that the refresh
 * has inserted, and a session would survive its logout. The text `poweron-gateway` keeps the key apart from advisory locks
 * of other applications.
 */
const sessionLock = (sessionId: string): string =>
  `pg_advisory_xact_lock(hashtextextended('poweron-gateway ' || ${sessionId}, 0))`

/**
 * @param timeoutMs how long the server waits at most for a lock, and for the next statement of a gateway that has stopped
 * @returns makes the statements of a transaction
 */
export function createSessionRows(timeoutMs: number): (query: Query, mapped: MappedTable) => SessionRows {
  return (query, mapped) => {
    const texts = statementTexts(mapped, timeoutMs)
    const { id: idColumn, expiresAt } = mapped
    /** NULL for a text that cannot be an id of the column, so that the database still decides that it is unknown. */
    const idParameter = (id: string) => canonicalValue(idColumn.type, id)
    return {
      async lockSession(sessionId) {
        await query({ ...texts.lock, parameters: [sessionId] })
      },
      async lockSessionOf(tokenId) {
        await query({ ...texts.lockOf, parameters: [idParameter(tokenId)] })
      },
      async read(tokenId) {
        const [cells] = await query({ text: texts.read, parameters: [idParameter(tokenId)] })
        if (cells === undefined) return null
        const [id, userId, sessionId, mandateId, status, exp, expired, clock] = cells
        return {
          id: String(id),
          userId: identityFromCell(userId!),
          sessionId: identityFromCell(sessionId!),
          mandateId: mandateFromCell(mandateId!),
          active: status === mapped.statuses.admitting,
          expired: expired === true,
          exp: Number(exp),
          now: isTime(expiresAt.type) ? Math.floor(Number(clock) * 1000) / 1000 : Math.floor(Number(clock)),
          types: {
            userId: mapped.userId.type,
            sessionId: mapped.sessionId.type,
            mandateId: mapped.mandateId.type,
          },
        }
      },
      async revokeSession({ userId, sessionId }) {
        await query({ text: texts.revoke, parameters: [userId, sessionId] })
      },
      async insert(tokens, precedingId) {
        await query(insertStatement(mapped, tokens, precedingId))
      },
    }
  }
}

function statementTexts(mapped: MappedTable, timeoutMs: number) {
  const { name, id, userId, sessionId, expiresAt } = mapped
  const lockText = (session: string, on: string) =>
    checkedTexts(
      mapped,
      ({ stateSql, fromSql, typeConditionSql }) =>
        `select ${stateSql}, set_config('lock_timeout', '${timeoutMs}', true), ` +
        `set_config('idle_in_transaction_session_timeout', '${timeoutMs}', true), ${sessionLock(session)} ` +
        `from ${fromSql} left join ${name} as t on ${on} and ${typeConditionSql}`,
    )
  const { epoch, expired } = expirySql(`t.${expiresAt.sql}`, expiresAt.type)
  const isToken = `t.${equalsParameterSql(id, 1)}`
  return {
    // The join locks the table against changes, though it reads no row.
    lock: lockText('$1::text', 'false'),
    lockOf: lockText(`t.${sessionId.sql}::text`, isToken),
    read:
      `select ${rowColumnsSql(mapped, 't.')}, ${epoch}, ${expired}, date_part('epoch', clock_timestamp()) ` +
      `from ${name} as t where ${isToken} for update`,
    revoke: revokeSql(mapped, `${userId.sql} = $1 and ${sessionId.sql} = $2`),
  }
}
