/** Types of a column of expiries, as the catalogue names them. Of `timestamp` the time is UTC. */
export type ExpiryType = 'timestamptz' | 'timestamp' | 'int4' | 'int8' | 'numeric' | 'float8' | 'float4'

/** From here on a number is epoch milliseconds; no seconds reach it before the year 5138. */
const FIRST_MILLISECONDS = '100000000000'

/** The expiries of so many rows tell in which unit a column of numbers is. */
const SAMPLED_ROWS = 100

/**
 * SQL of an expiry: what it is worth in epoch seconds, and whether it has passed by the database's clock (NULL where
 * there is none). No value of a column makes it fail. `extract` would go by way of numeric.
 */
export function expirySql(
  column: string,
  type: ExpiryType,
): { readonly epoch: string; readonly expired: string } {
  if (type === 'timestamptz') {
    return { epoch: `date_part('epoch', ${column})`, expired: `${column} <= clock_timestamp()` }
  }
  if (type === 'timestamp') {
    return {
      epoch: `date_part('epoch', ${column})`,
      expired: `${column} <= clock_timestamp() at time zone 'UTC'`,
    }
  }
  const value = numberSql(column, type)
  const epoch = `case when ${value} >= ${FIRST_MILLISECONDS} then ${value} / 1000 else ${value} end`
  const passed = `${epoch} <= date_part('epoch', clock_timestamp())`
  // PostgreSQL sorts NaN behind every number; no token lives for ever by it.
  const expired = type === 'int4' || type === 'int8' ? passed : `(${passed} or ${value} = 'NaN')`
  return { epoch, expired }
}

/** A numeric can be larger than any float8, and its cast would fail the answers of all other tokens, too. */
function numberSql(column: string, type: ExpiryType): string {
  if (type !== 'numeric') return `${column}::float8`
  return (
    `case when ${column} = 'NaN' then 'NaN'::float8 when ${column} > 1e300 then 'Infinity'::float8 ` +
    `when ${column} < -1e300 then '-Infinity'::float8 else ${column}::float8 end`
  )
}

/** Whether a column holds points in time, and not numbers that stand for them. */
export function isTime(type: ExpiryType): type is 'timestamptz' | 'timestamp' {
  return type === 'timestamptz' || type === 'timestamp'
}

/**
 * SQL that turns a parameter of epoch seconds into the column's value. A column of numbers gets the unit that it has:
 * that of the row which the new one follows on, or else that of most rows of the table, or else seconds.
 *
 * @param rows SQL of where the column's values are found
 */
export function expiryValueSql(
  parameter: string,
  column: { readonly sql: string; readonly type: ExpiryType },
  rows: { readonly table: string; readonly precedingRow: string | null },
): string {
  const { sql, type } = column
  if (type === 'timestamptz') return `to_timestamp(${parameter}::float8)`
  if (type === 'timestamp') return `to_timestamp(${parameter}::float8) at time zone 'UTC'`
  const sample = `select ${sql} as value from ${rows.table} where ${sql} is not null limit ${SAMPLED_ROWS}`
  // NaN, infinity and what is beyond all calendars say nothing of the unit.
  const most = `(select count(*) filter (where value >= ${FIRST_MILLISECONDS} and value < 1e16) * 2 > count(*) from (${sample}) as sample)`
  const isMilliseconds =
    rows.precedingRow === null
      ? most
      : `coalesce((select ${sql} >= ${FIRST_MILLISECONDS} from ${rows.table} where ${rows.precedingRow} limit 1), ${most})`
  return `(case when ${isMilliseconds} then 1000 else 1 end * ${parameter}::float8)`
}
