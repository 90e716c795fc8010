import type { KeySource } from '../auth/jwt/key-ring.ts'
import type { VARIABLES } from './table.ts'
import type { ValueOf } from './variable.ts'

/** The value of each variable. */
export type Values = { readonly [Key in keyof typeof VARIABLES]: ValueOf<(typeof VARIABLES)[Key]> }
type KeyVariable = 'jwtSecret' | 'jwtSecretFile' | 'jwtPublicKeyFile' | 'jwtJwksUrl'

/**
 * All that the environment says, typed and checked. Times carry their unit in their name. Null in `databaseUrl`
 * is the embedded database, only outside production.
 */
export interface Settings extends Omit<Values, KeyVariable | 'workers'> {
  /** True where UPSTREAMS_FILE was given. */
  readonly upstreamsFileGiven: boolean
  /** Null: a generated key; only outside production. */
  readonly keySource: KeySource | null
  readonly workers: number
}

export type LogLevel = Settings['logLevel']
