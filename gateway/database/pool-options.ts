import type { LookupFunction } from 'node:net'
import type { Scheduler } from '../core/scheduler.ts'
import type { DatabaseAddress } from './address.ts'
import type { TimelineFence } from './timeline-fence.ts'

export interface PoolOptions {
  readonly address: DatabaseAddress
  readonly connections: number
  readonly prepare: boolean
  readonly applicationName: string
  /** The server's own limit for a statement, in milliseconds, in case a cancel request is lost. */
  readonly statementTimeoutMs: number
  readonly scheduler: Scheduler
  readonly fence: TimelineFence
  /** True where the servers may be standbys or old primaries. */
  readonly anyServer?: boolean | undefined
  readonly lookup?: LookupFunction | undefined
  readonly onNotification?: ((payload: string) => void) | undefined
  /** An open connection is gone, for whatever reason. */
  readonly onLost?: (() => void) | undefined
}
