import { type ChildProcess, spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** A process that the benchmark has started. */
export interface Running {
  readonly pid: number
  stop(): Promise<void>
}

export interface Command {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

/** Size of a semi-space in MiB, as in `npm start`. */
export const SEMI_SPACE = 16

/** A Node process with the gateway's flags. */
export function nodeCommand(
  file: URL,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  semiSpace = SEMI_SPACE,
): Command {
  const flags = [`--min-semi-space-size=${semiSpace}`, `--max-semi-space-size=${semiSpace}`]
  return { command: process.execPath, args: [...flags, file.pathname, ...args], env }
}

/** A Node process as `node FILE` starts it. */
export function plainNodeCommand(file: URL, args: readonly string[], env: Command['env'] = {}): Command {
  return { command: process.execPath, args: [file.pathname, ...args], env }
}

/** Starts a process and discards its standard output. Resolves when it has been spawned. */
export async function startProcess({ command, args, env = {} }: Command): Promise<Running> {
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderrTail = ''
  child.stdout.resume()
  child.stderr.on('data', (data) => {
    stderrTail = (stderrTail + data).slice(-2000)
  })
  const exited = new Promise<void>((done) => child.once('close', () => done()))
  await new Promise<void>((done, fail) => child.once('spawn', done).once('error', fail))
  let stopping = false
  void exited.then(() => {
    if (!stopping) process.stderr.write(`${command} ended by itself; standard error: ${stderrTail}\n`)
  })
  // After SIGKILL the workers of nginx would survive their master.
  const end = () => void child.kill('SIGTERM')
  process.once('exit', end)
  return {
    pid: child.pid!,
    async stop() {
      stopping = true
      process.off('exit', end)
      await terminateProcess(child, exited)
    },
  }
}

async function terminateProcess(child: ChildProcess, exited: Promise<void>): Promise<void> {
  child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), 3000)
  await exited
  clearTimeout(late)
}

export async function findFreePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen({ port: 0, host: '127.0.0.1' }, done))
  const { port } = server.address() as { port: number }
  await new Promise((done) => server.close(done))
  return port
}

/** Resolves once `check` resolves with true. @throws Error after `timeoutMs` */
export async function waitUntil(
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
