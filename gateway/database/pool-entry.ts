import type { Scheduler } from '../core/scheduler.ts'
import { SILENCE_MS, startConnectTimeout } from './connect-timeout.ts'
import { type ConnectionOptions, openConnection, type ServerConnection } from './connection.ts'
import { asDatabaseError, type DatabaseError, deadlineError } from './database-error.ts'
import type { HostMark } from './host-list.ts'
import type { TimelineFence } from './timeline-fence.ts'

/** A connection of the pool that one statement or transaction has for itself. */
export interface PooledConnection extends Pick<ServerConnection, 'run' | 'timeline'> {
  /** True from when it is acquired until it is released, discarded or lost. */
  readonly usable: boolean
}

/** A connection as the pool keeps it. */
export interface PoolEntry extends PooledConnection, HostMark {
  state: 'opening' | 'idle' | 'busy' | 'closing'
  readonly connection: ServerConnection
  /** When it was last used, by the scheduler's clock. */
  idleSince: number
  /**
   * True where its server did not tell its timeline, and a server has told one since: the role may have been given the
   * right, and a connection of before would never be fenced.
   */
  readonly isOutdated: boolean
}

export interface OpenEntryOptions {
  readonly connection: ConnectionOptions
  readonly mark: HostMark
  readonly scheduler: Scheduler
  readonly fence: Pick<TimelineFence, 'systems'>
  readonly onReady: (entry: PoolEntry) => void
  /** It was not ready in time, or the server refused it. May be called again, and after `onReady`. */
  readonly onFailed: (entry: PoolEntry, error: DatabaseError) => void
  /** The server has closed its side. */
  readonly onClosed: (entry: PoolEntry) => void
}

/** Begins to open a connection; its state is `opening` until one of the callbacks changes it. */
export function openEntry(options: OpenEntryOptions): PoolEntry {
  const { scheduler, fence, onReady, onFailed, onClosed } = options
  const { address } = options.connection
  const connection = openConnection(options.connection)
  const systemsBefore = fence.systems
  const entry: PoolEntry = {
    ...options.mark,
    state: 'opening',
    connection,
    idleSince: 0,
    run: connection.run,
    get timeline() {
      return connection.timeline
    },
    get usable() {
      return this.state === 'busy'
    },
    get isOutdated() {
      return connection.timeline === null && fence.systems > systemsBefore
    },
  }
  const cancel = startConnectTimeout(connection, address.connectTimeoutMs, scheduler, () =>
    onFailed(entry, deadlineError(SILENCE_MS)),
  )
  connection.ready.then(
    () => {
      cancel()
      onReady(entry)
    },
    (error: unknown) => {
      cancel()
      onFailed(entry, asDatabaseError(error, { wasReady: false, severalHosts: address.hosts.length > 1 }))
    },
  )
  void connection.closed.then(() => onClosed(entry))
  return entry
}
