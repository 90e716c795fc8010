import { hashText } from '../../core/text-hash.ts'
import { type Cell, type Database, DatabaseError, type Query } from '../../database/database.ts'
import { canonicalValue } from './column-values.ts'
import { type MappedTable, proofOf } from './mapped-table.ts'
import type { DecidingRow, IdentityTypes } from './row-decision.ts'
import { type CatalogueReport, checkCatalogue, type TokenMapping } from './token-catalogue.ts'
import { expirySql } from './token-expiry.ts'

/** A token as the table has it now. */
export interface TokenRow extends DecidingRow {
  readonly id: string
  /** The column's own word. */
  readonly status: string | null
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
  /**
   * Runs `task` by the table as it was mapped last. Where a statement of the task finds that the table has changed
   * since, the mapping is read again, and the task is run once more.
   *
   * @param deadlineMs for all of it
   * @throws DatabaseError, `MAPPING` where the table does not fit any more, and what `task` throws
   */
  withMapped<T>(deadlineMs: number, task: (mapped: MappedTable, leftMs: number) => Promise<T>): Promise<T>
  /** Resolves where tokens could be looked up. @throws DatabaseError */
  probe(deadlineMs: number): Promise<void>
  /** The one spelling of an id, by the mapping as it was read last. */
  canonicalId(id: string): string
}

export interface TokenTableParts extends TokenMapping {
  readonly database: Database
  /** Milliseconds, monotonic. */
  readonly now: () => number
}

interface Prepared {
  readonly mapped: MappedTable
  readonly text: string
  readonly types: IdentityTypes
}

/** SQLSTATE class 42: the table is not as it was; class 22: a value is not of its column's type any more. */
const CHANGED = /^(?:CHANGED$|42|22)/
const VALUE = /^22/

export function createTokenTable({ database, now, ...mapping }: TokenTableParts): TokenTable {
  let prepared: Prepared | null = null

  async function check(deadlineMs: number): Promise<CatalogueReport> {
    const end = now() + deadlineMs
    const query: Query = (statement) => database.query(statement, Math.max(1, end - now()))
    const report = await checkCatalogue(query, mapping)
    prepared = report.mapped === null ? null : prepare(report.mapped)
    return report
  }

  async function read(deadlineMs: number): Promise<Prepared> {
    const { mapped, problems } = await check(deadlineMs)
    if (mapped !== null) return prepare(mapped)
    const message = `the token table does not fit the mapping: ${problems.join('; ')}`
    throw new DatabaseError('MAPPING', message, { stale: false })
  }

  async function withPrepared<T>(
    deadlineMs: number,
    task: (prepared: Prepared, leftMs: number) => Promise<T>,
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
      // A value that fails the same statement again is the row's fault, not the mapping's.
      if (VALUE.test(error.code) && second.text === first.text) throw error
      return task(second, end - now())
    }
  }

  return {
    hosts: database.hosts,
    async findMany(ids, deadlineMs) {
      if (ids.length === 0) return new Map()
      return withPrepared(deadlineMs, async (by, leftMs) => {
        const asked = askedFor(ids, by.mapped.id.type)
        const parameters = [arrayLiteral(asked.canonical)]
        const cells = await database.query({ text: by.text, parameters, primaryOnly: true }, leftMs)
        return rowsById(cells, asked, by)
      })
    },
    checkMapping: check,
    withMapped: (deadlineMs, task) => withPrepared(deadlineMs, ({ mapped }, leftMs) => task(mapped, leftMs)),
    probe: (deadlineMs) =>
      withPrepared(deadlineMs, async ({ text }, leftMs) => {
        await database.query({ text, parameters: ['{}'], primaryOnly: true }, leftMs)
      }),
    canonicalId: (id) => (prepared === null ? id : (canonicalValue(prepared.mapped.id.type, id) ?? id)),
  }
}

