import { eventually, freePort, node, plainNode, type Running, start } from '../processes.ts'

/** Where contenders run: before the same backend, beside the same database. */
export interface Stage {
  /** For files of their own. */
  readonly folder: string
  readonly databaseUrl: string
  readonly backendPort: number
}

export interface Contender {
  readonly name: string
  readonly title: string
  /** True where it refuses a request without a valid session. */
  readonly authenticates: boolean
  readonly needsNginx: boolean
  start(stage: Stage): Promise<Started>
}

export interface Started {
  readonly port: number
  /** All its processes are these or descend from them. */
  readonly pids: readonly number[]
  stop(): Promise<void>
}

/** A contender of several processes: they end together, the first one's port is the one that is called. */
export function together(port: number, parts: readonly Running[]): Started {
  return {
    port,
    pids: parts.map(({ pid }) => pid),
    async stop() {
      await Promise.all(parts.map((part) => part.stop()))
    },
  }
}

/**
 * Runs `services/NAME.ts PORT` with what a Node service here needs to know, until it answers.
 *
 * @param tuned with the gateway's flags and whatever else makes it fast; else as its documentation has it
 */
export async function startService(name: string, { databaseUrl, backendPort }: Stage, tuned: boolean) {
  const port = await freePort()
  const command = tuned ? node : plainNode
  const running = await start(
    command(new URL(`services/${name}.ts`, import.meta.url), [String(port)], {
      DATABASE_URL: databaseUrl,
      BACKEND_PORT: String(backendPort),
      TUNED: tuned ? 'yes' : 'no',
    }),
  )
  await answering(port)
  return { ...running, port }
}

/** Resolves once there is any answer, whatever its status. */
export function answering(port: number): Promise<void> {
  return eventually(
    `an answer on port ${port}`,
    async () => (await fetch(`http://127.0.0.1:${port}/`)).status > 0,
  )
}
