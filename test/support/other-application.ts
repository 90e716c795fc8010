import postgres from 'postgres'

/** Another application of the same server, which connects anew again and again. */
export interface OtherApplication {
  /** What it was told where it got no connection. */
  readonly refusals: readonly string[]
  readonly connections: number
  /** Stops connecting for a while. */
  pause(): Promise<void>
  goOn(): void
  close(): Promise<void>
}

const EVERY_MS = 100
const CONNECT_TIMEOUT_S = 5

/** @param url of a role that has no reserved connection */
export function startOtherApplication(url: string): OtherApplication {
  const refusals: string[] = []
  let connections = 0
  let paused = false
  let running = true
  let attempt = Promise.resolve()

  async function connect(): Promise<void> {
    const sql = postgres(url, {
      max: 1,
      fetch_types: false,
      connect_timeout: CONNECT_TIMEOUT_S,
      onnotice: () => {},
    })
    try {
      await sql`select 1`
      connections++
    } catch (error) {
      refusals.push((error as Error).message)
    } finally {
      await sql.end({ timeout: 1 }).catch(() => {})
    }
  }

  const done = (async () => {
    while (running) {
      if (!paused) attempt = connect()
      await attempt
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
    }
  })()
  return {
    refusals,
    get connections() {
      return connections
    },
    async pause() {
      paused = true
      await attempt
    },
    goOn() {
      paused = false
    },
    async close() {
      running = false
      await done
    },
  }
}
