import type { Statement } from '../../database/database.ts'
import { TIMELINE_SQL } from '../../database/timeline.ts'
import { sqlLiteral } from './token-columns.ts'
import type { ExpiryType } from './token-expiry.ts'
import type { TokenStatuses } from './token-statuses.ts'

/** A column of the token table as the catalogue has it. */
export interface MappedColumn<T extends string = string> {
  /** Its name in SQL. */
  readonly sql: string
  /** The catalogue's name of its type; for a domain that of its base type. */
  readonly type: T
  /** Its type in SQL; for a domain the name of the domain. */
  readonly declared: string
}

/** The token table as the catalogue had it when the mapping was last compared with it. */
export interface MappedTable {
  /** Its full name in SQL. */
  readonly name: string
  /** Its configured name in SQL, where that has no schema and the search path decides; else null. */
  readonly searched: string | null
  readonly oid: string
  readonly id: MappedColumn
  readonly userId: MappedColumn
  readonly sessionId: MappedColumn
  readonly mandateId: MappedColumn
  readonly status: MappedColumn
  readonly expiresAt: MappedColumn<ExpiryType>
  /** In the spelling of the column's type. */
  readonly statuses: TokenStatuses
  /** The value for no mandate in a new row. */
  readonly noMandate: '' | null
}

/** The parts of a statement's SQL that check the server, and whether the statement reads the table as it was mapped. */
export interface TableCheck {
  /** The first cell, as `Statement` describes it; NULL where the table is another one now. */
  readonly stateSql: string
  /** The left side of a left join with the table `t`, so that there is a row even where the table has none. */
  readonly fromSql: string
  /** A condition on `t` that is always true; where the type of a column has changed, the statement fails instead. */
  readonly typeConditionSql: string
}

/**
 * Checked once for each statement: whether the server is in recovery (behind a pooler the server of an open connection can
 * change, and a standby may not have the latest revocations), and whether the search path still leads to the same table.
 * `offset 0` keeps the planner from checking that for each row. Where the server tells its timeline, that is checked too: a
 * primary that was replaced does not know it, and is not in recovery.
 *
 * Checked by the planner, again whenever the table is changed: whether the full name still is the same table's, and
 * whether the columns have the same types. The name is compared in the first cell, because that is computed after the
 * table is locked.
 */
function tableCheck(mapped: MappedTable, primarySql: string, standbySql: string): TableCheck {
  const oid = `'${mapped.oid}'::oid`
  const found = mapped.searched === null ? 'true' : `to_regclass(${sqlLiteral(mapped.searched)}) = ${oid}`
  const state = `case when pg_is_in_recovery() then ${standbySql} when ${found} then ${primarySql} end`
  return {
    stateSql: `case when ${sqlLiteral(mapped.name)}::regclass = ${oid} then always.state end`,
    fromSql: `(select ${state} as state offset 0) as always`,
    typeConditionSql: typeCheck(mapped),
  }
}

/** Both texts of a statement that only the primary may answer. */
export type CheckedTexts = Required<Pick<Statement, 'text' | 'fencedText' | 'primaryOnly'>>

/** @param textOf makes the statement's SQL of the parts that check the server and the table */
export function checkedTexts(mapped: MappedTable, textOf: (check: TableCheck) => string): CheckedTexts {
  return {
    text: textOf(tableCheck(mapped, 'false', 'true')),
    fencedText: textOf(tableCheck(mapped, TIMELINE_SQL, `'standby'`)),
    primaryOnly: true,
  }
}

/**
 * An implicit cast would let the old statement go on, and read the new values wrongly. Arrays of different types cannot be
 * compared, so that the statement fails. Columns of one type share an array; the changes that this hides (a text that
 * becomes a varchar, an integer a smaller one) do not change how the values are read.
 */
function typeCheck({ id, userId, sessionId, mandateId, status, expiresAt }: MappedTable): string {
  const columns: readonly MappedColumn[] = [id, userId, sessionId, mandateId, status, expiresAt]
  const types = [...new Set(columns.map(({ declared }) => declared))]
  return types
    .map((type) => {
      const same = columns.filter(({ declared }) => declared === type).map(({ sql }) => `t.${sql}`)
      return `(array[${same.join(', ')}] @> null::${type}[]) is null`
    })
    .join(' and ')
}

/** A statement that checks the table and reads no row. In a transaction it locks the table against changes until the end. */
export function tableCheckStatement(mapped: MappedTable): Statement {
  const texts = checkedTexts(
    mapped,
    ({ stateSql, fromSql, typeConditionSql }) =>
      `select ${stateSql} from ${fromSql} left join ${mapped.name} as t on false and ${typeConditionSql}`,
  )
  return { ...texts, parameters: [] }
}
