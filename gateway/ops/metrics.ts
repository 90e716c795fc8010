import { collectDefaultMetrics, Registry } from 'prom-client'
import { certificateSeries } from './certificate-series.ts'
import { createHistogram, type HistogramCells } from './histogram.ts'
import { type Cell, createSeries, type RegistryMetric } from './series.ts'

/** From half a millisecond to a minute: a look-up's round trip at one end, a slow report at the other. */
export const DURATION_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
]

const BATCH_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

/** The cells of one route, looked up once per file load. */
export interface RouteMetrics {
  /** The finished exchange's status; the cell is made when a status is first seen. */
  requests(status: number): Cell
  readonly duration: HistogramCells
}

export interface UpstreamMetrics {
  readonly duration: HistogramCells
  readonly retries: Cell
}

export interface TargetMetrics {
  readonly up: Cell
  readonly ok: Cell
  readonly error: Cell
  readonly failed: Cell
  readonly ejections: Cell
}

export type Metrics = ReturnType<typeof createMetrics>

/** Declares everything under `gateway_` and prom-client's defaults, in a registry of its own. */
export function createMetrics(build: { readonly version: string; readonly node: string }) {
  const registry = new Registry()
  const register = <T extends { readonly metric: RegistryMetric }>(declared: T): T => {
    registry.registerMetric(declared.metric as never)
    return declared
  }
  collectDefaultMetrics({ register: registry })

  const requests = register(
    createSeries({
      name: 'gateway_requests_total',
      help: 'Requests finished, by route (as the routing file has it) and status sent to the client.',
      type: 'counter',
      labels: ['route', 'status'],
    }),
  )
  const durations = register(
    createHistogram({
      name: 'gateway_request_duration_seconds',
      help: 'Time from the arrival of a request head to the end of its answer, by route. Upgraded connections are not in it.',
      buckets: DURATION_BUCKETS,
      label: 'route',
    }),
  )
  const upstreamDurations = register(
    createHistogram({
      name: 'gateway_upstream_request_duration_seconds',
      help: 'Time that the upstream took for an exchange, from its dispatch to the end of the answer.',
      buckets: DURATION_BUCKETS,
      label: 'upstream',
    }),
  )
  const upstreamRequests = register(
    createSeries({
      name: 'gateway_upstream_requests_total',
      help: 'Exchanges with targets: ok, error (an answer of 5xx) or failed (no answer).',
      type: 'counter',
      labels: ['upstream', 'target', 'outcome'],
    }),
  )
  const upstreamRetries = register(
    createSeries({
      name: 'gateway_upstream_retries_total',
      help: 'Requests sent again after a failed try.',
      type: 'counter',
      labels: ['upstream'],
    }),
  )
  const targetUp = register(
    createSeries({
      name: 'gateway_upstream_target_up',
      help: '1 where the target takes requests, 0 where it is unhealthy or ejected.',
      type: 'gauge',
      labels: ['upstream', 'target'],
      aggregator: 'min',
    }),
  )
  const ejections = register(
    createSeries({
      name: 'gateway_upstream_ejections_total',
      help: 'Times a target was taken out for consecutive failures.',
      type: 'counter',
      labels: ['upstream', 'target'],
    }),
  )

  const gauge = (name: string, help: string, aggregator: 'sum' | 'min' | 'max' = 'sum') =>
    register(createSeries({ name, help, type: 'gauge', aggregator })).cell()
  const counter = (name: string, help: string) =>
    register(createSeries({ name, help, type: 'counter' })).cell()

  register(
    createSeries({
      name: 'gateway_build_info',
      help: 'Always 1; its labels tell the version that runs.',
      type: 'gauge',
      labels: ['version', 'node'],
      aggregator: 'first',
    }),
  ).cell(build).value = 1

  const decisions = register(
    createSeries({
      name: 'gateway_auth_decisions_total',
      help: 'Decisions on requests: authenticated, anonymous, or the code of the refusal or fault.',
      type: 'counter',
      labels: ['decision'],
    }),
  )
  const lookups = register(
    createSeries({
      name: 'gateway_token_lookups_total',
      help: 'Look-ups in the token table, one for each request that needed one: active, refused or failed.',
      type: 'counter',
      labels: ['result'],
    }),
  )
  const reloads = register(
    createSeries({
      name: 'gateway_config_reloads_total',
      help: 'Readings of the routing file: success or failure.',
      type: 'counter',
      labels: ['result'],
    }),
  )
  const openStreams = register(
    createSeries({
      name: 'gateway_open_streams',
      help: 'Exchanges open for long: websocket, sse or other.',
      type: 'gauge',
      labels: ['kind'],
    }),
  )
  const streamsClosed = register(
    createSeries({
      name: 'gateway_streams_closed_total',
      help: 'Open exchanges that the gateway closed: revoked, expired, fault or drain.',
      type: 'counter',
      labels: ['reason'],
    }),
  )

  return {
    registry,
    requestsInFlight: gauge(
      'gateway_requests_in_flight',
      'Requests being worked on, upgraded connections included.',
    ),
    lookups: {
      active: lookups.cell({ result: 'active' }),
      refused: lookups.cell({ result: 'refused' }),
      failed: lookups.cell({ result: 'failed' }),
    },
    lookupDuration: register(
      createHistogram({
        name: 'gateway_token_lookup_duration_seconds',
        help: 'Time from asking for a token to its answer, waiting for a shared query included.',
        buckets: DURATION_BUCKETS,
      }),
    ).cells(),
    lookupBatchSize: register(
      createHistogram({
        name: 'gateway_token_lookup_batch_size',
        help: 'Different tokens asked for by one query.',
        buckets: BATCH_BUCKETS,
      }),
    ).cells(),
    tokenQueries: counter(
      'gateway_token_queries_total',
      'Queries for tokens sent to the database, rechecks of streams included.',
    ),
    tokenStoreUp: gauge(
      'gateway_token_store_up',
      '1 where the token table can be asked, 0 where not.',
      'min',
    ),
    negativeCacheHits: counter(
      'gateway_negative_cache_hits_total',
      'Refusals repeated from the negative cache.',
    ),
    negativeCacheEntries: gauge('gateway_negative_cache_entries', 'Refusals in the negative cache.'),
    reloadSuccess: reloads.cell({ result: 'success' }),
    reloadFailure: reloads.cell({ result: 'failure' }),
    lastReloadSuccessful: gauge(
      'gateway_config_last_reload_successful',
      '1 where the last reading of the routing file was good, 0 where the last good one is still in force.',
      'min',
    ),
    lastReloadSuccessTime: gauge(
      'gateway_config_last_reload_success_timestamp_seconds',
      'When the routing file in force was read, seconds since the epoch.',
      'max',
    ),
    /** To be called once, and only with TLS: a certificate that is not there does not end. */
    certificates: () => certificateSeries(register),
    /** To be called once, and only where spans are exported. */
    spans() {
      const spans = register(
        createSeries({
          name: 'gateway_trace_spans_total',
          help: 'Spans: exported, failed (the collector did not take them) or dropped (too many waited for it).',
          type: 'counter',
          labels: ['result'],
        }),
      )
      return {
        exported: spans.cell({ result: 'exported' }),
        failed: spans.cell({ result: 'failed' }),
        dropped: spans.cell({ result: 'dropped' }),
      }
    },
    openStreams: (kind: 'websocket' | 'sse' | 'other') => openStreams.cell({ kind }),
    streamsClosed: (reason: 'revoked' | 'expired' | 'fault' | 'drain') => streamsClosed.cell({ reason }),
    decision: memoised((decision: string) => decisions.cell({ decision })),
    route(route: string): RouteMetrics {
      return {
        requests: memoised((status: number) => requests.cell({ route, status: String(status) })),
        duration: durations.cells(route),
      }
    },
    upstream(upstream: string): UpstreamMetrics {
      return { duration: upstreamDurations.cells(upstream), retries: upstreamRetries.cell({ upstream }) }
    },
    target(upstream: string, target: string): TargetMetrics {
      return {
        up: targetUp.cell({ upstream, target }),
        ok: upstreamRequests.cell({ upstream, target, outcome: 'ok' }),
        error: upstreamRequests.cell({ upstream, target, outcome: 'error' }),
        failed: upstreamRequests.cell({ upstream, target, outcome: 'failed' }),
        ejections: ejections.cell({ upstream, target }),
      }
    },
    /** Forgets the gauges of targets that are no longer in the routing file; their counters stay, as counters do. */
    pruneTargets(present: (upstream: string, target: string) => boolean): void {
      targetUp.prune((labels) => present(labels.upstream, labels.target))
    },
  }
}

function memoised<K extends string | number>(make: (key: K) => Cell): (key: K) => Cell {
  const cells = new Map<K, Cell>()
  return (key) => {
    let cell = cells.get(key)
    if (cell === undefined) {
      cell = make(key)
      cells.set(key, cell)
    }
    return cell
  }
}
