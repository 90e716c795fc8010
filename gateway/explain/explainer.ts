import { createVerifier, openTokenStore } from '../app/token-parts.ts'
import { createFetchJson } from '../auth/jwt/fetch-json.ts'
import type { KeySource } from '../auth/jwt/key-ring.ts'
import { createKeyRing } from '../auth/jwt/keys.ts'
import { SILENT_LOG } from '../core/log.ts'
import { systemScheduler } from '../core/scheduler.ts'
import { createOwnPaths } from '../http/own-paths.ts'
import { createSystemNames, type Names } from '../names/names.ts'
import type { RoutingConfig } from '../routing/file/file-schema.ts'
import { createSnapshot } from '../routing/snapshot.ts'
import type { Settings } from '../settings/values.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics/metrics.ts'
import { createTransport } from '../upstreams/transport/transport.ts'
import { createUpstream, type Upstream } from '../upstreams/upstream.ts'
import { describeTargets } from './descriptions.ts'
import type { ExplainedRequest } from './explained-request.ts'
import { type Explanation, explain } from './explanation.ts'

export type { ExplainedRequest } from './explained-request.ts'
export type { Explanation, Step } from './explanation.ts'

/** Explains requests without a running gateway, by parts of its own. */
export interface Explainer {
  explain(request: ExplainedRequest): Promise<Explanation>
  close(): Promise<void>
}

export interface ExplainerParts {
  readonly settings: Settings
  readonly databaseUrl: string
  readonly keySource: KeySource
  readonly config: RoutingConfig
}

/** A first connection, with TLS and the catalogue, may take longer than a look-up on one that is open. */
const LEAST_TIMEOUT_MS = 3000

export async function createExplainer({
  settings,
  databaseUrl,
  keySource,
  config,
}: ExplainerParts): Promise<Explainer> {
  const scheduler = systemScheduler
  const cookies = { access: settings.accessCookie, refresh: settings.refreshCookie }
  const names = createSystemNames({ scheduler, log: SILENT_LOG })
  const metrics = createMetrics({ version: '', node: process.version }, Date.now)
  const upstreams = unwatchedUpstreams(config, metrics, names)
  const snapshot = createSnapshot(config, { upstreams, cookies, metrics, hsts: null })
  const keys = await createKeyRing(keySource, {
    scheduler,
    fetchJson: createFetchJson(names),
    algorithms: settings.jwtAlgorithms,
    log: SILENT_LOG,
  })
  const verifier = createVerifier(settings, keys, 10)
  const tokens = openTokenStore(settings, {
    url: databaseUrl,
    connections: 1,
    scheduler,
    written: false,
  })
  await tokens.watch.first
  const parts = {
    settings,
    cookies,
    ownPaths: createOwnPaths(settings.gatewayPath, settings.sessionEndpoints),
    snapshot: () => snapshot,
    verifier,
    table: tokens.table,
    scheduler,
    lookupTimeoutMs: Math.max(settings.lookupTimeoutMs, LEAST_TIMEOUT_MS),
    onQuery: () => {},
    describeUpstream: ({ name }: Upstream) => describeTargets(name, config.upstreams.get(name)!),
  }

  return {
    explain: (request) => explain(request, parts),
    async close() {
      verifier.close()
      await tokens.close()
      const targets = [...upstreams.values()].flatMap((upstream) => upstream.targets)
      await Promise.all(targets.map((target) => target.close()))
      names.close()
    },
  }
}

/** Targets that are not checked and never connected to. */
function unwatchedUpstreams(
  config: RoutingConfig,
  metrics: Metrics,
  { findAddresses }: Names,
): Map<string, Upstream> {
  const scheduler = systemScheduler
  const transport = createTransport({ findAddresses, scheduler })
  const upstreams = new Map<string, Upstream>()
  for (const [name, { health: _health, ejection: _ejection, ...upstream }] of config.upstreams) {
    const parts = { random: Math.random, scheduler, transport, metrics, onTargetChange: () => {} }
    upstreams.set(name, createUpstream(name, upstream as never, parts))
  }
  return upstreams
}
