import { hashText } from '../../core/text-hash.ts'
import { type Cell, type Database, DatabaseError, type Query } from '../../database/database.ts'
import { canonicalValue } from './column-values.ts'
import { type CheckedTexts, checkedTexts, type MappedTable, type TableCheck } from './mapped-table.ts'
import type { DecidingRow, IdentityTypes } from './row-decision.ts'
import { identityFromCell, mandateFromCell, parameterType, rowColumnsSql } from './row-statements.ts'
import { type CatalogueReport, checkCatalogue, type TokenMapping } from './token-catalogue.ts'
import { expirySql } from './token-expiry.ts'

/** The row of a token. */
export interface TokenRow extends DecidingRow {
  readonly id: string
  /** The value of the column. */
  readonly status: string | null
  /** Epoch milliseconds; null where the token's own `exp` alone decides. */
  readonly expiresAt: number | null
}

export interface TokenTable {
  /** How many servers the database has; one of them is the primary. */
  readonly hosts: number
  /**
   * Reads the rows of these ids in one statement. The map has the ids as they were given, and none that has no row.
   *
   * @throws DatabaseError, also where the server is in recovery
   */
  findMany(ids: readonly string[], deadlineMs: number): Promise<Map<string, TokenRow>>
  /** Compares the mapping with the catalogue. @throws DatabaseError */
  checkMapping(deadlineMs: number): Promise<CatalogueReport>
  /**
   * Runs `task` with the mapping as it was read last. Where a statement of the task finds that the table has changed, the
   * mapping is read again and the task is repeated once.
   *
   * @param deadlineMs for everything together
   * @throws DatabaseError, `MAPPING` where the table does not fit any more, and what `task` throws
   */
  withMapped<T>(deadlineMs: number, task: (mapped: MappedTable, leftMs: number) => Promise<T>): Promise<T>
  /** Resolves where tokens could be looked up. @throws DatabaseError */
  probe(deadlineMs: number): Promise<void>
  /** The canonical spelling of an id, by the mapping as it was read last. */
  canonicalId(id: string): string
}

export interface TokenTableParts extends TokenMapping {
  readonly database: Database
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

/** A mapping, with what look-ups need of it. */
interface PreparedMapping {
  readonly mapped: MappedTable
  readonly texts: CheckedTexts
  readonly types: IdentityTypes
}

/** SQLSTATE class 42: the table has changed; class 22: a value does not fit the type that its column had. */
const CHANGED = /^(?:CHANGED$|42|22)/
const INVALID_VALUE = /^22/

export function createTokenTable({ database, now, ...mapping }: TokenTableParts): TokenTable {
  let prepared: PreparedMapping | null = null

  async function check(deadlineMs: number): Promise<CatalogueReport> {
    const end = now() + deadlineMs
    const query: Query = (statement) => database.query(statement, Math.max(1, end - now()))
    const report = await checkCatalogue(query, mapping)
    prepared = report.mapped === null ? null : prepare(report.mapped)
    return report
  }

  async function read(deadlineMs: number): Promise<PreparedMapping> {
    const { mapped, problems } = await check(deadlineMs)
    if (mapped !== null) return prepare(mapped)
    const message = `the token table does not fit the mapping: ${problems.join('; ')}`
    throw new DatabaseError('MAPPING', message, { stale: false })
  }

  async function withPrepared<T>(
    deadlineMs: number,
    task: (prepared: PreparedMapping, leftMs: number) => Promise<T>,
  ): Promise<T> {
    const end = now() + deadlineMs
    const first = prepared ?? (await read(deadlineMs))
    try {
      return await task(first, end - now())
    } catch (error) {
      if (!(error instanceof DatabaseError) || !CHANGED.test(error.code)) throw error
      const others = prepared
      if (others === first) prepared = null
      const second = others !== null && others !== first ? others : await read(end - now())
      // The mapping has not changed, so the value in a row is at fault and would fail again.
      if (INVALID_VALUE.test(error.code) && second.texts.text === first.texts.text) throw error
      return task(second, end - now())
    }
  }

  return {
    hosts: database.hosts,
    async findMany(ids, deadlineMs) {
      if (ids.length === 0) return new Map()
      return withPrepared(deadlineMs, async (mapping, leftMs) => {
        const queried = queriedIds(ids, mapping.mapped.id.type)
        const parameters = [arrayLiteral(queried.canonical)]
        const cells = await database.query({ ...mapping.texts, parameters }, leftMs)
        return rowsById(cells, queried, mapping)
      })
    },
    checkMapping: check,
    withMapped: (deadlineMs, task) => withPrepared(deadlineMs, ({ mapped }, leftMs) => task(mapped, leftMs)),
    probe: (deadlineMs) =>
      withPrepared(deadlineMs, async ({ texts }, leftMs) => {
        await database.query({ ...texts, parameters: ['{}'] }, leftMs)
      }),
    canonicalId: (id) => (prepared === null ? id : (canonicalValue(prepared.mapped.id.type, id) ?? id)),
  }
}

function prepare(mapped: MappedTable): PreparedMapping {
  return {
    mapped,
    texts: checkedTexts(mapped, (check) => selectText(mapped, check)),
    types: {
      userId: mapped.userId.type,
      sessionId: mapped.sessionId.type,
      mandateId: mapped.mandateId.type,
    },
  }
}

/**
 * One statement for all ids of a batch. The cast is on the parameter, never on the column, so that the index of the
 * primary key can be used. Joins with `unnest`, `union all` and `string_to_array` were not faster in measurements.
 */
function selectText(mapped: MappedTable, { stateSql, fromSql, typeConditionSql }: TableCheck): string {
  const { expired, epoch } = expirySql(`t.${mapped.expiresAt.sql}`, mapped.expiresAt.type)
  return (
    `select ${stateSql}, ${rowColumnsSql(mapped, 't.')}, ${expired}, ${epoch} from ${fromSql} ` +
    `left join ${mapped.name} as t on t.${mapped.id.sql} = any($1::${parameterType(mapped.id.type)}[]) and ${typeConditionSql}`
  )
}

/** The ids of a query: as they were given, and at the same places in their canonical spelling. */
interface QueriedIds {
  readonly ids: readonly string[]
  readonly canonical: readonly string[]
}

/**
 * Leaves out ids that cannot be values of the column, since they would fail the whole statement. The query is sent even
 * where no id is left: while the database is down even such an id must not be called unknown.
 */
function queriedIds(ids: readonly string[], type: string): QueriedIds {
  if (type === 'text' || type === 'varchar') return { ids, canonical: ids }
  const queried: { ids: string[]; canonical: string[] } = { ids: [], canonical: [] }
  for (const id of ids) {
    const canonical = canonicalValue(type, id)
    if (canonical === null) continue
    queried.ids.push(id)
    queried.canonical.push(canonical)
  }
  return queried
}

/** The text form of an array (PostgreSQL manual, section 8.15.6). Elements are quoted, so that `NULL` is an id too. */
function arrayLiteral(ids: readonly string[]): string {
  let literal = '{'
  for (const id of ids) {
    literal += literal.length === 1 ? '"' : ',"'
    literal += /["\\]/.test(id) ? id.replace(/["\\]/g, '\\$&') : id
    literal += '"'
  }
  return `${literal}}`
}

