import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { quoteTable } from '../auth/token-store/token-columns.ts'
import { tokenTableSql } from '../auth/token-store/token-table-sql.ts'
import type { Settings } from '../settings/values.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'

/** What a start outside production is given where its settings name none. */
export interface Provisions {
  readonly databaseUrl: string
  readonly keySource: KeySource
  /** The embedded server, where there is one. */
  readonly postgres: EmbeddedPostgres | null
  /** Warnings that name what was generated. */
  readonly notices: readonly string[]
}

const DATA = '.data'

/**
 * Fills in the database and the key: a real PostgreSQL with the token table, and a random secret, both in
 * `.data/` of the working folder, where every command finds them again. Never called in production.
 *
 * @throws EmbeddedPostgresError
 */
export async function provision(settings: Settings, cwd: string): Promise<Provisions> {
  const data = join(cwd, DATA)
  const notices: string[] = []
  await mkdir(data, { recursive: true })
  const keySource = settings.keySource ?? (await generateKey(data, notices))
  if (settings.databaseUrl !== null)
    return { databaseUrl: settings.databaseUrl, keySource, postgres: null, notices }
  const embedded = await startEmbeddedPostgres({ dataDir: join(data, 'postgres') })
  notices.push(`DATABASE_URL is not set: using the embedded PostgreSQL in ${DATA}/postgres, ${embedded.url}`)
  await createTable(embedded.url, settings)
  return { databaseUrl: embedded.url, keySource, postgres: embedded, notices }
}

async function generateKey(data: string, notices: string[]): Promise<KeySource> {
  const path = join(data, 'jwt-secret')
  notices.push(`no key is set: using the generated secret in ${DATA}/jwt-secret`)
  const existing = await readFile(path, 'utf8').catch(() => '')
  if (existing.trim().length < 32) {
    await writeFile(path, `${randomBytes(48).toString('base64url')}\n`, { mode: 0o600 })
  }
  return { kind: 'secret-file', path }
}

async function createTable(
  url: string,
  { tokenTable, tokenColumns, tokenStatuses }: Settings,
): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    const [found] = await sql`select to_regclass(${quoteTable(tokenTable)})::text as name`
    if (found?.name === null) await sql.unsafe(tokenTableSql(tokenTable, tokenColumns, tokenStatuses))
  } finally {
    await sql.end()
  }
}
