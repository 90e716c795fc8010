import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { quoteTable } from '../auth/token-store/token-columns.ts'
import { tokenTableSql } from '../auth/token-store/token-table-sql.ts'
import type { Settings } from '../settings/values.ts'
import { type EmbeddedPostgres, hasData, startEmbeddedPostgres } from './embedded-postgres.ts'
import { readText } from './processes.ts'

/** What a start outside production is given where its settings name none. */
export interface Provisions {
  readonly databaseUrl: string
  readonly keySource: KeySource
  /** The embedded server, where there is one. */
  readonly postgres: EmbeddedPostgres | null
  /** Warnings that name what was generated. */
  readonly notices: readonly string[]
}

/** What an earlier start made in the working folder. */
export interface FoundProvisions {
  readonly folder: string
  /** Null where there is no database. */
  readonly startDatabase: (() => Promise<EmbeddedPostgres>) | null
  readonly keySource: KeySource | null
}

const DATA = '.data'
const POSTGRES = 'postgres'
const SECRET = 'jwt-secret'
const SECRET_BYTES_MIN = 32

/** Finds what `provision` made, and makes nothing. */
export async function findProvisions(cwd: string): Promise<FoundProvisions> {
  const folder = join(cwd, DATA)
  const dataDir = join(folder, POSTGRES)
  const path = join(folder, SECRET)
  return {
    folder,
    startDatabase: hasData(dataDir) ? () => startEmbeddedPostgres({ dataDir }) : null,
    keySource: (await isSecret(path)) ? { kind: 'secret-file', path } : null,
  }
}

async function isSecret(path: string): Promise<boolean> {
  return ((await readText(path)) ?? '').trim().length >= SECRET_BYTES_MIN
}

/**
 * Fills in the database and the key: a real PostgreSQL with the token table, and a random secret, both in
 * `.data/` of the working folder, where every command finds them again. Only `serve` calls it, and never in production.
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
  const embedded = await startEmbeddedPostgres({ dataDir: join(data, POSTGRES) })
  notices.push(
    `DATABASE_URL is not set: using the embedded PostgreSQL in ${DATA}/${POSTGRES}, ${embedded.url}`,
  )
  await createTable(embedded.url, settings)
  return { databaseUrl: embedded.url, keySource, postgres: embedded, notices }
}

async function generateKey(data: string, notices: string[]): Promise<KeySource> {
  const path = join(data, SECRET)
  notices.push(`no key is set: using the generated secret in ${DATA}/${SECRET}`)
  if (!(await isSecret(path))) {
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