function prepare(mapped: MappedTable): Prepared {
  return {
    mapped,
    text: selectText(mapped),
    types: {
      userId: mapped.userId.type,
      sessionId: mapped.sessionId.type,
      mandateId: mapped.mandateId.type,
    },
  }
}

/**
 * One statement for all ids of a batch. The cast is on the parameter, never on the column, so that the primary key's
 * index serves. Its cost is the index's and the rows': joins with `unnest`, `union all` and `string_to_array` showed no
 * gain beyond the noise of a shared machine.
 */
function selectText(mapped: MappedTable): string {
  const { cell, source, types } = proofOf(mapped)
  const columns = [mapped.id, mapped.userId, mapped.sessionId, mapped.mandateId, mapped.status]
  const texts = columns.map(({ sql }) => `t.${sql}::text`).join(', ')
  const { expired, epoch } = expirySql(`t.${mapped.expiresAt.sql}`, mapped.expiresAt.type)
  return (
    `select ${cell}, ${texts}, ${expired}, ${epoch} from ${source} ` +
    `left join ${mapped.name} as t on t.${mapped.id.sql} = any($1::${parameterType(mapped.id.type)}[]) and ${types}`
  )
}

/** The type of a parameter that is compared with a column of this one. */
export function parameterType(type: string): string {
  return type === 'varchar' ? 'text' : type
}

/** Ids as the column writes them, each at the place of the id as asked. */
interface Asked {
  readonly ids: readonly string[]
  readonly canonical: readonly string[]
}

/**
 * What no value of the column can be is not asked for, and would fail the whole statement. It is asked even where no id
 * is left: an id is unknown by the database's word alone, and not while that is away.
 */
function askedFor(ids: readonly string[], type: string): Asked {
  if (type === 'text' || type === 'varchar') return { ids, canonical: ids }
  const asked: { ids: string[]; canonical: string[] } = { ids: [], canonical: [] }
  for (const id of ids) {
    const canonical = canonicalValue(type, id)
    if (canonical === null) continue
    asked.ids.push(id)
    asked.canonical.push(canonical)
  }
  return asked
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

function rowsById(
  cells: readonly Cell[][],
  { ids, canonical }: Asked,
  prepared: Prepared,
): Map<string, TokenRow> {
  const { first, next } = placesByKey(canonical)
  const isDecimal = prepared.mapped.id.type === 'numeric'
  const rows = new Map<string, TokenRow>()
  for (const cell of cells) {
    const text = cell[1] as string | null
    if (text === null) continue
    const id = isDecimal ? canonicalValue('numeric', text) : text
    if (id === null) continue
    for (let place = first.get(hashText(id)) ?? -1; place !== -1; place = next[place]!) {
      if (canonical[place] === id) put(rows, ids[place]!, toRow(cell, prepared))
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
    const key = hashText(ids[place]!)
    next[place] = first.get(key) ?? -1
    first.set(key, place)
  }
  return { first, next }
}

/** Where ids are not unique, a row that refuses outweighs one that admits. */
function put(rows: Map<string, TokenRow>, id: string, row: TokenRow): void {
  const before = rows.get(id)
  if (before === undefined || (before.active && !before.expired)) rows.set(id, row)
}

function toRow(cell: readonly Cell[], { mapped, types }: Prepared): TokenRow {
  const epoch = cell[7]
  const status = cell[5] as string | null
  return {
    id: cell[1] as string,
    // An identity that is missing, where a table allows it, is empty: one that cannot be sent.
    userId: (cell[2] ?? '') as string,
    sessionId: (cell[3] ?? '') as string,
    mandateId: cell[4] === '' ? null : (cell[4] as string | null),
    status,
    active: status === mapped.statuses.admitting,
    expired: cell[6] === true,
    expiresAt: typeof epoch === 'number' && !Number.isNaN(epoch) ? Math.round(epoch * 1000) : null,
    types,
  }
}
