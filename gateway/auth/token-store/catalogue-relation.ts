import { type Cell, DatabaseError, type Query } from '../../database/database.ts'
import { quoteIdentifier, quoteTable, type TableName } from './token-columns.ts'

/** A column in PostgreSQL's catalogue. */
export interface CatalogueColumn {
  readonly name: string
  /** The name of its type; for a domain that of the base type. */
  readonly type: string
  readonly isEnum: boolean
  readonly isDomain: boolean
  /** Its type in SQL; for a domain the name of the domain. */
  readonly declared: string
  /** The most characters that a value may have; null where there is no limit. */
  readonly length: number | null
  readonly required: boolean
  /** True where a row can be inserted without a value for it. */
  readonly defaulted: boolean
  /** True where only PostgreSQL writes it. */
  readonly generated: boolean
  readonly readable: boolean
  readonly insertable: boolean
  readonly updatable: boolean
  /** False for a column of a view that is no column of a table. */
  readonly writable: boolean
}

/** A table, or another relation that can be read like one. */
export interface Relation {
  readonly oid: string
  /** Its full name in SQL. */
  readonly name: string
  /** `r` table, `p` partitioned, `v` view, `m` materialized view, `f` foreign table. */
  readonly kind: string
  readonly rowSecurity: boolean
  /** True where a unique index is on the id alone. */
  readonly uniqueId: boolean
  /** True where an index begins with the id. */
  readonly indexedId: boolean
  /** True where rows can be inserted and updated, given the privileges. */
  readonly updatable: boolean
  /** True where a trigger may set the columns that an INSERT leaves out. */
  readonly completedByTrigger: boolean
  readonly columns: ReadonlyMap<string, CatalogueColumn>
}

/** Only an index without a condition, and with the id as its first column, can be used by every look-up. */
const RELATION = `
  select c.oid::text, n.nspname::text, c.relname::text, c.relkind::text, row_security_active(c.oid),
         coalesce(bool_or(i.indisunique and i.indnkeyatts = 1), false), count(i.indexrelid) > 0,
         pg_relation_is_updatable(c.oid::regclass, true) & 12 = 12,
         exists (select from pg_catalog.pg_trigger g
                 where g.tgrelid = c.oid and g.tgtype & 7 = 7 and g.tgenabled in ('O', 'A'))
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $2 and not a.attisdropped
  left join pg_catalog.pg_index i
    on i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid and i.indpred is null
  where c.oid = to_regclass($1)
  group by c.oid, n.nspname, c.relname, c.relkind`

/** Types are base types: a domain is followed to its base type, which may be a domain again. */
const COLUMNS = `
  with recursive types(attnum, type, typmod, required, defaulted) as (
    select a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef or a.attidentity <> ''
    from pg_catalog.pg_attribute a
    where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped
    union all
    select s.attnum, t.typbasetype, case when t.typtypmod = -1 then s.typmod else t.typtypmod end,
           s.required or t.typnotnull, s.defaulted or t.typdefault is not null
    from types s join pg_catalog.pg_type t on t.oid = s.type
    where t.typbasetype <> 0
  )
  select a.attname::text, t.typname::text, t.typtype = 'e', t.oid <> a.atttypid,
         case when a.atttypid = 'bpchar'::regtype then 'bpchar' else format_type(a.atttypid, null) end,
         case when t.typname in ('varchar', 'bpchar') and s.typmod >= 4 then s.typmod - 4 end,
         s.required, s.defaulted, a.attgenerated <> '' or a.attidentity = 'a',
         has_column_privilege(a.attrelid, a.attnum, 'SELECT'),
         has_column_privilege(a.attrelid, a.attnum, 'INSERT'),
         has_column_privilege(a.attrelid, a.attnum, 'UPDATE'),
         c.relkind <> 'v' or pg_column_is_updatable(c.oid::regclass, a.attnum, true)
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_class c on c.oid = a.attrelid
  join types s on s.attnum = a.attnum
  join pg_catalog.pg_type t on t.oid = s.type and t.typbasetype = 0
  where a.attrelid = $1::oid
  order by a.attnum`

const INSUFFICIENT_PRIVILEGE = '42501'

/** @returns null where there is no such table, or the role may not use its schema. @throws DatabaseError */
export async function readRelation(query: Query, table: TableName, id: string): Promise<Relation | null> {
  let found: Cell[] | undefined
  try {
    ;[found] = await query({ text: RELATION, parameters: [quoteTable(table), id] })
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code !== INSUFFICIENT_PRIVILEGE) throw error
  }
  if (found === undefined) return null
  const [oid, schema, name, kind, rowSecurity, uniqueId, indexedId, updatable, completedByTrigger] = found
  const columns = await query({ text: COLUMNS, parameters: [String(oid)] })
  return {
    oid: String(oid),
    name: `${quoteIdentifier(String(schema))}.${quoteIdentifier(String(name))}`,
    kind: String(kind),
    rowSecurity: rowSecurity === true,
    uniqueId: uniqueId === true,
    indexedId: indexedId === true,
    updatable: updatable === true,
    completedByTrigger: completedByTrigger === true,
    columns: new Map(columns.map(columnOf).map((column) => [column.name, column])),
  }
}

function columnOf(cells: readonly Cell[]): CatalogueColumn {
  const [name, type, isEnum, isDomain, declared, length, required, defaulted, generated, ...rights] = cells
  const [readable, insertable, updatable, writable] = rights
  return {
    name: String(name),
    type: String(type),
    isEnum: isEnum === true,
    isDomain: isDomain === true,
    declared: String(declared),
    length: typeof length === 'number' ? length : null,
    required: required === true,
    defaulted: defaulted === true,
    generated: generated === true,
    readable: readable === true,
    insertable: insertable === true,
    updatable: updatable === true,
    writable: writable === true,
  }
}
