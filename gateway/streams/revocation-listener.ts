import type { LookupFunction } from 'node:net'
import { quoteIdentifier } from '../auth/token-store/token-columns.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { createDatabase, DatabaseError } from '../database/database.ts'
import type { TimelineFence } from '../database/timeline-fence.ts'

export interface RevocationListener {
  close(): Promise<void>
}

export interface ListenerParts {
  readonly databaseUrl: string
  readonly channel: string
  readonly scheduler: Scheduler
  /** Of the look-ups; a replaced primary sends no notices. One of its own where absent. */
  readonly fence?: TimelineFence
  /** Deadline of one statement, milliseconds. */
  readonly timeoutMs: number
  readonly lookup?: LookupFunction
  readonly onToken: (tokenId: string) => void
  /** Called after each new LISTEN: notifications from before it may have been missed. */
  readonly onListening: () => void
  readonly onFault: (error: unknown) => void
}

/** The pause after a failure, in milliseconds. */
const RETRY_MS = 500

/**
 * How often LISTEN is repeated to find out whether the server still answers, since a server that is frozen or gone sends no
 * notifications either. On a connection that listens already it changes nothing.
 */
const HEARTBEAT_MS = 1000

/**
 * Listens on a connection of its own. When that fails, is lost, or does not answer in time, another one is opened, to the
 * next of the URL's hosts. A pooler in transaction mode does not pass notifications on.
 */
export function createRevocationListener(parts: ListenerParts): RevocationListener {
  const { scheduler, timeoutMs } = parts
  let closed = false
  /** The number of the connection that listens. */
  let listeningOn = 0
  let sending = false
  let tries = 0
  let cancel = () => {}

  const database = createDatabase({
    url: parts.databaseUrl,
    connections: 1,
    prepare: false,
    scheduler,
    purpose: 'listen',
    statementTimeoutMs: timeoutMs,
    ...(parts.fence === undefined ? {} : { fence: parts.fence }),
    ...(parts.lookup === undefined ? {} : { lookup: parts.lookup }),
    onNotification: parts.onToken,
    onLost: () => {
      if (!sending) listenAfter(0)
    },
  })

  function listenAfter(ms: number): void {
    cancel()
    if (!closed) cancel = scheduler.after(ms, () => void listen())
  }

  async function listen(): Promise<void> {
    sending = true
    try {
      await database.query({ text: `listen ${quoteIdentifier(parts.channel)}`, parameters: [] }, timeoutMs)
      tries = 0
      if (!closed && listeningOn !== database.connectionsOpened) {
        listeningOn = database.connectionsOpened
        parts.onListening()
      }
      listenAfter(HEARTBEAT_MS)
    } catch (error) {
      if (!closed) parts.onFault(error)
      // Of several hosts the next one may be the primary: all of them are tried without a pause.
      tries = error instanceof DatabaseError && error.stale ? (tries + 1) % database.hosts : 0
      listenAfter(tries === 0 ? RETRY_MS : 0)
    } finally {
      sending = false
    }
  }

  void listen()
  return {
    async close() {
      closed = true
      cancel()
      await database.close()
    },
  }
}