function rowsById(
  cells: readonly Cell[][],
  { ids, canonical }: QueriedIds,
  prepared: PreparedMapping,
): Map<string, TokenRow> {
  const { first, next } = placesByHash(canonical)
  const isDecimal = prepared.mapped.id.type === 'numeric'
  const rows = new Map<string, TokenRow>()
  for (const cell of cells) {
    const text = cell[1] as string | null
    if (text === null) continue
    const id = isDecimal ? canonicalValue('numeric', text) : text
    if (id === null) continue
    for (let place = first.get(hashText(id)) ?? -1; place !== -1; place = next[place]!) {
      if (canonical[place] === id) addRow(rows, ids[place]!, toRow(cell, prepared))
    }
  }
  return rows
}

/** The places of ids by their hashes: the first place of each hash, and for each place the next one or -1. */
function placesByHash(ids: readonly string[]): {
  readonly first: ReadonlyMap<number, number>
  readonly next: readonly number[]
} {
  const first = new Map<number, number>()
  const next: number[] = new Array(ids.length)
  for (let place = ids.length - 1; place >= 0; place--) {
    const hash = hashText(ids[place]!)
    next[place] = first.get(hash) ?? -1
    first.set(hash, place)
  }
  return { first, next }
}

/** Where an id has several rows, one that refuses wins over one that admits. */
function addRow(rows: Map<string, TokenRow>, id: string, row: TokenRow): void {
  const before = rows.get(id)
  if (before === undefined || (before.active && !before.expired)) rows.set(id, row)
}

function toRow(cell: readonly Cell[], { mapped, types }: PreparedMapping): TokenRow {
  const epoch = cell[7]
  const status = cell[5] as string | null
  return {
    id: cell[1] as string,
    userId: identityFromCell(cell[2]!),
    sessionId: identityFromCell(cell[3]!),
    mandateId: mandateFromCell(cell[4]!),
    status,
    active: status === mapped.statuses.admitting,
    expired: cell[6] === true,
    expiresAt: typeof epoch === 'number' && !Number.isNaN(epoch) ? Math.round(epoch * 1000) : null,
    types,
  }
}
