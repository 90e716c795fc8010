import type { Recent } from './history.ts'
import type { Status } from './status.ts'

/** What the problems are found in. */
export interface Symptoms
  extends Pick<
    Status,
    | 'causes'
    | 'tokenStore'
    | 'keys'
    | 'certificates'
    | 'errorPages'
    | 'routing'
    | 'upstreams'
    | 'workers'
    | 'processes'
  > {
  readonly recent: Recent
  /** Milliseconds since the epoch. */
  readonly now: number
}
