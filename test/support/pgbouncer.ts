import { execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Certificate } from './certificates.ts'
import { PASSWORD } from './fault-data.ts'
import { until } from './plain-gateway.ts'
import { freePort } from './raw-backend.ts'

const PGBOUNCER = '/usr/sbin/pgbouncer'

export interface Pooler {
  readonly port: number
  start(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  close(): Promise<void>
}

export function pgbouncerIsInstalled(): boolean {
  return existsSync(PGBOUNCER)
}

/** PgBouncer before 1.21 loses prepared statements in transaction mode. */
export function pgbouncerKeepsStatements(): boolean {
  const [, major, minor] = /PgBouncer (\d+)\.(\d+)/.exec(
    execFileSync(PGBOUNCER, ['--version'], { encoding: 'utf8' }),
  )!
  return Number(major) > 1 || Number(minor) >= 21
}

export interface PoolerOptions {
  /** Taken beside plain text from its clients; the server is spoken with in plain text. */
  readonly tls?: Certificate
  /** For each role; fewer than the clients where absent. */
  readonly poolSize?: number
  /** Roles besides the superuser, all of them trusted. */
  readonly roles?: readonly string[]
}

/** PgBouncer in transaction mode before the server on this port. Its console takes the superuser. */
export async function startPgbouncer(serverPort: number, options: PoolerOptions = {}): Promise<Pooler> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-pgbouncer-'))
  const file = join(folder, 'pgbouncer.ini')
  const inside = (name: string) => join(folder, name)
  const users = ['gateway', ...(options.roles ?? ['app'])]
  const files = [
    ['users.txt', users.map((each) => `"${each}" "${PASSWORD}"\n`).join('')],
    ['pgbouncer.ini', configuration({ port, serverPort, folder, ...options })],
    ...(options.tls === undefined
      ? []
      : ([
          ['tls.crt', options.tls.cert],
          ['tls.key', options.tls.key],
        ] as const)),
  ] as const
  for (const [name, content] of files) await writeFile(inside(name), content)
  for (const each of [folder, ...files.map(([name]) => inside(name))]) await chmod(each, 0o755)
  // It does not run as root.
  const account = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  let stop = async () => {}

  async function start(): Promise<void> {
    const child = spawn(PGBOUNCER, ['-q', file], { stdio: 'ignore', ...account })
    const gone = new Promise((resolve) => child.once('exit', resolve))
    stop = async () => {
      child.kill('SIGKILL')
      await gone
    }
    await until(() => accepts(port))
  }

  await start()
  return {
    port,
    start,
    kill: () => stop(),
    async close() {
      await stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** `server_login_retry` is 15 s by default: so long a server that is back would not be tried. */
function configuration(
  at: PoolerOptions & { readonly port: number; readonly serverPort: number; readonly folder: string },
): string {
  const tls = `client_tls_sslmode = allow
client_tls_cert_file = ${at.folder}/tls.crt
client_tls_key_file = ${at.folder}/tls.key
`
  return `[databases]
* = host=127.0.0.1 port=${at.serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${at.port}
unix_socket_dir =
auth_type = trust
auth_file = ${at.folder}/users.txt
pool_mode = transaction
default_pool_size = ${at.poolSize ?? 3}
max_client_conn = 100
server_login_retry = 1
admin_users = gateway
${at.tls === undefined ? '' : tls}`
}
