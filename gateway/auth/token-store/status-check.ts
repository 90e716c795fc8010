import { DatabaseError, type Query } from '../../database/database.ts'
import type { CatalogueColumn, Relation } from './catalogue-relation.ts'
import { quoteIdentifier } from './token-columns.ts'
import type { TokenStatuses } from './token-statuses.ts'

export interface StatusCheck {
  /** As the column writes them; one that it does not take stays as it is configured. */
  readonly statuses: TokenStatuses
  readonly problems: readonly string[]
}

/** Classes of a value that is none of its type (22) or that a domain does not take (23), and of a type without such a cast (42). */
const NO_VALUE = /^(22|23|42)/

/** Constraints of the column alone; whether one is enforced at all is known since PostgreSQL 18. */
const CHECKS = `
  select c.conname::text, pg_get_expr(c.conbin, c.conrelid), c.convalidated
  from pg_catalog.pg_constraint c
  join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attname = $2 and c.conkey = array[a.attnum]
  where c.conrelid = $1::oid and c.contype = 'c' and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
  order by c.conname`

/**
 * Whether the status column can hold the words that are configured, and how it writes them: `t` is `true` to a boolean.
 *
 * @param written true where the gateway writes the word of a revocation, too
 * @throws DatabaseError
 */
export async function checkStatuses(
  query: Query,
  relation: Relation,
  column: CatalogueColumn,
  { statuses, written }: { readonly statuses: TokenStatuses; readonly written: boolean },
): Promise<StatusCheck> {
  const problems: string[] = []
  const words: Record<keyof TokenStatuses, string> = { ...statuses }
  const read = new Set<keyof TokenStatuses>()
  for (const use of ['admitting', 'revoked'] as const) {
    const word = await readWord(query, column, statuses[use])
    if (word !== null) {
      words[use] = word
      read.add(use)
    } else if (use === 'admitting' || written) {
      problems.push(await withoutWord(query, column, statuses[use]))
    }
  }
  if (read.size === 2 && words.admitting === words.revoked) {
    problems.push(
      `the statuses "${statuses.admitting}" and "${statuses.revoked}" are the same value of the column "${column.name}" (${column.type}); expected two different ones in TOKEN_STATUSES`,
    )
  }
  if (problems.length > 0) return { statuses: words, problems }
  const checks = await query({ text: CHECKS, parameters: [relation.oid, column.name] })
  for (const [name, expression, validated] of checks) {
    // Rows from before a constraint that was not validated may hold anything.
    const uses = [
      ...(validated === true ? ['admitting' as const] : []),
      ...(written ? ['revoked' as const] : []),
    ]
    for (const use of uses) {
      if ((await evaluate(query, column, { expression: String(expression), word: words[use] })) !== false)
        continue
      problems.push(
        `the constraint "${name}" allows no ${purposeOf(use)} "${words[use]}" in the column "${column.name}": CHECK ${expression} (TOKEN_STATUSES)`,
      )
    }
  }
  return { statuses: words, problems }
}

/**
 * The value of an expression for a row of which only the status is known; null where it is NULL, or asks for more than
 * that.
 *
 * @param expression as the catalogue gives it
 * @throws DatabaseError where the database cannot be asked
 */
export async function evaluate(
  query: Query,
  column: CatalogueColumn,
  { expression, word }: { readonly expression: string; readonly word: string },
): Promise<boolean | null> {
  const row = `select cast(cast($1 as text) as ${column.declared}) as ${quoteIdentifier(column.name)}`
  try {
    const [cells] = await query({
      text: `select (${expression}) from (${row}) as checked`,
      parameters: [word],
    })
    const value = cells?.[0]
    return typeof value === 'boolean' ? value : null
  } catch (error) {
    if (error instanceof DatabaseError && error.answered) return null
    throw error
  }
}

/** How the column writes a word; null where it does not take it. @throws DatabaseError */
async function readWord(query: Query, column: CatalogueColumn, word: string): Promise<string | null> {
  const text = await castWord(query, column, word)
  if (text === null || (column.length !== null && [...word].length > column.length)) return null
  return text
}

async function castWord(query: Query, column: CatalogueColumn, word: string): Promise<string | null> {
  const isText = ['text', 'varchar', 'bpchar'].includes(column.type)
  if (isText && !column.isDomain) return word
  try {
    const [cells] = await query({
      text: `select cast(cast($1 as text) as ${column.declared})::text`,
      parameters: [word],
    })
    return String(cells?.[0])
  } catch (error) {
    if (error instanceof DatabaseError && error.answered && NO_VALUE.test(error.code)) return null
    throw error
  }
}

async function withoutWord(query: Query, column: CatalogueColumn, word: string): Promise<string> {
  const { name, type, length, isEnum } = column
  const expected = 'expected statuses that it has in TOKEN_STATUSES'
  if (length !== null && [...word].length > length)
    return `the column "${name}" takes ${length} characters, too few for the status "${word}"; ${expected}`
  if (type === 'bool')
    return `the column "${name}" is of type bool, which has no "${word}"; ${expected}: true,false or false,true`
  if (!isEnum) return `the column "${name}" of type ${column.declared} takes no "${word}"; ${expected}`
  const labels = await query({
    text: 'select enumlabel::text from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid where t.typname = $1 order by enumsortorder',
    parameters: [type],
  })
  const known = labels.map(([label]) => `"${label}"`).join(', ')
  return `the enum ${type} of the column "${name}" has no "${word}", only ${known}; ${expected}`
}

function purposeOf(use: keyof TokenStatuses): string {
  return use === 'admitting' ? 'admitting status' : 'status of a revocation,'
}
