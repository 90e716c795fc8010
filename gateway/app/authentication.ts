import type { LookupFunction } from 'node:net'
import { type Authenticator, createAuthenticator } from '../auth/authenticator.ts'
import { createFetchJson } from '../auth/jwt/fetch-json.ts'
import type { KeyRing, KeySource } from '../auth/jwt/key-ring.ts'
import { createKeyRing } from '../auth/jwt/keys.ts'
import type { TokenVerifier } from '../auth/jwt/token-verifier.ts'
import { createLateAnswerDiagnosis } from '../auth/token-store/late-answer-diagnosis.ts'
import { createNegativeCache, type NegativeCache } from '../auth/token-store/negative-cache.ts'
import { quoteTable } from '../auth/token-store/token-columns.ts'
import { createTokenLookup } from '../auth/token-store/token-lookup.ts'
import { describeFault } from '../auth/token-store/token-store-faults.ts'
import { createTokenStoreMonitor, type TokenStoreMonitor } from '../auth/token-store/token-store-monitor.ts'
import type { TokenTable } from '../auth/token-store/token-table.ts'
import type { Scheduler } from '../core/scheduler.ts'
import type { Timelines } from '../core/timelines.ts'
import type { TimelineFence } from '../database/timeline-fence.ts'
import type { Settings } from '../settings/values.ts'
import type { Logger } from '../telemetry/logging/logger.ts'
import type { TokenStoreEvents } from '../telemetry/logging/token-store-events.ts'
import type { Metrics } from '../telemetry/metrics/metrics.ts'
import { createVerifier, openTokenStore, type TokenStore } from './token-parts.ts'

export interface AuthenticationParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly metrics: Metrics
  readonly scheduler: Scheduler
  /** How names become addresses. */
  readonly resolveName: LookupFunction
  readonly storeEvents: TokenStoreEvents
  readonly log: Logger
}

/** The parts that identify who a request comes from. */
export interface Authentication {
  readonly authenticator: Authenticator
  readonly keys: KeyRing
  readonly verifier: TokenVerifier
  readonly table: TokenTable
  readonly fence: TimelineFence
  readonly timelines: () => Timelines
  readonly refusals: NegativeCache
  readonly store: TokenStoreMonitor
  close(): Promise<void>
}

/** How many verified signatures are remembered; a token is about half a kilobyte. */
const VERIFIED_TOKENS_MAX = 100_000

const UNTOLD_TIMELINE =
  'the database server does not tell its timeline, so that a primary that was replaced would not be noticed; let the role call pg_walfile_name(pg_lsn) and pg_current_wal_lsn(), or look to it that an old primary is stopped (docs/database.md, "Old primaries")'

/** Puts keys, table and look-ups together. @throws KeyError where a key file is not usable */
export async function createAuthentication(parts: AuthenticationParts): Promise<Authentication> {
  const { settings, metrics, scheduler, storeEvents, log } = parts
  const { now } = scheduler
  const keys = await createKeyRing(parts.keySource, {
    scheduler,
    log,
    fetchJson: createFetchJson({ lookup: parts.resolveName }),
    algorithms: settings.jwtAlgorithms,
  })
  const verifier = createVerifier(settings, keys, VERIFIED_TOKENS_MAX)
  const tokens = openTokenStore(settings, {
    url: parts.databaseUrl,
    connections: settings.databasePoolSize,
    scheduler,
    statementTimeoutMs: settings.lookupTimeoutMs,
    lookup: parts.resolveName,
    written: settings.sessionEndpoints,
    onOldPrimaries: storeEvents.oldPrimaries,
  })
  const { table, fence } = tokens
  fence.onNewer(({ number }) => storeEvents.timeline(number))
  await tokens.watch.first
  const refusals = createNegativeCache({
    ttlUs: settings.negativeCacheTtlUs,
    max: settings.negativeCacheMax,
    nowUs: () => now() * 1000,
  })
  const store = monitorOf(tokens, parts)
  const authenticator = createAuthenticator({
    verifier,
    lookup: lookupOf(table, parts),
    refusals,
    onLookup(result, startedAt) {
      metrics.lookups[result].value++
      if (result !== 'failed') store.lookupSucceeded()
      metrics.lookupDuration.observe((now() - startedAt) / 1000)
    },
    onFault(error, tokenId) {
      if (tokenId === null) return storeEvents.failed('verifications', error)
      if (error.code === 'overloaded') return storeEvents.failed('overload', error)
      store.lookupFailed(error, tokenId)
      storeEvents.failed('lookups', error)
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
    fence,
    timelines: () => ({
      newest: fence.newest?.number ?? null,
      untold: fence.untold,
      refused: fence.refused,
      oldPrimaries: tokens.watch.oldPrimaries,
    }),
    refusals,
    store,
    async close() {
      store.close()
      verifier.close()
      await tokens.close()
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

function monitorOf(
  { database, table, fence }: TokenStore,
  { settings, metrics, scheduler, storeEvents }: AuthenticationParts,
) {
  const timeoutMs = settings.lookupTimeoutMs
  const context = { table: quoteTable(settings.tokenTable), timeoutMs }
  return createTokenStoreMonitor({
    table,
    hosts: table.hosts,
    scheduler,
    timeoutMs,
    describe: (error) => describeFault(error, context),
    diagnoseLateAnswer: createLateAnswerDiagnosis(database, context),
    connectionsOpened: () => database.connectionsOpened,
    otherWarnings: () => (fence.untold ? [UNTOLD_TIMELINE] : []),
    onState(up) {
      metrics.tokenStoreUp.value = up ? 1 : 0
    },
    onUnavailable: storeEvents.unavailable,
    onAvailable: storeEvents.available,
    onWarnings: storeEvents.warn,
  })
}
