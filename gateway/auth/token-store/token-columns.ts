/** The name of a table as in PostgreSQL's catalogue; without a schema the search path decides. */
export interface TableName {
  readonly schema: string | null
  readonly name: string
}

/** The names that the columns have in the configured table. */
export interface TokenColumns {
  readonly id: string
  readonly userId: string
  readonly sessionId: string
  readonly mandateId: string
  readonly status: string
  readonly expiresAt: string
}

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string }

export const DEFAULT_COLUMNS: TokenColumns = {
  id: 'id',
  userId: 'userId',
  sessionId: 'sessionId',
  mandateId: 'mandateId',
  status: 'status',
  expiresAt: 'expiresAt',
}

/** An identifier, quoted or not (PostgreSQL manual, section 4.1.1). */
const IDENTIFIER = /^(?:"((?:[^"\0]|"")+)"|([A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*))/

/**
 * Reads a table's name as PostgreSQL does: `"Token"`, `auth.tokens`, `"My Schema"."Token"`. Unquoted parts are
 * folded to lower case.
 */
export function parseTokenTable(text: string): Parsed<TableName> {
  const expected = 'a table name as PostgreSQL quotes it, such as "Token" (with the quotes) or auth.tokens'
  const first = parseIdentifier(text.trim(), true)
  if (first === null) return { ok: false, problem: `found ${JSON.stringify(text)}; expected ${expected}` }
  if (first.rest === '') return { ok: true, value: { schema: null, name: first.name } }
  const second = first.rest.startsWith('.') ? parseIdentifier(first.rest.slice(1), true) : null
  if (second === null || second.rest !== '') {
    return { ok: false, problem: `found ${JSON.stringify(text)}; expected ${expected}` }
  }
  return { ok: true, value: { schema: first.name, name: second.name } }
}

/**
 * Reads `id=jti,userId=user_id,…`. Unnamed columns keep their default names. An unquoted name is taken as it
 * stands, since the defaults are in mixed case; a quoted one as PostgreSQL quotes.
 */
export function parseTokenColumns(text: string): Parsed<TokenColumns> {
  const columns: Record<keyof TokenColumns, string> = { ...DEFAULT_COLUMNS }
  const seen = new Set<string>()
  for (let rest = text.trim(); rest !== ''; ) {
    const key = /^\s*([A-Za-z]+)\s*=\s*/.exec(rest)
    if (key === null) return { ok: false, problem: `found ${JSON.stringify(rest)}; expected column=name` }
    const name = key[1]!
    if (!isColumnKey(name)) {
      return {
        ok: false,
        problem: `"${name}" is no column; expected one of ${Object.keys(DEFAULT_COLUMNS).join(', ')}`,
      }
    }
    if (seen.has(name)) return { ok: false, problem: `"${name}" is named twice` }
    seen.add(name)
    const column = parseIdentifier(rest.slice(key[0].length), false)
    if (column === null) return { ok: false, problem: `"${name}" has no column name behind its "="` }
    columns[name] = column.name
    const separator = /^\s*(?:,|$)/.exec(column.rest)
    if (separator === null) {
      return { ok: false, problem: `found ${JSON.stringify(column.rest)} behind "${name}"; expected a comma` }
    }
    rest = column.rest.slice(separator[0].length)
  }
  return { ok: true, value: columns }
}

function isColumnKey(name: string): name is keyof TokenColumns {
  return Object.hasOwn(DEFAULT_COLUMNS, name)
}

function parseIdentifier(text: string, fold: boolean): { name: string; rest: string } | null {
  const match = IDENTIFIER.exec(text)
  if (match === null) return null
  const name =
    match[1] === undefined ? (fold ? foldCase(match[2]!) : match[2]!) : match[1].replaceAll('""', '"')
  return { name, rest: text.slice(match[0].length) }
}

/** Lower case as PostgreSQL folds unquoted identifiers: only these letters (in a multi-byte encoding). */
function foldCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}

/** An identifier in SQL, always quoted. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** A table in SQL. */
export function quoteTable({ schema, name }: TableName): string {
  return schema === null ? quoteIdentifier(name) : `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`
}

/** A text literal in SQL. One with a backslash is an E'' literal, since standard_conforming_strings may be off (PostgreSQL manual, section 4.1.2.2). */
export function sqlLiteral(text: string): string {
  const plain = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? `E${plain.replaceAll('\\', '\\\\')}` : plain
}
