import type { CookieNames } from '../auth/cookies.ts'
import type { KeyRing } from '../auth/keys.ts'
import type { TokenTable } from '../auth/token-table.ts'
import type { TokenVerifier } from '../auth/token-verifier.ts'
import type { Decider } from '../decision.ts'
import type { Settings } from '../settings.ts'
import { createRefresh } from './refresh.ts'
import { createRefreshInPassing, type RefreshInPassing } from './refresh-in-passing.ts'
import { createSessionEndpoints, type SessionEndpoints } from './session-endpoints.ts'
import { createSessionStore, type SessionStore } from './session-store.ts'

export interface SessionParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly cookies: CookieNames
  readonly keys: KeyRing
  readonly verifier: TokenVerifier
  readonly table: Pick<TokenTable, 'kinds'>
  readonly identify: Decider['identify']
}

/** A transaction takes several statements and may wait for another tab's; a look-up is one. */
const LOOKUPS_A_TRANSACTION = 5

/** Refresh and logout with what they need. The settings have seen to it that there is a signing secret. */
export function createSessions(parts: SessionParts): {
  readonly store: SessionStore
  readonly endpoints: SessionEndpoints
  readonly refreshInPassing: RefreshInPassing
} {
  const { settings, keys } = parts
  const secret = () => {
    if (keys.secret === null) throw new TypeError('session endpoints need a signing secret')
    return keys.secret
  }
  const store = createSessionStore({
    databaseUrl: parts.databaseUrl,
    prepare: settings.databasePrepare,
    table: settings.tokenTable,
    columns: settings.tokenColumns,
    kinds: () => parts.table.kinds(settings.lookupTimeoutMs),
    secret,
    accessTtlS: settings.accessTokenTtlS,
    refreshTtlS: settings.refreshTokenTtlS,
    timeoutMs: settings.lookupTimeoutMs * LOOKUPS_A_TRANSACTION,
  })
  const { cookies, verifier, identify } = parts
  const refresh = createRefresh({
    cookies,
    verifier,
    store,
    signer: { secret, algorithm: () => keys.algorithms[0] ?? 'HS256' },
    issuer: settings.jwtIssuer,
    audience: settings.jwtAudience,
  })
  const endpoints = createSessionEndpoints({ cookies, refresh, store, identify })
  return { store, endpoints, refreshInPassing: createRefreshInPassing(refresh) }
}
