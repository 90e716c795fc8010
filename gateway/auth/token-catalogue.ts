import type { Database } from './database.ts'
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
}

interface Mapping {
  readonly table: TableName
  readonly columns: TokenColumns
}

interface Column {
  readonly type: string
  readonly isEnum: boolean
  readonly readable: boolean
}

/** The base type of a domain stands for the domain. */
const COLUMNS = `
  select a.attname::text, coalesce(b.typname, t.typname)::text, coalesce(b.typtype, t.typtype) = 'e',
         has_column_privilege(a.attrelid, a.attnum, 'SELECT')
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_type t on t.oid = a.atttypid
  left join pg_catalog.pg_type b on b.oid = t.typbasetype
  where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped`

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
  const rows = await database.query({ text: COLUMNS, parameters: [name] }, deadlineMs)
  if (rows.length === 0) {
    return {
      kinds: null,
      problems: [`the table ${name} does not exist, or the role may not use its schema (TOKEN_TABLE)`],
    }
  }
  const found = new Map<string, Column>()
  for (const [column, type, isEnum, readable] of rows) {
    found.set(String(column), { type: String(type), isEnum: isEnum === true, readable: readable === true })
  }
  const problems = (Object.keys(FITS) as (keyof TokenColumns)[]).flatMap((key) => {
    const problem = problemOf(key, mapping.columns[key], found)
    return problem === null ? [] : [`${name}: ${problem}`]
  })
  return { kinds: problems.length === 0 ? kindsOf(mapping.columns, found) : null, problems }
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
