import {
  findFreePort,
  nodeCommand,
  plainNodeCommand,
  type Running,
  startProcess,
  waitUntil,
} from '../processes.ts'

/** Where contenders run: before the same backend, beside the same database. */
export interface Stage {
  /** For files that a contender writes. */
  readonly folder: string
  readonly databaseUrl: string
  readonly backendPort: number
}

export interface Contender {
  readonly name: string
  readonly title: string
  /** True where it refuses a request without a valid session. */
  readonly authenticates: boolean
  /** What has to be installed for it, besides Node and PostgreSQL. */
  readonly needs: 'nginx' | 'go' | null
  start(stage: Stage): Promise<StartedContender>
}

export interface StartedContender {
  readonly port: number
  /** The contender consists of these processes and their descendants. */
  readonly pids: readonly number[]
  stop(): Promise<void>
}

/** A contender of several processes: they end together, and clients call `port`. */
export function groupProcesses(port: number, parts: readonly Running[]): StartedContender {
  return {
    port,
    pids: parts.map(({ pid }) => pid),
    async stop() {
      await Promise.all(parts.map((part) => part.stop()))
    },
  }
}

/**
 * Starts `services/NAME.ts PORT` with the addresses of database and backend, and waits until it answers.
 *
 * @param tuned whether it has the gateway's flags and what else makes it fast; without, it runs as its documentation
 * says
 */
export async function startService(name: string, { databaseUrl, backendPort }: Stage, tuned: boolean) {
  const port = await findFreePort()
  const command = tuned ? nodeCommand : plainNodeCommand
  const running = await startProcess(
    command(new URL(`services/${name}.ts`, import.meta.url), [String(port)], {
      DATABASE_URL: databaseUrl,
      BACKEND_PORT: String(backendPort),
      TUNED: tuned ? 'yes' : 'no',
    }),
  )
  await waitForAnswer(port)
  return { ...running, port }
}

/** Resolves once there is any answer, whatever its status. */
export function waitForAnswer(port: number): Promise<void> {
  return waitUntil(
    `an answer on port ${port}`,
    async () => (await fetch(`http://127.0.0.1:${port}/`)).status > 0,
  )
}
