import type { KeyRing } from '../auth/jwt/key-ring.ts'
import { createTokenVerifier, type TokenVerifier } from '../auth/jwt/token-verifier.ts'
import { createTokenTable, type TokenTable } from '../auth/token-store/token-table.ts'
import { createDatabase, type Database, type DatabaseOptions } from '../database/database.ts'
import { createTimelineFence, type TimelineFence } from '../database/timeline-fence.ts'
import { type TimelineWatch, watchTimelines } from '../database/timeline-watch.ts'
import type { Settings } from '../settings/values.ts'

/*
 * What the gateway and the commands beside it make of the same settings.
 */

export interface TokenStore {
  readonly database: Database
  readonly table: TokenTable
  /** To be shared with all that asks the same servers. */
  readonly fence: TimelineFence
  /** Before its first look an old primary is not known. */
  readonly watch: TimelineWatch
  close(): Promise<void>
}

/** Connects to the database that the settings describe, with the mapping of its token table. */
export function openTokenStore(
  settings: Settings,
  options: Omit<DatabaseOptions, 'prepare' | 'fence'> & {
    /** True where the mapping is checked for INSERT and UPDATE too. */
    readonly written: boolean
    readonly onOldPrimaries?: (hosts: readonly string[]) => void
  },
): TokenStore {
  const { written, onOldPrimaries, ...connecting } = options
  const fence = createTimelineFence()
  const { url, scheduler, lookup } = options
  const prepare = settings.databasePrepare
  const watch = watchTimelines({ url, prepare, scheduler, fence, lookup, onOldPrimaries })
  const database = createDatabase({ ...connecting, prepare, fence })
  const table = createTokenTable({
    database,
    table: settings.tokenTable,
    columns: settings.tokenColumns,
    statuses: settings.tokenStatuses,
    written,
    now: scheduler.now,
  })
  return {
    database,
    table,
    fence,
    watch,
    async close() {
      await Promise.all([watch.close(), database.close()])
    },
  }
}

/** @param memoMax how many verified signatures are remembered */
export function createVerifier(settings: Settings, keys: KeyRing, memoMax: number): TokenVerifier {
  return createTokenVerifier({
    keys,
    issuer: settings.jwtIssuer,
    audience: settings.jwtAudience,
    clockToleranceS: settings.jwtClockToleranceS,
    wallClock: Date.now,
    memoMax,
  })
}
