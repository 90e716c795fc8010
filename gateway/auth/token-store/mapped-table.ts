import type { Statement } from '../../database/database.ts'
import { sqlLiteral } from './token-columns.ts'
import type { ExpiryType } from './token-expiry.ts'
import type { TokenStatuses } from './token-statuses.ts'

/** A column of the token table as the catalogue has it. */
export interface MappedColumn<T extends string = string> {
  /** Its name in SQL. */
  readonly sql: string
  /** The catalogue's name of its type; of a domain, the one below. */
  readonly type: T
  /** Its very type in SQL: a domain's own name. */
  readonly declared: string
}

/** The token table as the catalogue had it when the mapping was last compared with it. */
export interface MappedTable {
  /** Its full name in SQL. */
  readonly name: string
  /** Its name in SQL as it is configured, where the search path decides what that leads to; else null. */
  readonly searched: string | null
  readonly oid: string
  readonly id: MappedColumn
  readonly userId: MappedColumn
  readonly sessionId: MappedColumn
  readonly mandateId: MappedColumn
  readonly status: MappedColumn
  readonly expiresAt: MappedColumn<ExpiryType>
  /** As the column's type writes them. */
  readonly statuses: TokenStatuses
  /** What stands for no mandate in a new row. */
  readonly noMandate: '' | null
}

/** A statement's proof that it reads the table as it was mapped, as parts of its SQL. */
interface Proof {
  /** The first cell: false; true on a server in recovery; NULL where the table is another one now. */
  readonly cell: string
  /** What the table, called `t`, is joined to on the left: there is a row though the table gives none. */
  readonly source: string
  /** A condition on `t` that is always met; where a column's type is another one now, no such statement can be. */
  readonly types: string
}

/**
 * What is looked at once for each statement: whether the server is in recovery (behind a pooler it can change below a
 * living connection, and a standby's lag would void the promise), and whether the search path still leads to the same
 * table. `offset 0` keeps the planner from doing so for each row.
 *
 * The planner works the rest out, and works it out again whenever the table is changed: that the full name is the same
 * table's, and that the columns have the types they had. The name is looked at after the table is locked, hence in the
 * first cell.
 */
export function proofOf(mapped: MappedTable): Proof {
  const oid = `'${mapped.oid}'::oid`
  const found = mapped.searched === null ? 'true' : `to_regclass(${sqlLiteral(mapped.searched)}) = ${oid}`
  return {
    cell: `case when ${sqlLiteral(mapped.name)}::regclass = ${oid} then always.proof end`,
    source: `(select case when pg_is_in_recovery() then true when ${found} then false end as proof offset 0) as always`,
    types: typesProof(mapped),
  }
}

/**
 * An implicit cast would keep the old statement alive, and read the new values wrongly; arrays of different types are
 * never compared. Columns of one type share an array: what can change within it unseen (a text that becomes a varchar,
 * an integer a smaller one) is read in the same way.
 */
function typesProof({ id, userId, sessionId, mandateId, status, expiresAt }: MappedTable): string {
  const columns: readonly MappedColumn[] = [id, userId, sessionId, mandateId, status, expiresAt]
  const types = [...new Set(columns.map(({ declared }) => declared))]
  return types
    .map((type) => {
      const same = columns.filter(({ declared }) => declared === type).map(({ sql }) => `t.${sql}`)
      return `(array[${same.join(', ')}] @> null::${type}[]) is null`
    })
    .join(' and ')
}

/** A statement that proves the table, and in a transaction keeps it as it is until the end: it is locked, though not read. */
export function proofStatement(mapped: MappedTable): Statement {
  const { cell, source, types } = proofOf(mapped)
  return {
    text: `select ${cell} from ${source} left join ${mapped.name} as t on false and ${types}`,
    parameters: [],
    primaryOnly: true,
  }
}
