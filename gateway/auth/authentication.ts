import type { LookupFunction } from 'node:net'
import type { Logger } from '../ops/logger.ts'
import type { Metrics } from '../ops/metrics.ts'
import type { Scheduler } from '../scheduler.ts'
import type { Settings } from '../settings.ts'
import { type Authenticator, createAuthenticator } from './authenticator.ts'
import { createDatabase } from './database.ts'
import { createFetchJson } from './fetch-json.ts'
import { createKeyRing, type KeyRing, type KeySource } from './keys.ts'
import { createNegativeCache, type NegativeCache } from './negative-cache.ts'
import { createTokenLookup } from './token-lookup.ts'
import { createTokenStoreMonitor, type TokenStoreMonitor } from './token-store-monitor.ts'
import { createTokenTable, type TokenTable } from './token-table.ts'
import { createTokenVerifier, type TokenVerifier } from './token-verifier.ts'

export interface AuthenticationParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly metrics: Metrics
  readonly scheduler: Scheduler
  /** How names become addresses. */
  readonly lookup: LookupFunction
  readonly log: Logger
}

/** All that it takes to tell who a request comes from. */
export interface Authentication {
  readonly authenticator: Authenticator
  readonly keys: KeyRing
  readonly verifier: TokenVerifier
  readonly table: TokenTable
  readonly refusals: NegativeCache
  readonly store: TokenStoreMonitor
  close(): Promise<void>
}

/** Bounds what the memo of verified signatures may hold; a token is about half a kilobyte. */
const VERIFIED_TOKENS_MAX = 100_000

/** Puts keys, table and look-ups together. @throws KeyError where a key file is not usable */
export async function createAuthentication(parts: AuthenticationParts): Promise<Authentication> {
  const { settings, metrics, scheduler, log } = parts
  const { now } = scheduler
  const keys = await createKeyRing(parts.keySource, {
    scheduler,
    log,
    fetchJson: createFetchJson(parts),
    algorithms: settings.jwtAlgorithms,
  })
  const verifier = createTokenVerifier({
    keys,
    issuer: settings.jwtIssuer,
    audience: settings.jwtAudience,
    clockToleranceS: settings.jwtClockToleranceS,
    wallClock: Date.now,
    memoMax: VERIFIED_TOKENS_MAX,
  })
  const database = createDatabase({
    url: parts.databaseUrl,
    connections: settings.databasePoolSize,
    prepare: settings.databasePrepare,
    scheduler,
    statementTimeoutMs: settings.lookupTimeoutMs,
    lookup: parts.lookup,
  })
  const table = createTokenTable({
    database,
    table: settings.tokenTable,
    columns: settings.tokenColumns,
    written: settings.sessionEndpoints,
  })
  const refusals = createNegativeCache({
    ttlUs: settings.negativeCacheTtlUs,
    max: settings.negativeCacheMax,
    nowUs: () => now() * 1000,
  })
  const store = monitorOf(table, parts)
  const authenticator = createAuthenticator({
    verifier,
    lookup: lookupOf(table, parts),
    refusals,
    onLookup(result, startedAt) {
      metrics.lookups[result].value++
      metrics.lookupDuration.observe((now() - startedAt) / 1000)
    },
    onCacheHit() {
      metrics.negativeCacheHits.value++
    },
    now,
  })
  return {
    authenticator,
    keys,
    verifier,
    table,
    refusals,
    store,
    async close() {
      store.close()
      verifier.close()
      await database.close()
    },
  }
}

function lookupOf(table: TokenTable, { settings, metrics, scheduler }: AuthenticationParts) {
  return createTokenLookup({
    findMany: table.findMany,
    hosts: table.hosts,
    connections: settings.databasePoolSize,
    timeoutMs: settings.lookupTimeoutMs,
    queueMax: settings.lookupQueueMax,
    scheduler,
    onQuery(ids) {
      metrics.tokenQueries.value++
      metrics.lookupBatchSize.observe(ids)
    },
  })
}

function monitorOf(table: TokenTable, { settings, metrics, scheduler, log }: AuthenticationParts) {
  return createTokenStoreMonitor({
    table,
    scheduler,
    timeoutMs: settings.lookupTimeoutMs,
    onChange(up, reason) {
      metrics.tokenStoreUp.value = up ? 1 : 0
      if (up) log.info('the token table can be asked')
      else log.error({ reason }, 'the token table cannot be asked')
    },
    onWarnings: (warnings) => log.warn({ warnings }, 'the token table can be asked, but not as it should be'),
  })
}
