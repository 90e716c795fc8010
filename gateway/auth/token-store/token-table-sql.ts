import {
  quoteIdentifier,
  quoteTable,
  sqlLiteral,
  type TableName,
  type TokenColumns,
} from './token-columns.ts'
import { statusTypeFor, type TokenStatuses } from './token-statuses.ts'

/** SQL that creates the token table under the mapped names, and does nothing where the table exists. */
export function tokenTableSql(table: TableName, columns: TokenColumns, statuses: TokenStatuses): string {
  const column = (name: keyof TokenColumns) => quoteIdentifier(columns[name]).padEnd(14)
  const schema =
    table.schema === null ? '' : `CREATE SCHEMA IF NOT EXISTS ${quoteIdentifier(table.schema)};\n\n`
  return `${schema}CREATE TABLE IF NOT EXISTS ${quoteTable(table)} (
  ${column('id')} text PRIMARY KEY,
  ${column('userId')} text NOT NULL,
  ${column('sessionId')} text NOT NULL,
  ${column('mandateId')} text,
  ${column('status')} ${statusSql(quoteIdentifier(columns.status), statuses)},
  ${column('expiresAt')} timestamptz NOT NULL
);
`
}

function statusSql(column: string, statuses: TokenStatuses): string {
  const type = statusTypeFor(statuses)
  if (type === 'boolean') return 'boolean NOT NULL'
  const values = [statuses.admitting, statuses.revoked].map((status) =>
    type === 'integer' ? status : sqlLiteral(status),
  )
  return `${type} NOT NULL CHECK (${column} IN (${values.join(', ')}))`
}
