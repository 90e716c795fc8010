import type { Query } from '../../database/database.ts'
import { type CatalogueColumn, type Relation, readRelation } from './catalogue-relation.ts'
import type { MappedColumn, MappedTable } from './mapped-table.ts'
import { checkStatuses } from './status-check.ts'
import { quoteIdentifier, quoteTable, type TableName, type TokenColumns } from './token-columns.ts'
import type { ExpiryType } from './token-expiry.ts'
import type { TokenStatuses } from './token-statuses.ts'
import { checkWriting } from './write-check.ts'

export interface CatalogueReport {
  /** Null where tokens cannot be looked up. */
  readonly mapped: MappedTable | null
  /** Every problem, each naming the column and what was expected; with `mapped` they concern writing alone. */
  readonly problems: readonly string[]
  /** True where the only problems are a table or a grant that is still missing. */
  readonly mayHeal: boolean
  /** What makes look-ups slow, or is not as intended. */
  readonly warnings: readonly string[]
}

export interface TokenMapping {
  readonly table: TableName
  readonly columns: TokenColumns
  readonly statuses: TokenStatuses
  /** True where refresh and logout write the table. */
  readonly written: boolean
}

interface Problem {
  readonly text: string
  readonly mayHeal: boolean
}

type MappedColumns = Record<keyof TokenColumns, CatalogueColumn>

/** The kinds of relations that show what is committed, and those of them that have indexes. */
const CURRENT_KINDS = new Set(['r', 'p', 'v', 'f'])
const INDEXED_KINDS = new Set(['r', 'p'])

const TEXT = ['text', 'varchar']
const INTEGERS = ['int2', 'int4', 'int8']
const IDENTIFIER_TYPES = [...TEXT, 'uuid', ...INTEGERS, 'numeric']

const ACCEPTED_TYPES: Readonly<
  Record<keyof TokenColumns, { readonly types: readonly string[]; readonly expected: string }>
> = {
  id: { types: IDENTIFIER_TYPES, expected: 'text, varchar, uuid or an integer' },
  userId: { types: IDENTIFIER_TYPES, expected: 'text, varchar, uuid or an integer' },
  sessionId: { types: IDENTIFIER_TYPES, expected: 'text, varchar, uuid or an integer' },
  mandateId: { types: IDENTIFIER_TYPES, expected: 'text, varchar, uuid or an integer' },
  status: {
    types: [...TEXT, 'bpchar', 'bool', ...INTEGERS],
    expected: 'text, varchar, an enum, a boolean or an integer',
  },
  expiresAt: {
    types: ['timestamptz', 'timestamp', 'int4', 'int8', 'numeric', 'float8', 'float4'],
    expected: 'timestamptz, timestamp (UTC) or a number (epoch seconds or milliseconds)',
  },
}

const KEYS = Object.keys(ACCEPTED_TYPES) as (keyof TokenColumns)[]

/** Compares the mapping with PostgreSQL's catalogue. @throws DatabaseError where the catalogue cannot be read */
export async function checkCatalogue(query: Query, mapping: TokenMapping): Promise<CatalogueReport> {
  const name = quoteTable(mapping.table)
  const relation = await readRelation(query, mapping.table, mapping.columns.id)
  if (relation === null) {
    const text = `the table ${name} does not exist, or the role may not use its schema (TOKEN_TABLE)`
    return { mapped: null, problems: [text], mayHeal: true, warnings: [] }
  }
  const unreadable = findReadProblems(relation, mapping.columns)
  if (unreadable.length > 0) return reportOf(name, { mapped: null, problems: unreadable, warnings: [] })
  const found = columnsOf(relation, mapping.columns)
  const { statuses, problems } = await checkStatuses(query, relation, found.status, mapping)
  if (problems.length > 0)
    return reportOf(name, { mapped: null, problems: problems.map(permanentProblem), warnings: [] })
  const writing = mapping.written
    ? await checkWriting(query, { relation, mapped: found, statuses })
    : { problems: [], warnings: [], missingGrants: [] }
  return reportOf(name, {
    mapped: mappedTable(relation, found, mapping.table.schema === null ? name : null, statuses),
    problems: [
      ...writing.problems.map(permanentProblem),
      ...writing.missingGrants.map((text) => ({ text, mayHeal: true })),
    ],
    warnings: [...findWarnings(relation, mapping.columns), ...writing.warnings],
  })
}

