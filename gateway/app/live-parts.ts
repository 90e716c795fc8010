import type { KeyRing, KeySource } from '../auth/jwt/key-ring.ts'
import type { TokenVerifier } from '../auth/jwt/token-verifier.ts'
import type { TokenTable } from '../auth/token-store/token-table.ts'
import type { Readiness } from '../core/readiness.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Timelines } from '../core/timelines.ts'
import type { OwnPaths } from '../http/own-paths.ts'
import type { LiveRouting } from '../routing/live-routing.ts'
import type { Settings } from '../settings/values.ts'

/** What an explanation reads of a running process, so that it says what this process would do. */
export interface LiveParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly keys: Pick<KeyRing, 'state'>
  readonly verifier: TokenVerifier
  readonly table: TokenTable
  readonly timelines: () => Timelines
  readonly routing: Pick<LiveRouting, 'current' | 'status'>
  readonly ownPaths: OwnPaths
  readonly readiness: () => Readiness
  readonly scheduler: Scheduler
  /** Called for each query for tokens. */
  readonly onQuery: () => void
}
