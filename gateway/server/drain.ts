import type { ConnectionRegistry } from './connection-registry.ts'
import type { PublicListener } from './public-listener.ts'

/** Shared with the parts that behave differently in a drain, and made before them. */
export interface DrainState {
  /** True from the first moment on. */
  started: boolean
}

/** The end of the process: it is no longer ready, then accepts no new connections, then ends what is still open. */
export interface Drain {
  /**
   * Stops accepting connections after `delayMs`, lets exchanges finish, and aborts the remaining ones `timeoutMs`
   * later. Resolves when no client is connected any more. Later calls return the same promise.
   */
  start(): Promise<void>
}

export interface DrainParts {
  readonly state: DrainState
  readonly listeners: readonly Pick<PublicListener, 'close'>[]
  readonly connections: Pick<ConnectionRegistry, 'closeIdle' | 'closeAll'>
  /** Closes upgraded connections and other streams; called at the timeout. */
  readonly closeStreams: () => void
  readonly delayMs: number
  readonly timeoutMs: number
}

/** Connections that become idle while draining are closed within this time. */
const SWEEP_MS = 50

export function createDrain({
  state,
  listeners,
  connections,
  closeStreams,
  delayMs,
  timeoutMs,
}: DrainParts): Drain {
  let running: Promise<void> | null = null

  async function run(): Promise<void> {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
    // Right after a tick has taken in what waited: the kernel resets connections that were not accepted yet.
    await new Promise((resolve) => setImmediate(resolve))
    const closed = Promise.all(listeners.map((listener) => listener.close()))
    connections.closeIdle()
    const sweep = setInterval(() => connections.closeIdle(), SWEEP_MS)
    const cut = setTimeout(() => {
      closeStreams()
      // What streams were sent last is on its way after this tick.
      setImmediate(() => connections.closeAll())
    }, timeoutMs)
    await closed
    clearInterval(sweep)
    clearTimeout(cut)
  }

  return {
    start() {
      state.started = true
      running ??= run()
      return running
    },
  }
}
