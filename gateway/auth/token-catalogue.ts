import { type Cell, type Database, DatabaseError } from './database.ts'
import { quotedTable, type TableName, type TokenColumns } from './token-columns.ts'

/** How the columns have to be read. */
export interface ColumnKinds {
  readonly id: 'text' | 'uuid'
  readonly expiresAt: 'timestamptz' | 'timestamp' | 'number'
}

export interface CatalogueReport {
  /** Null where the table does not fit. */
  readonly kinds: ColumnKinds | null
  /** Every problem, each naming the column and what was expected. */
  readonly problems: readonly string[]
  /** What lets tokens be looked up, but slowly or not as meant. */
  readonly warnings: readonly string[]
}

interface Mapping {
  readonly table: TableName
  readonly columns: TokenColumns
  /** True where refresh and logout write the table. */
  readonly written?: boolean
}

interface Column {
  readonly type: string
  readonly isEnum: boolean
  readonly readable: boolean
}

/** The base type of a domain stands for the domain, which may be one of a domain. */
const COLUMNS = `
  with recursive types(attnum, type) as (
    select a.attnum, a.atttypid from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
    union all
    select s.attnum, t.typbasetype from types s join pg_catalog.pg_type t on t.oid = s.type
    where t.typbasetype <> 0
  )
  select a.attname::text, t.typname::text, t.typtype = 'e',
         has_column_privilege(a.attrelid, a.attnum, 'SELECT')
  from pg_catalog.pg_attribute a
  join types s on s.attnum = a.attnum
  join pg_catalog.pg_type t on t.oid = s.type and t.typbasetype = 0
  where a.attrelid = to_regclass($1)
  order by a.attnum`

/** Only an index without a condition, and with the id in front, serves every look-up. */
const TABLE = `
  select c.relkind::text, row_security_active(c.oid), coalesce(bool_or(i.indisunique and i.indnkeyatts = 1), false),
         count(i.indexrelid) > 0, has_table_privilege(c.oid, 'INSERT') and has_table_privilege(c.oid, 'UPDATE')
  from pg_catalog.pg_class c
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
  left join pg_catalog.pg_index i
    on i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid and i.indpred is null
  where c.oid = to_regclass($1)
  group by c.oid, c.relkind`

/** Kinds of relations that tell what is committed; and of those, the ones that have indexes. */
const CURRENT_KINDS = new Set(['r', 'p', 'v', 'f'])
const INDEXED_KINDS = new Set(['r', 'p'])

const INSUFFICIENT_PRIVILEGE = '42501'

const TEXT = ['text', 'varchar']
const NUMBERS = ['int4', 'int8', 'numeric', 'float8', 'float4']
const NAMES = [...TEXT, 'uuid', 'int2', 'int4', 'int8', 'numeric']

const FITS: Readonly<
  Record<keyof TokenColumns, { readonly types: readonly string[]; readonly expected: string }>
> = {
  id: { types: [...TEXT, 'uuid'], expected: 'text, varchar or uuid' },
  userId: { types: NAMES, expected: 'text, varchar, uuid or an integer' },
  sessionId: { types: NAMES, expected: 'text, varchar, uuid or an integer' },
  mandateId: { types: NAMES, expected: 'text, varchar, uuid or an integer' },
  status: { types: TEXT, expected: 'text, varchar or an enum' },
  expiresAt: {
    types: ['timestamptz', 'timestamp', ...NUMBERS],
    expected: 'timestamptz, timestamp (UTC) or a number (epoch seconds)',
  },
}

/** @throws DatabaseError where the catalogue cannot be read */
export async function checkCatalogue(
  database: Database,
  mapping: Mapping,
  deadlineMs: number,
): Promise<CatalogueReport> {
  const name = quotedTable(mapping.table)
  let rows: Cell[][]
  try {
    rows = await database.query({ text: COLUMNS, parameters: [name] }, deadlineMs)
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code !== INSUFFICIENT_PRIVILEGE) throw error
    return missing(name)
  }
  if (rows.length === 0) return missing(name)
  const found = new Map<string, Column>()
  for (const [column, type, isEnum, readable] of rows) {
    found.set(String(column), { type: String(type), isEnum: isEnum === true, readable: readable === true })
  }
  const { columns } = mapping
  const [table] = await database.query({ text: TABLE, parameters: [name, columns.id] }, deadlineMs)
  const problems = (Object.keys(FITS) as (keyof TokenColumns)[]).flatMap(
    (key) => problemOf(key, columns[key], found) ?? [],
  )
  if (table !== undefined && !CURRENT_KINDS.has(String(table[0]))) {
    problems.unshift('is no table or view that tells what is committed now (a materialized view is a copy)')
  }
  return {
    kinds: problems.length === 0 ? kindsOf(columns, found) : null,
    problems: problems.map((problem) => `${name}: ${problem}`),
    warnings: table === undefined ? [] : warningsOf(table, mapping).map((warning) => `${name}: ${warning}`),
  }
}

function missing(name: string): CatalogueReport {
  const problem = `the table ${name} does not exist, or the role may not use its schema (TOKEN_TABLE)`
  return { kinds: null, problems: [problem], warnings: [] }
}

function warningsOf(
  [kind, rowSecurity, unique, indexed, writable]: readonly Cell[],
  { columns: { id }, written }: Mapping,
): string[] {
  const warnings: string[] = []
  if (written === true && writable !== true)
    warnings.push('the role may not INSERT and UPDATE: refresh and logout will fail (SESSION_ENDPOINTS)')
  if (rowSecurity === true) {
    warnings.push('row-level security applies to the role: tokens whose rows it may not see are refused')
  }
  if (!INDEXED_KINDS.has(String(kind))) return warnings
  if (indexed !== true)
    warnings.push(`no index begins with the column "${id}": every look-up reads the whole table`)
  else if (unique !== true)
    warnings.push(`no unique index is on the column "${id}" alone: an id may have several rows`)
  return warnings
}

function problemOf(
  key: keyof TokenColumns,
  column: string,
  found: ReadonlyMap<string, Column>,
): string | null {
  const mapped = column === key ? '' : ` (mapped from ${key})`
  const entry = found.get(column)
  if (entry === undefined) {
    return `has no column "${column}"${mapped}; it has ${[...found.keys()].map((each) => `"${each}"`).join(', ')} (TOKEN_COLUMNS)`
  }
  if (!entry.readable) return `the role may not SELECT the column "${column}"${mapped}`
  const { types, expected } = FITS[key]
  if (types.includes(entry.type) || (key === 'status' && entry.isEnum)) return null
  return `the column "${column}"${mapped} is of type ${entry.type}; expected ${expected}`
}

function kindsOf(columns: TokenColumns, found: ReadonlyMap<string, Column>): ColumnKinds {
  const expiry = found.get(columns.expiresAt)!.type
  return {
    id: found.get(columns.id)!.type === 'uuid' ? 'uuid' : 'text',
    expiresAt: expiry === 'timestamptz' || expiry === 'timestamp' ? expiry : 'number',
  }
}
