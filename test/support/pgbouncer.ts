import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

/** PgBouncer in transaction mode before the server on this port, with fewer connections than it has clients. */
export async function startPgbouncer(serverPort: number): Promise<Pooler> {
  const port = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-pgbouncer-'))
  const file = join(folder, 'pgbouncer.ini')
  await writeFile(join(folder, 'users.txt'), '"app" ""\n"gateway" ""\n')
  await writeFile(file, configuration({ port, serverPort, folder }))
  for (const each of [folder, file, join(folder, 'users.txt')]) await chmod(each, 0o755)
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
function configuration(at: { port: number; serverPort: number; folder: string }): string {
  return `[databases]
* = host=127.0.0.1 port=${at.serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${at.port}
unix_socket_dir =
auth_type = trust
auth_file = ${at.folder}/users.txt
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
server_login_retry = 1
`
}
