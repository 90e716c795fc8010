import postgres from 'postgres'
import { parseTokenColumns, parseTokenTable } from '../../gateway/auth/token-store/token-columns.ts'
import { DEFAULT_STATUSES, type TokenStatuses } from '../../gateway/auth/token-store/token-statuses.ts'
import { createTokenTable } from '../../gateway/auth/token-store/token-table.ts'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase, type Database, type Statement } from '../../gateway/database/database.ts'
import type { TestPostgres } from './postgres.ts'

interface Mapping {
  readonly table?: string
  readonly columns?: string
  readonly statuses?: TokenStatuses
  readonly written?: boolean
}

/** @returns what opens a database of a test's own with a table, and the gateway's look-up in it */
export function createTableStage(server: TestPostgres) {
  return async (
    t: { teardown(end: () => unknown): void },
    ddl?: string,
    { table = '"Token"', columns = '', statuses = DEFAULT_STATUSES, written = false }: Mapping = {},
  ) => {
    const url = await server.createDatabase(ddl)
    const sql = postgres(url, { max: 1, onnotice: () => {} })
    const database = createDatabase({ url, connections: 2, prepare: true, scheduler: systemScheduler })
    const name = parseTokenTable(table)
    const mapping = parseTokenColumns(columns)
    if (!name.ok || !mapping.ok) throw new Error('the mapping of the test is wrong')
    t.teardown(async () => {
      await database.close()
      await sql.end({ timeout: 1 })
    })
    const statements: Statement[] = []
    const recording: Database = {
      ...database,
      query(statement, deadlineMs) {
        statements.push(statement)
        return database.query(statement, deadlineMs)
      },
    }
    const parts = {
      database: recording,
      table: name.value,
      columns: mapping.value,
      statuses,
      written,
      now: systemScheduler.now,
    }
    return { sql, url, database, statements, table: createTokenTable(parts) }
  }
}
