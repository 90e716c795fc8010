import type { ColumnKinds } from './token-catalogue.ts'

/**
 * SQL of an expiry by the kind of its column: what it is worth in epoch seconds, and whether it has passed. `extract`
 * would go by way of numeric.
 */
export function expirySql(
  column: string,
  kind: ColumnKinds['expiresAt'],
): { readonly epoch: string; readonly expired: string } {
  return {
    timestamptz: {
      epoch: `date_part('epoch', ${column})`,
      expired: `${column} <= clock_timestamp()`,
    },
    timestamp: {
      epoch: `date_part('epoch', ${column})`,
      expired: `${column} <= clock_timestamp() at time zone 'UTC'`,
    },
    number: { epoch: `${column}::float8`, expired: `${column} <= extract(epoch from clock_timestamp())` },
  }[kind]
}

/** SQL that turns a parameter of epoch seconds into the column's value. */
export function expiryValueSql(parameter: string, kind: ColumnKinds['expiresAt']): string {
  return {
    timestamptz: `to_timestamp(${parameter}::float8)`,
    timestamp: `to_timestamp(${parameter}::float8) at time zone 'UTC'`,
    number: `${parameter}::float8`,
  }[kind]
}
