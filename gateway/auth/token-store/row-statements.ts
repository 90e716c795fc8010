import type { Cell, Statement } from '../../database/database.ts'
import type { MappedColumn, MappedTable } from './mapped-table.ts'
import { sqlLiteral } from './token-columns.ts'
import { expiryValueSql, isTime } from './token-expiry.ts'

/*
 * Parts of the statements that read and write rows of the token table, and what the cells that they read mean.
 */

/** SQL of the values of a row without its expiry, each as a text: id, user, session, mandate, status. */
export function rowColumnsSql(mapped: MappedTable, prefix = ''): string {
  const { id, userId, sessionId, mandateId, status } = mapped
  return [id, userId, sessionId, mandateId, status].map(({ sql }) => `${prefix}${sql}::text`).join(', ')
}

/** An identity that is missing, where a table allows it, is empty: one that cannot be sent. */
export function identityFromCell(cell: Cell): string {
  return (cell ?? '') as string
}

/** An empty mandate is no mandate. */
export function mandateFromCell(cell: Cell): string | null {
  return cell === '' ? null : (cell as string | null)
}

/** The type of a parameter that is compared with a column of this one. */
export function parameterType(type: string): string {
  return type === 'varchar' ? 'text' : type
}

/** The cast is on the parameter, never on the column, so that an index on the column serves. */
export function equalsParameterSql({ sql, type }: MappedColumn, place: number): string {
  return `${sql} = $${place}::${parameterType(type)}`
}

/** SQL of whether a row has the status that admits. */
export function isActiveSql({ status, statuses }: MappedTable): string {
  return `${status.sql}::text = ${sqlLiteral(statuses.admitting)}`
}

/** @param where SQL of which rows; those of them that are active are revoked */
export function revokeSql(mapped: MappedTable, where: string): string {
  const { name, status, statuses } = mapped
  return `update ${name} set ${status.sql} = ${sqlLiteral(statuses.revoked)} where ${where} and ${isActiveSql(mapped)}`
}

/** The row of a token that is to be made. */
export interface NewRow {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  /** Seconds since the epoch. */
  readonly exp: number
}

/**
 * Writes rows with the status that admits.
 *
 * @param precedingId the token that these follow on, or null; where the column of expiries is a number, it has the unit
 *   that the row of this one has
 */
export function insertStatement(
  mapped: MappedTable,
  rows: readonly NewRow[],
  precedingId: string | null,
): Statement {
  const { name, id, userId, sessionId, mandateId, status, expiresAt, statuses } = mapped
  const columns = [id, userId, sessionId, mandateId, status, expiresAt].map(({ sql }) => sql)
  const preceding = isTime(expiresAt.type) ? null : precedingId
  const precedingRow = preceding === null ? null : equalsParameterSql(id, rows.length * 5 + 1)
  const values = rows.map((_, i) => {
    const at = (n: number) => `$${i * 5 + n}`
    const expiry = expiryValueSql(at(5), expiresAt, { table: name, precedingRow })
    return `(${at(1)}, ${at(2)}, ${at(3)}, ${at(4)}, ${sqlLiteral(statuses.admitting)}, ${expiry})`
  })
  return {
    text: `insert into ${name} (${columns.join(', ')}) values ${values.join(', ')}`,
    parameters: [
      ...rows.flatMap((row) => [
        row.id,
        row.userId,
        row.sessionId,
        row.mandateId ?? mapped.noMandate,
        String(row.exp),
      ]),
      ...(preceding === null ? [] : [preceding]),
    ],
  }
}
