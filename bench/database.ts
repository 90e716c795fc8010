import { createHash } from 'node:crypto'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import postgres from 'postgres'
import { startEmbeddedPostgres } from '../gateway/dev/embedded-postgres.ts'

export const SECRET = 'the benchmark signs its tokens with this secret'
export const SESSIONS = 2000
export const ROWS = 200_000

/** The PostgreSQL of the benchmark, with a token table. */
export interface BenchDatabase {
  readonly url: string
  readonly port: number
  /** Of the postmaster. */
  readonly pid: number
  readonly version: string
  /** Replaces the table. One token of ten is revoked. */
  fillTable(rows: number): Promise<void>
  stop(): Promise<void>
}

export async function startDatabase(folder: string): Promise<BenchDatabase> {
  const dataDir = join(folder, 'postgres')
  await mkdir(dataDir)
  // PostgreSQL runs as another account, which needs to enter the folder.
  await chmod(folder, 0o755)
  const server = await startEmbeddedPostgres({ dataDir, settings: ['fsync=off'] })
  // It has its own process group and would survive an interrupted run.
  const endServer = () => void process.kill(server.pid, 'SIGQUIT')
  process.once('exit', endServer)
  const version = await withSql(server.url, async (sql) => {
    const [row] = await sql`show server_version`
    return String(row?.server_version).split(' ')[0]!
  })
  return {
    url: server.url,
    port: server.port,
    pid: server.pid,
    version,
    fillTable: (rows) => withSql(server.url, (sql) => fillTable(sql, rows)),
    stop() {
      process.off('exit', endServer)
      return server.stop()
    },
  }
}

/** Runs `task` with one connection, and closes it. */
export async function withSql<T>(url: string, task: (sql: postgres.Sql) => Promise<T>): Promise<T> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    return await task(sql)
  } finally {
    await sql.end()
  }
}

async function fillTable(sql: postgres.Sql, rows: number): Promise<void> {
  await sql.unsafe(`
    drop table if exists "Token";
    create table "Token" (
      "id"        text primary key,
      "userId"    text not null,
      "sessionId" text not null,
      "mandateId" text,
      "status"    text not null check ("status" in ('ACTIVE', 'REVOKED')),
      "expiresAt" timestamptz not null
    );
    insert into "Token"
    select md5('token-' || i), 'user-' || i, 'session-' || i, 'mandate-' || i % 100,
           case when i % 10 = 1 then 'REVOKED' else 'ACTIVE' end, now() + interval '1 day'
    from generate_series(1, ${rows}) i`)
  await sql.unsafe('vacuum analyze "Token"')
}

/** Signed tokens of active sessions, spread over the whole table. @param count at most half of the rows */
export function activeTokens(count = SESSIONS, rows = ROWS): Promise<string[]> {
  return Promise.all(
    Array.from({ length: count }, (_, i) => {
      const row = Math.floor((i * rows) / count) + 1
      return signToken(row % 10 === 1 ? row + 1 : row)
    }),
  )
}

/** @param count at most a tenth of the rows */
export function revokedTokens(count = SESSIONS, rows = ROWS): Promise<string[]> {
  return Promise.all(
    Array.from({ length: count }, (_, i) => signToken(Math.floor((i * rows) / count / 10) * 10 + 1)),
  )
}

/** Valid claims with wrong signatures. */
export async function forgedTokens(count = SESSIONS): Promise<string[]> {
  const tokens = await activeTokens(count)
  return tokens.map((token, i) => {
    const signature = createHash('sha256').update(String(i)).digest('base64url')
    return token.slice(0, token.lastIndexOf('.') + 1) + signature
  })
}

function signToken(i: number): Promise<string> {
  return new SignJWT({
    jti: createHash('md5').update(`token-${i}`).digest('hex'),
    userId: `user-${i}`,
    sessionId: `session-${i}`,
    mandateId: `mandate-${i % 100}`,
    exp: Math.floor(Date.now() / 1000) + 86_400,
  })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET))
}
