import type { LookupFunction } from 'node:net'
import { quoteIdentifier } from '../auth/token-store/token-columns.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { createDatabase, DatabaseError } from '../database/database.ts'

export interface RevocationListener {
  close(): Promise<void>
}

export interface ListenerParts {
  readonly databaseUrl: string
  readonly channel: string
  readonly scheduler: Scheduler
  /** Deadline of a question to the database, milliseconds. */
  readonly timeoutMs: number
  readonly lookup?: LookupFunction
  readonly onToken: (tokenId: string) => void
  /** The connection is listening, again: what was notified before is not known. */
  readonly onListening: () => void
  readonly onFault: (error: unknown) => void
}

/** How long after a failure the next try comes, in milliseconds. */
const RETRY_MS = 500

/**
 * How often LISTEN is said again, which changes nothing where it holds: a server that is frozen or gone sends no notice
 * either.
 */
const HEARTBEAT_MS = 1000

/**
 * LISTENs on a connection of its own, made anew at the next of the URL's hosts when it fails, is lost, or does not answer
 * in time. Not usable through a pooler in transaction mode.
 */
export function createRevocationListener(parts: ListenerParts): RevocationListener {
  const { scheduler, timeoutMs } = parts
  let closed = false
  /** The connection on which LISTEN holds, by its number. */
  let listeningOn = 0
  let beating = false
  let tries = 0
  let cancel = () => {}

  const database = createDatabase({
    url: parts.databaseUrl,
    connections: 1,
    prepare: false,
    scheduler,
    purpose: 'listen',
    statementTimeoutMs: timeoutMs,
    ...(parts.lookup === undefined ? {} : { lookup: parts.lookup }),
    onNotification: parts.onToken,
    onLost: () => {
      if (!beating) beatIn(0)
    },
  })

  function beatIn(ms: number): void {
    cancel()
    if (!closed) cancel = scheduler.after(ms, () => void beat())
  }

  async function beat(): Promise<void> {
    beating = true
    try {
      await database.query({ text: `listen ${quoteIdentifier(parts.channel)}`, parameters: [] }, timeoutMs)
      tries = 0
      if (!closed && listeningOn !== database.connectionsOpened) {
        listeningOn = database.connectionsOpened
        parts.onListening()
      }
      beatIn(HEARTBEAT_MS)
    } catch (error) {
      if (!closed) parts.onFault(error)
      // Of several hosts the next one may be the primary: a round of all of them goes without a pause.
      tries = error instanceof DatabaseError && error.stale ? (tries + 1) % database.hosts : 0
      beatIn(tries === 0 ? RETRY_MS : 0)
    } finally {
      beating = false
    }
  }

  void beat()
  return {
    async close() {
      closed = true
      cancel()
      await database.close()
    },
  }
}
