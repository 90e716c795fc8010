/** The types that the column of expiries may have, as the catalogue names them. A `timestamp` is in UTC. */
export type ExpiryType = 'timestamptz' | 'timestamp' | 'int4' | 'int8' | 'numeric' | 'float8' | 'float4'

/** From this value on a number is epoch milliseconds; epoch seconds reach it in the year 5138. */
const FIRST_MILLISECONDS = '100000000000'

/** How many rows are read to find out whether a column of numbers holds seconds or milliseconds. */
const SAMPLED_ROWS = 100

/**
 * SQL for an expiry: its time in epoch seconds, and whether it has passed by the database's clock (NULL where the column is
 * NULL). No value of the column makes the SQL fail. `extract` is not used, since it computes with numeric.
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
  // PostgreSQL sorts NaN after every number, so that without this a token with NaN would never expire.
  const expired = type === 'int4' || type === 'int8' ? passed : `(${passed} or ${value} = 'NaN')`
  return { epoch, expired }
}

/** A numeric can be too large for float8; the cast would then fail the whole statement, with all other tokens. */
function numberSql(column: string, type: ExpiryType): string {
  if (type !== 'numeric') return `${column}::float8`
  return (
    `case when ${column} = 'NaN' then 'NaN'::float8 when ${column} > 1e300 then 'Infinity'::float8 ` +
    `when ${column} < -1e300 then '-Infinity'::float8 else ${column}::float8 end`
  )
}

/** True for a column of timestamps, false for one of numbers. */
export function isTime(type: ExpiryType): type is 'timestamptz' | 'timestamp' {
  return type === 'timestamptz' || type === 'timestamp'
}

/**
 * SQL that turns a parameter of epoch seconds into a value of the column. A column of numbers keeps its unit: that of the
 * preceding row, or else that of most rows of the table, or else seconds.
 *
 * @param rows SQL of the table, and of the condition for the preceding row
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
  // The unit cannot be inferred from NaN, infinity and dates far beyond any calendar.
  const most = `(select count(*) filter (where value >= ${FIRST_MILLISECONDS} and value < 1e16) * 2 > count(*) from (${sample}) as sample)`
  const isMilliseconds =
    rows.precedingRow === null
      ? most
      : `coalesce((select ${sql} >= ${FIRST_MILLISECONDS} from ${rows.table} where ${rows.precedingRow} limit 1), ${most})`
  return `(case when ${isMilliseconds} then 1000 else 1 end * ${parameter}::float8)`
}
