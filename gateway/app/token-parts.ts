import type { KeyRing } from '../auth/jwt/key-ring.ts'
import { createTokenVerifier, type TokenVerifier } from '../auth/jwt/token-verifier.ts'
import { createTokenTable, type TokenTable } from '../auth/token-store/token-table.ts'
import { createDatabase, type Database, type DatabaseOptions } from '../database/database.ts'
import type { Settings } from '../settings/values.ts'

/*
 * What the gateway and the commands beside it make of the same settings.
 */

export interface TokenStore {
  readonly database: Database
  readonly table: TokenTable
}

/** Connects to the database that the settings describe, with the mapping of its token table. */
export function openTokenStore(
  settings: Settings,
  options: Omit<DatabaseOptions, 'prepare'> & {
    /** True where the mapping is checked for INSERT and UPDATE too. */
    readonly written: boolean
  },
): TokenStore {
  const { written, ...connecting } = options
  const database = createDatabase({ ...connecting, prepare: settings.databasePrepare })
  const table = createTokenTable({
    database,
    table: settings.tokenTable,
    columns: settings.tokenColumns,
    statuses: settings.tokenStatuses,
    written,
    now: options.scheduler.now,
  })
  return { database, table }
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
