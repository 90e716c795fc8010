import { DatabaseError, type Query } from '../../database/database.ts'
import type { CatalogueColumn, Relation } from './catalogue-relation.ts'
import { quoteIdentifier } from './token-columns.ts'
import type { TokenStatuses } from './token-statuses.ts'

export interface StatusCheck {
  /** In the spelling of the column; a status that the column cannot hold stays as it is configured. */
  readonly statuses: TokenStatuses
  readonly problems: readonly string[]
}

/** SQLSTATE classes of an invalid value (22), of one that a domain refuses (23), and of a missing cast (42). */
const NO_VALUE = /^(22|23|42)/

/** The CHECK constraints on this column only. The catalogue has `conenforced` since PostgreSQL 18. */
const CHECKS = `
  select c.conname::text, pg_get_expr(c.conbin, c.conrelid), c.convalidated
  from pg_catalog.pg_constraint c
  join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attname = $2 and c.conkey = array[a.attnum]
  where c.conrelid = $1::oid and c.contype = 'c' and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
  order by c.conname`

/**
 * Checks whether the status column can hold the configured statuses, and finds out how it spells them: a boolean spells
 * `t` as `true`.
 *
 * @param written true where the gateway also writes the status of a revocation
 * @throws DatabaseError
 */
export async function checkStatuses(
  query: Query,
  relation: Relation,
  column: CatalogueColumn,
  { statuses, written }: { readonly statuses: TokenStatuses; readonly written: boolean },
): Promise<StatusCheck> {
  const problems: string[] = []
  const spelt: Record<keyof TokenStatuses, string> = { ...statuses }
  const read = new Set<keyof TokenStatuses>()
  for (const use of ['admitting', 'revoked'] as const) {
    const spelling = await spellStatus(query, column, statuses[use])
    if (spelling !== null) {
      spelt[use] = spelling
      read.add(use)
    } else if (use === 'admitting' || written) {
      problems.push(await describeUnknownStatus(query, column, statuses[use]))
    }
  }
  if (read.size === 2 && spelt.admitting === spelt.revoked) {
    problems.push(
      `the statuses "${statuses.admitting}" and "${statuses.revoked}" are the same value of the column "${column.name}" (${column.type}); expected two different ones in TOKEN_STATUSES`,
    )
  }
  if (problems.length > 0) return { statuses: spelt, problems }
  const checks = await query({ text: CHECKS, parameters: [relation.oid, column.name] })
  for (const [name, expression, validated] of checks) {
    // Rows from before a constraint that was not validated may hold anything.
    const uses = [
      ...(validated === true ? ['admitting' as const] : []),
      ...(written ? ['revoked' as const] : []),
    ]
    for (const use of uses) {
      if (
        (await evaluateForStatus(query, column, { expression: String(expression), status: spelt[use] })) !==
        false
      )
        continue
      problems.push(
        `the constraint "${name}" allows no ${purposeOf(use)} "${spelt[use]}" in the column "${column.name}": CHECK ${expression} (TOKEN_STATUSES)`,
      )
    }
  }
  return { statuses: spelt, problems }
}

/**
 * Evaluates an expression for a row of which only the status is known; null where the result is NULL, or the expression
 * needs other columns.
 *
 * @param expression the SQL text from the catalogue
 * @throws DatabaseError where the database cannot be queried
 */
export async function evaluateForStatus(
  query: Query,
  column: CatalogueColumn,
  { expression, status }: { readonly expression: string; readonly status: string },
): Promise<boolean | null> {
  const row = `select cast(cast($1 as text) as ${column.declared}) as ${quoteIdentifier(column.name)}`
  try {
    const [cells] = await query({
      text: `select (${expression}) from (${row}) as checked`,
      parameters: [status],
    })
    const value = cells?.[0]
    return typeof value === 'boolean' ? value : null
  } catch (error) {
    if (error instanceof DatabaseError && error.answered) return null
    throw error
  }
}

/** How the column spells a status; null where it cannot hold it. @throws DatabaseError */
async function spellStatus(query: Query, column: CatalogueColumn, status: string): Promise<string | null> {
  const text = await castStatus(query, column, status)
  if (text === null || (column.length !== null && [...status].length > column.length)) return null
  return text
}

async function castStatus(query: Query, column: CatalogueColumn, status: string): Promise<string | null> {
  const isText = ['text', 'varchar', 'bpchar'].includes(column.type)
  if (isText && !column.isDomain) return status
  try {
    const [cells] = await query({
      text: `select cast(cast($1 as text) as ${column.declared})::text`,
      parameters: [status],
    })
    return String(cells?.[0])
  } catch (error) {
    if (error instanceof DatabaseError && error.answered && NO_VALUE.test(error.code)) return null
    throw error
  }
}

async function describeUnknownStatus(query: Query, column: CatalogueColumn, status: string): Promise<string> {
  const { name, type, length, isEnum } = column
  const expected = 'expected statuses that it has in TOKEN_STATUSES'
  if (length !== null && [...status].length > length)
    return `the column "${name}" takes ${length} characters, too few for the status "${status}"; ${expected}`
  if (type === 'bool')
    return `the column "${name}" is of type bool, which has no "${status}"; ${expected}: true,false or false,true`
  if (!isEnum) return `the column "${name}" of type ${column.declared} takes no "${status}"; ${expected}`
  const labels = await query({
    text: 'select enumlabel::text from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid where t.typname = $1 order by enumsortorder',
    parameters: [type],
  })
  const known = labels.map(([label]) => `"${label}"`).join(', ')
  return `the enum ${type} of the column "${name}" has no "${status}", only ${known}; ${expected}`
}

function purposeOf(use: keyof TokenStatuses): string {
  return use === 'admitting' ? 'admitting status' : 'status of a revocation,'
}
