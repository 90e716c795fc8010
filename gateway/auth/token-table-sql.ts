import { quoted, quotedTable, type TableName, type TokenColumns } from './token-columns.ts'

/** The SQL of a token table as the interface describes it, under the mapped names. Does nothing where it exists. */
export function tokenTableSql(table: TableName, columns: TokenColumns): string {
  const column = (name: keyof TokenColumns) => quoted(columns[name]).padEnd(14)
  const schema = table.schema === null ? '' : `CREATE SCHEMA IF NOT EXISTS ${quoted(table.schema)};\n\n`
  return `${schema}CREATE TABLE IF NOT EXISTS ${quotedTable(table)} (
  ${column('id')} text PRIMARY KEY,
  ${column('userId')} text NOT NULL,
  ${column('sessionId')} text NOT NULL,
  ${column('mandateId')} text,
  ${column('status')} text NOT NULL CHECK (${quoted(columns.status)} IN ('ACTIVE', 'REVOKED')),
  ${column('expiresAt')} timestamptz NOT NULL
);
`
}
