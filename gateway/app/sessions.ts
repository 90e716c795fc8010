import type { LookupFunction } from 'node:net'
import type { KeyRing } from '../auth/jwt/key-ring.ts'
import { createTokenSigner } from '../auth/jwt/token-signer.ts'
import type { TokenVerifier } from '../auth/jwt/token-verifier.ts'
import type { TokenTable } from '../auth/token-store/token-table.ts'
import type { GatewayError } from '../core/errors.ts'
import type { Scheduler } from '../core/scheduler.ts'
import { createDatabase } from '../database/database.ts'
import type { TimelineFence } from '../database/timeline-fence.ts'
import type { CookieNames } from '../http/cookies.ts'
import type { Identification } from '../pipeline/identification.ts'
import { createInlineRefresh, type InlineRefresh } from '../sessions/inline-refresh.ts'
import { createRefresh } from '../sessions/refresh.ts'
import { createSessionEndpoints, type SessionEndpoints } from '../sessions/session-endpoints.ts'
import { createSessionRows } from '../sessions/session-rows.ts'
import { createSessionStore, type SessionStore } from '../sessions/session-store.ts'
import { sessionTimeoutMs } from '../sessions/session-timeout.ts'
import { createTokenCookies } from '../sessions/token-cookies.ts'
import type { Settings } from '../settings/values.ts'

export interface SessionParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly cookies: CookieNames
  readonly keys: KeyRing
  readonly verifier: TokenVerifier
  readonly table: Pick<TokenTable, 'withMapped'>
  readonly fence: TimelineFence
  readonly scheduler: Scheduler
  /** How names become addresses. */
  readonly resolveName: LookupFunction
  /** Called when the store could not be read or changed. */
  readonly onFault: (error: GatewayError) => void
  readonly identify: Identification['identify']
}

/** Sessions have a pool of their own, so that one that waits for a lock does not delay look-ups. */
const CONNECTIONS = 2

/** Refresh and logout with what they need. The settings have seen to it that there is a signing secret. */
export function createSessions(parts: SessionParts): {
  readonly store: SessionStore
  readonly endpoints: SessionEndpoints
  readonly inlineRefresh: InlineRefresh
} {
  const { settings, keys, scheduler } = parts
  const secrets = () => {
    const [first, ...others] = keys.secrets
    if (first === undefined) throw new TypeError('session endpoints need a signing secret')
    return [first, ...others] as const
  }
  const timeoutMs = sessionTimeoutMs(settings.lookupTimeoutMs)
  const store = createSessionStore({
    database: createDatabase({
      url: parts.databaseUrl,
      connections: CONNECTIONS,
      prepare: settings.databasePrepare,
      scheduler,
      fence: parts.fence,
      purpose: 'sessions',
      statementTimeoutMs: timeoutMs,
      lookup: parts.resolveName,
    }),
    rowsOf: createSessionRows(timeoutMs),
    withMapped: parts.table.withMapped,
    secrets,
    accessTtlS: settings.accessTokenTtlS,
    refreshTtlS: settings.refreshTokenTtlS,
    timeoutMs,
    now: scheduler.now,
  })
  const { cookies, verifier, identify, onFault } = parts
  const tokenCookies = createTokenCookies({
    names: cookies,
    attributes: {
      sameSite: settings.cookieSameSite,
      domain: settings.cookieDomain,
      persistent: settings.cookiePersistent,
    },
    accessTtlS: settings.accessTokenTtlS,
    refreshTtlS: settings.refreshTokenTtlS,
  })
  const refresh = createRefresh({
    cookies,
    setCookies: tokenCookies.set,
    verifier,
    store,
    signer: createTokenSigner({ keys, issuer: settings.jwtIssuer, audience: settings.jwtAudience }),
  })
  const endpoints = createSessionEndpoints({
    cookies,
    clearCookies: tokenCookies.clear,
    refresh,
    store,
    onFault,
    identify,
  })
  return { store, endpoints, inlineRefresh: createInlineRefresh(refresh, onFault) }
}
