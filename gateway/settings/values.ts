import type { KeySource } from '../auth/jwt/key-ring.ts'
import type { VARIABLES } from './table.ts'
import type { ValueOf } from './variable.ts'

/** The value of each variable. */
export type Values = { readonly [Key in keyof typeof VARIABLES]: ValueOf<(typeof VARIABLES)[Key]> }
type KeyVariable = 'jwtSecret' | 'jwtSecretFile' | 'jwtPublicKeyFile' | 'jwtJwksUrl'

/**
 * All settings of the environment, typed and checked. Names of times end with their unit. Null in `databaseUrl` means
 * the embedded database, only outside production.
 */
export interface Settings extends Omit<Values, KeyVariable | 'workers'> {
  /** True where UPSTREAMS_FILE is set. */
  readonly upstreamsFileGiven: boolean
  /** Null means a generated key, only outside production. */
  readonly keySource: KeySource | null
  readonly workers: number
}

export type LogLevel = Settings['logLevel']
