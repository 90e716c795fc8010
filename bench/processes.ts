import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** A process of the suite's own. */
export interface Running {
  readonly pid: number
  stop(): Promise<void>
}

export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** MiB of a semi-space, as `npm start` gives them to the gateway. */
export const SEMI_SPACE = 16

/** A Node process with the gateway's flags. */
export function node(
  file: URL,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  semiSpace = SEMI_SPACE,
): Command {
  const flags = [`--min-semi-space-size=${semiSpace}`, `--max-semi-space-size=${semiSpace}`]
  return { command: process.execPath, args: [...flags, file.pathname, ...args], env }
}

/** A Node process as `node FILE` starts it. */
export function plainNode(file: URL, args: readonly string[], env: Command['env'] = {}): Command {
  return { command: process.execPath, args: [file.pathname, ...args], env }
}

/** Starts a process whose standard output is read and dropped. Resolves when it has been spawned. */
export async function start({ command, args, env = {} }: Command): Promise<Running> {
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let complaints = ''
  child.stdout.resume()
  child.stderr.on('data', (data) => {
    complaints = (complaints + data).slice(-2000)
  })
  const exited = new Promise<void>((done) => child.once('close', () => done()))
  await new Promise<void>((done, fail) => child.once('spawn', done).once('error', fail))
  let stopping = false
  void exited.then(() => {
    if (!stopping) process.stderr.write(`${command} ended by itself: ${complaints}\n`)
  })
  // Not SIGKILL: nginx's workers would outlive their master.
  const end = () => void child.kill('SIGTERM')
  process.once('exit', end)
  return {
    pid: child.pid!,
    async stop() {
      stopping = true
      process.off('exit', end)
      await terminate(child, exited)
    },
  }
}

async function terminate(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 3000)
  await exited
  clearTimeout(late)
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen({ port: 0, host: '127.0.0.1' }, done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

/** Resolves with the first true answer. @throws Error after `timeoutMs` */
export async function eventually(
  what: string,
  check: () => Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const until = Date.now() + timeoutMs
  while (!(await check().catch(() => false))) {
    if (Date.now() > until) throw new Error(`${what} did not come true within ${timeoutMs} ms`)
    await delay(20)
  }
}