function reportOf(
  name: string,
  {
    mapped,
    problems,
    warnings,
  }: { mapped: MappedTable | null; problems: readonly Problem[]; warnings: readonly string[] },
): CatalogueReport {
  return {
    mapped,
    problems: problems.map(({ text }) => `${name}: ${text}`),
    mayHeal: problems.length > 0 && problems.every(({ mayHeal }) => mayHeal),
    warnings: warnings.map((warning) => `${name}: ${warning}`),
  }
}

function permanentProblem(text: string): Problem {
  return { text, mayHeal: false }
}

/** Why tokens cannot be read. */
function findReadProblems(relation: Relation, columns: TokenColumns): Problem[] {
  const problems = [
    ...findMissingGrants(relation, columns),
    ...KEYS.flatMap((key) => findColumnProblem(key, columns[key], relation.columns) ?? []),
  ]
  if (!CURRENT_KINDS.has(relation.kind)) {
    const text = 'is no table or view that shows what is committed now (a materialized view is a copy)'
    problems.unshift(permanentProblem(text))
  }
  return problems
}

/** One problem for all of them: mostly the whole grant is missing. */
function findMissingGrants(relation: Relation, columns: TokenColumns): Problem[] {
  const names = KEYS.map((key) => columns[key]).filter(
    (name) => relation.columns.get(name)?.readable === false,
  )
  if (names.length === 0) return []
  const told = `${names.length === 1 ? 'column' : 'columns'} ${names.map((name) => `"${name}"`).join(', ')}`
  return [{ text: `the role may not SELECT the ${told}; expected GRANT SELECT`, mayHeal: true }]
}

function findColumnProblem(
  key: keyof TokenColumns,
  column: string,
  found: ReadonlyMap<string, CatalogueColumn>,
): Problem | null {
  const mapped = column === key ? '' : ` (mapped from ${key})`
  const entry = found.get(column)
  if (entry === undefined) {
    const known = [...found.keys()].map((each) => `"${each}"`).join(', ')
    return permanentProblem(`has no column "${column}"${mapped}; it has ${known} (TOKEN_COLUMNS)`)
  }
  if (!entry.readable) return null
  const { types, expected } = ACCEPTED_TYPES[key]
  if (types.includes(entry.type) || (key === 'status' && entry.isEnum)) return null
  return permanentProblem(`the column "${column}"${mapped} is of type ${entry.type}; expected ${expected}`)
}

function columnsOf(relation: Relation, columns: TokenColumns): MappedColumns {
  return Object.fromEntries(KEYS.map((key) => [key, relation.columns.get(columns[key])!])) as MappedColumns
}

function findWarnings({ kind, rowSecurity, indexedId, uniqueId }: Relation, { id }: TokenColumns): string[] {
  const warnings: string[] = []
  if (rowSecurity) {
    warnings.push('row-level security applies to the role: tokens whose rows it may not see are refused')
  }
  if (!INDEXED_KINDS.has(kind)) return warnings
  if (!indexedId)
    warnings.push(`no index begins with the column "${id}": every look-up reads the whole table`)
  else if (!uniqueId)
    warnings.push(`no unique index is on the column "${id}" alone: an id may have several rows`)
  return warnings
}

function mappedTable(
  relation: Relation,
  found: MappedColumns,
  searched: string | null,
  statuses: TokenStatuses,
): MappedTable {
  const column = (key: keyof TokenColumns): MappedColumn => {
    const { name, type, declared } = found[key]
    return { sql: quoteIdentifier(name), type, declared }
  }
  return {
    name: relation.name,
    searched,
    oid: relation.oid,
    id: column('id'),
    userId: column('userId'),
    sessionId: column('sessionId'),
    mandateId: column('mandateId'),
    status: column('status'),
    expiresAt: column('expiresAt') as MappedColumn<ExpiryType>,
    statuses,
    noMandate: found.mandateId.required && TEXT.includes(found.mandateId.type) ? '' : null,
  }
}
