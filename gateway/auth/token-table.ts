import { type Cell, type Database, DatabaseError } from './database.ts'
import { textKey } from './text-key.ts'
import { type CatalogueReport, type ColumnKinds, checkCatalogue } from './token-catalogue.ts'
import { quoted, quotedTable, type TableName, type TokenColumns } from './token-columns.ts'
import { expirySql } from './token-expiry.ts'

/** A token as the table has it now. */
export interface TokenRow {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string | null
  readonly status: string
  /** By the database's clock. */
  readonly expired: boolean
  /** Epoch milliseconds; null where the token's own `exp` alone decides. */
  readonly expiresAt: number | null
}

export interface TokenTable {
  /** Servers of which one may be the primary. */
  readonly hosts: number
  /**
   * The rows of these ids, by id as asked; an id that has no row is not in the map. One statement.
   *
   * @throws DatabaseError, also where the server is in recovery
   */
  findMany(ids: readonly string[], deadlineMs: number): Promise<Map<string, TokenRow>>
  /** Compares the mapping with the catalogue. @throws DatabaseError */
  checkMapping(deadlineMs: number): Promise<CatalogueReport>
  /** How the columns have to be read. @throws DatabaseError */
  kinds(deadlineMs: number): Promise<ColumnKinds>
  /** Resolves where tokens could be looked up. @throws DatabaseError */
  probe(deadlineMs: number): Promise<void>
}

export interface TokenTableParts {
  readonly database: Database
  readonly table: TableName
  readonly columns: TokenColumns
  /** True where refresh and logout write the table, too. */
  readonly written?: boolean
}

interface Prepared {
  readonly kinds: ColumnKinds
  readonly text: string
}

/** What a column of type uuid can be compared with; anything else is no id of its. */
export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** SQLSTATE class 42: the table is not as it was; class 22: a value is not of its column's type any more. */
const MAPPING_STATES = /^(42|22)/

export function createTokenTable({ database, table, columns, written = false }: TokenTableParts): TokenTable {
  let prepared: Prepared | null = null

  async function prepare(deadlineMs: number): Promise<Prepared> {
    if (prepared !== null) return prepared
    const report = await checkCatalogue(database, { table, columns, written }, deadlineMs)
    if (report.kinds === null) {
      throw new DatabaseError(
        'MAPPING',
        `the token table does not fit the mapping: ${report.problems.join('; ')}`,
        { stale: false },
      )
    }
    prepared = { kinds: report.kinds, text: selectText(table, columns, report.kinds) }
    return prepared
  }

  return {
    hosts: database.hosts,
    async findMany(ids, deadlineMs) {
      if (ids.length === 0) return new Map()
      const { kinds, text } = await prepare(deadlineMs)
      const uuid = kinds.id === 'uuid'
      // Asked even where none is left: an id is unknown by the database's word alone, and not while it is away.
      const asked = uuid ? ids.filter((id) => UUID.test(id)) : ids
      try {
        const parameters = [arrayLiteral(asked)]
        const cells = await database.query({ text, parameters, primaryOnly: true }, deadlineMs)
        return rowsById(cells, asked, uuid)
      } catch (error) {
        // A migration under way heals by itself: the next look-up reads the catalogue again.
        if (error instanceof DatabaseError && MAPPING_STATES.test(error.code)) prepared = null
        throw error
      }
    },
    async checkMapping(deadlineMs) {
      const report = await checkCatalogue(database, { table, columns, written }, deadlineMs)
      prepared =
        report.kinds === null ? null : { kinds: report.kinds, text: selectText(table, columns, report.kinds) }
      return report
    },
    kinds: async (deadlineMs) => (await prepare(deadlineMs)).kinds,
    async probe(deadlineMs) {
      const { text } = await prepare(deadlineMs)
      await database.query({ text, parameters: ['{}'], primaryOnly: true }, deadlineMs)
    },
  }
}

/**
 * One statement for all ids of a batch. The join carries `pg_is_in_recovery()` with every answer, an empty one
 * too: behind a pooler the server can change below a living connection, and a standby's lag would void the
 * promise. The cast is on the parameter, never on the column, so that the primary key's index serves.
 * Its cost is the index's and the rows': joins with `unnest`, `union all` and `string_to_array` showed no gain
 * beyond the noise of a shared machine.
 */
function selectText(table: TableName, columns: TokenColumns, kinds: ColumnKinds): string {
  const column = (name: keyof TokenColumns) => `t.${quoted(columns[name])}`
  const { expired, epoch } = expirySql(column('expiresAt'), kinds.expiresAt)
  const ids = kinds.id === 'uuid' ? '$1::uuid[]' : '$1::text[]'
  return (
    `select pg_is_in_recovery(), ${column('id')}::text, ${column('userId')}::text, ${column('sessionId')}::text, ` +
    `${column('mandateId')}::text, ${column('status')}::text, ${expired}, ${epoch} ` +
    `from (select) as always left join ${quotedTable(table)} as t on ${column('id')} = any(${ids})`
  )
}

/** An array's text form (PostgreSQL manual, section 8.15.6). Every element is quoted: `NULL` is an id like any other. */
function arrayLiteral(ids: readonly string[]): string {
  let literal = '{'
  for (const id of ids) {
    literal += literal.length === 1 ? '"' : ',"'
    literal += /["\\]/.test(id) ? id.replace(/["\\]/g, '\\$&') : id
    literal += '"'
  }
  return `${literal}}`
}

function rowsById(cells: readonly Cell[][], asked: readonly string[], uuid: boolean): Map<string, TokenRow> {
  // The database tells uuids in lower case; the token may have them in another.
  const ids = uuid ? asked.map((id) => id.toLowerCase()) : asked
  const { first, next } = placesByKey(ids)
  const rows = new Map<string, TokenRow>()
  for (const cell of cells) {
    const id = cell[1] as string | null
    if (id === null) continue
    for (let place = first.get(textKey(id)) ?? -1; place !== -1; place = next[place]!) {
      if (ids[place] === id) put(rows, asked[place]!, cell)
    }
  }
  return rows
}

/** The places of ids by their keys: the first one of each key, and from each place the next one, or -1. */
function placesByKey(ids: readonly string[]): {
  readonly first: ReadonlyMap<number, number>
  readonly next: readonly number[]
} {
  const first = new Map<number, number>()
  const next: number[] = new Array(ids.length)
  for (let place = ids.length - 1; place >= 0; place--) {
    const key = textKey(ids[place]!)
    next[place] = first.get(key) ?? -1
    first.set(key, place)
  }
  return { first, next }
}

/** Where ids are not unique, a row that refuses outweighs one that admits. */
function put(rows: Map<string, TokenRow>, id: string, cell: readonly Cell[]): void {
  const before = rows.get(id)
  if (before === undefined || (before.status === 'ACTIVE' && !before.expired)) rows.set(id, toRow(cell))
}

function toRow(cell: readonly Cell[]): TokenRow {
  const epoch = cell[7]
  return {
    id: cell[1] as string,
    // An identity that is missing, where a table allows it, is empty: one that cannot be sent.
    userId: (cell[2] ?? '') as string,
    sessionId: (cell[3] ?? '') as string,
    mandateId: cell[4] as string | null,
    status: cell[5] as string,
    // PostgreSQL sorts NaN behind every number; no token lives for ever by it.
    expired: cell[6] === true || Number.isNaN(epoch),
    expiresAt: typeof epoch === 'number' && !Number.isNaN(epoch) ? epoch * 1000 : null,
  }
}
