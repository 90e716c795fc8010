import { type AuthDecision, createAuthenticator } from '../auth/authenticator.ts'
import type { TokenVerifier } from '../auth/jwt/token-verifier.ts'
import { createNegativeCache } from '../auth/token-store/negative-cache.ts'
import { createTokenLookup } from '../auth/token-store/token-lookup.ts'
import type { TokenRow, TokenTable } from '../auth/token-store/token-table.ts'
import { SILENT_LOG } from '../core/log.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { CookieNames } from '../http/cookies.ts'
import { createDecider, type Decider } from '../pipeline/decision.ts'
import { createIdentification } from '../pipeline/identification.ts'
import type { Settings } from '../settings/values.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { createDryRefresh } from './dry-refresh.ts'

/** What a decision was based on. */
export interface Observed {
  /** Rows of the table, in the order of their look-ups. */
  readonly rows: readonly TokenRow[]
  /** Null where the route requires no token. */
  readonly auth: AuthDecision | null
  /** True where the refresh token would let the request pass. */
  readonly refreshed: boolean
}

export interface ObservedDeciderParts {
  readonly settings: Settings
  readonly cookies: CookieNames
  readonly verifier: TokenVerifier
  readonly table: TokenTable
  readonly scheduler: Scheduler
  readonly lookupTimeoutMs: number
  /** Called for each query for tokens. */
  readonly onQuery: () => void
}

/** What is only explained is not counted among the requests. */
const UNCOUNTED: Pick<Metrics, 'decision'> = { decision: () => ({ value: 0 }) }

/** The gateway's decider for one request, and what it finds out meanwhile. */
export function createObservedDecider(parts: ObservedDeciderParts): {
  readonly decider: Decider
  readonly observed: Observed
} {
  const { settings, cookies, verifier, scheduler } = parts
  const rows: TokenRow[] = []
  const observed: { rows: TokenRow[]; auth: AuthDecision | null; refreshed: boolean } = {
    rows,
    auth: null,
    refreshed: false,
  }
  const lookup = createTokenLookup({
    async findMany(ids, deadlineMs) {
      const found = await parts.table.findMany(ids, deadlineMs)
      rows.push(...found.values())
      return found
    },
    hosts: parts.table.hosts,
    connections: 1,
    timeoutMs: parts.lookupTimeoutMs,
    queueMax: settings.lookupQueueMax,
    scheduler,
    onQuery: parts.onQuery,
  })
  const authenticator = createAuthenticator({
    verifier,
    lookup,
    refusals: createNegativeCache({ ttlUs: 0, max: 1, nowUs: () => 0 }),
    onLookup: () => {},
    onCacheHit: () => {},
    now: scheduler.now,
  })
  const refresh = settings.sessionEndpoints ? createDryRefresh({ cookies, verifier, lookup }) : null
  const identification = createIdentification({
    authenticator: {
      authenticate(cookie, holdings, onFound) {
        authenticator.authenticate(cookie, holdings, (found) => {
          observed.auth = found
          onFound(found)
        })
      },
    },
    accessCookie: cookies.access,
    metrics: UNCOUNTED,
    now: scheduler.now,
  })
  const decider = createDecider({
    identification,
    inlineRefresh:
      refresh &&
      (async (exchange, origin, refusal) => {
        const decision = await refresh(exchange, origin, refusal)
        observed.refreshed = decision.kind === 'authenticated'
        observed.auth = decision
        return decision
      }),
    metrics: UNCOUNTED,
    log: SILENT_LOG,
    now: scheduler.now,
  })
  return { decider, observed }
}
