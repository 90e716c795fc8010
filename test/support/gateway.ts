import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { surroundings, unwatched } from './surroundings.ts'
import { TEST_SECRET } from './tokens.ts'

/** A gateway as operators run it: a process of its own, in production mode, on free ports. */
export interface TestGateway {
  readonly port: number
  readonly adminPort: number
  readonly url: string
  readonly pid: number
  /** The routing file; write it again to have it reloaded. */
  readonly upstreamsFile: string
  /** All JSON lines of stdout so far. */
  readonly lines: readonly LogLine[]
  /** Everything that stdout and stderr got so far. */
  output(): string
  /** The first line, past or future, that the test accepts. */
  line(accepts: (line: LogLine) => boolean): Promise<LogLine>
  /** The value of a series in /metrics, such as `gateway_requests_total{route="/",status="200"}`; 0 where absent. */
  metric(series: string): Promise<number>
  signal(name: NodeJS.Signals): void
  /** @returns the exit code, or the signal that ended it */
  readonly exited: Promise<number | NodeJS.Signals>
  /** Ends it and removes its files. */
  stop(): Promise<void>
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string }

export interface GatewayOptions {
  readonly databaseUrl: string
  /** The routing file's content. */
  readonly routing: unknown
  readonly env?: Readonly<Record<string, string>>
  /** Node, by another name. */
  readonly program?: string
  /** Called at once, long before it listens. */
  readonly onSpawn?: (child: ChildProcess) => void
}

const MAIN = fileURLToPath(new URL('../../gateway/main.ts', import.meta.url))

export async function startGateway(options: GatewayOptions): Promise<TestGateway> {
  const { databaseUrl, routing, env = {}, onSpawn, program } = options
  const folder = await mkdtemp(join(tmpdir(), 'gateway-run-'))
  const upstreamsFile = join(folder, 'upstreams.json')
  await writeFile(upstreamsFile, typeof routing === 'string' ? routing : JSON.stringify(routing, null, 2))
  const child = spawnGateway(
    ['serve'],
    {
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_PORT: '0',
      DATABASE_URL: databaseUrl,
      JWT_SECRET: TEST_SECRET,
      UPSTREAMS_FILE: upstreamsFile,
      ...env,
    },
    program === undefined ? {} : { program },
  )
  const told = watch(child)
  onSpawn?.(child)
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal ?? 1))
  })
  const listening = await Promise.race([
    told.line(({ msg }) => msg === 'listening'),
    exited.then((code) => Promise.reject(new Error(`the gateway ended with ${code}: ${told.output()}`))),
  ])
  const adminPort = listening.adminPort as number
  return {
    port: listening.port as number,
    adminPort,
    url: `http://127.0.0.1:${listening.port}`,
    pid: child.pid!,
    upstreamsFile,
    ...told,
    async metric(series) {
      const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
      const line = text.split('\n').find((each) => each.startsWith(`${series} `))
      return line === undefined ? 0 : Number(line.slice(series.length + 1))
    },
    signal: (name) => void child.kill(name),
    exited,
    async stop() {
      child.kill('SIGTERM')
      const late = setTimeout(() => child.kill('SIGKILL'), 5000)
      await exited
      clearTimeout(late)
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The command line with exactly these settings, none of the surroundings'. */
export function spawnGateway(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  options: { readonly cwd?: string; readonly stdout?: number | 'pipe'; readonly program?: string } = {},
): ChildProcess {
  const { cwd, stdout = 'pipe', program = process.execPath } = options
  return spawn(...unwatched(program, [MAIN, ...args], env), {
    env: { ...surroundings(), ...env },
    stdio: ['ignore', stdout, 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  })
}

/** Collects what a process prints. */
export function watch(child: ChildProcess): Pick<TestGateway, 'lines' | 'output' | 'line'> {
  const lines: LogLine[] = []
  const waiting = new Set<(line: LogLine) => void>()
  let all = ''
  let rest = ''
  child.stderr?.on('data', (data) => {
    all += data
  })
  child.stdout?.on('data', (data) => {
    all += data
    const parts = (rest + data).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      if (!part.startsWith('{')) continue
      const line = JSON.parse(part) as LogLine
      lines.push(line)
      for (const tell of waiting) tell(line)
    }
  })
  return {
    lines,
    output: () => all,
    line(accepts) {
      const past = lines.find(accepts)
      if (past !== undefined) return Promise.resolve(past)
      return new Promise((resolve) => {
        const tell = (line: LogLine) => {
          if (!accepts(line)) return
          waiting.delete(tell)
          resolve(line)
        }
        waiting.add(tell)
      })
    },
  }
}
