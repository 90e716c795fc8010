import type { Server } from 'node:http'

/** The way out: readiness goes first, then new connections, then what is still open. */
export interface Drain {
  /** True from the first moment on. */
  readonly started: boolean
  /**
   * Stops taking connections after `delayMs`, lets exchanges finish, and breaks off what is left `timeoutMs`
   * later. Resolves when no client is connected any more. Later calls return the same promise.
   */
  start(): Promise<void>
}

export interface DrainParts {
  readonly servers: readonly Server[]
  /** Closes upgraded connections and other streams; called at the timeout. */
  readonly closeStreams: () => void
  readonly delayMs: number
  readonly timeoutMs: number
}

/** Connections that become idle while draining are closed within this time. */
const SWEEP_MS = 50

export function createDrain({ servers, closeStreams, delayMs, timeoutMs }: DrainParts): Drain {
  let running: Promise<void> | null = null

  async function run(): Promise<void> {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
    // Right after a turn has taken in what waited: the kernel resets connections that nobody has accepted yet.
    await new Promise((resolve) => setImmediate(resolve))
    const closed = Promise.all(
      servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    )
    const sweep = setInterval(() => {
      for (const server of servers) server.closeIdleConnections()
    }, SWEEP_MS)
    const cut = setTimeout(() => {
      closeStreams()
      // What they were told last is on its way after this turn.
      setImmediate(() => {
        for (const server of servers) server.closeAllConnections()
      })
    }, timeoutMs)
    await closed
    clearInterval(sweep)
    clearTimeout(cut)
  }

  return {
    get started() {
      return running !== null
    },
    start() {
      running ??= run()
      return running
    },
  }
}
