import { collectDefaultMetrics, Registry } from 'prom-client'
import { DECISION_CODES } from '../../core/errors.ts'
import { CLOSE_REASONS, type CloseReason, STREAM_KINDS, type StreamKind } from '../../core/stream-kinds.ts'
import { createCertificateMetrics } from './certificate-metrics.ts'
import { createHistogram } from './histogram.ts'
import { type Aggregator, createSeries } from './series.ts'
import { createTrafficMetrics, DURATION_BUCKETS, memoised, type Register } from './traffic-metrics.ts'

/**
 * How prom-client's default metrics of several workers are aggregated, where its own way would hide what alerts look for:
 * a mean of event loop delays, or a sum of descriptors, does not show one worker that is stuck or full. Of start times the
 * latest shows a restart.
 */
const WORKER_AGGREGATORS: readonly (readonly [name: string, aggregator: Aggregator])[] = [
  ['process_start_time_seconds', 'max'],
  ['nodejs_eventloop_lag_seconds', 'max'],
  ['nodejs_eventloop_lag_mean_seconds', 'max'],
  ['nodejs_eventloop_lag_p50_seconds', 'max'],
  ['nodejs_eventloop_lag_p90_seconds', 'max'],
  ['nodejs_eventloop_lag_p99_seconds', 'max'],
  ['process_open_fds', 'max'],
  ['process_max_fds', 'min'],
]

const BATCH_BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]

const DECISIONS = ['authenticated', 'anonymous', ...DECISION_CODES]

export type { RouteMetrics, TargetMetrics, UpstreamMetrics } from './traffic-metrics.ts'

export type Metrics = ReturnType<typeof createMetrics>

/** Declares all metrics of the gateway, and prom-client's defaults, in a registry of its own. */
export function createMetrics(
  build: { readonly version: string; readonly node: string },
  wallClock: () => number,
) {
  const registry = new Registry()
  const register: Register = (declared) => {
    registry.registerMetric(declared.metric as never)
    return declared
  }
  collectDefaultMetrics({ register: registry })
  for (const [name, aggregator] of WORKER_AGGREGATORS) {
    Object.assign(registry.getSingleMetric(name) ?? {}, { aggregator })
  }

  const traffic = createTrafficMetrics(register, wallClock)

  const gauge = (name: string, help: string, aggregator: 'sum' | 'min' | 'max' = 'sum') =>
    register(createSeries({ name, help, type: 'gauge', aggregator })).cell()
  const counter = (name: string, help: string) =>
    register(createSeries({ name, help, type: 'counter' })).cell()

  register(
    createSeries({
      name: 'gateway_build_info',
      help: 'Always 1; its labels are the running version.',
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

  for (const decision of DECISIONS) decisions.cell({ decision })
  for (const kind of STREAM_KINDS) openStreams.cell({ kind })
  for (const reason of CLOSE_REASONS) streamsClosed.cell({ reason })

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
        wallClock,
      }),
    ).cells(),
    lookupBatchSize: register(
      createHistogram({
        name: 'gateway_token_lookup_batch_size',
        help: 'Different tokens asked for by one query.',
        buckets: BATCH_BUCKETS,
        wallClock,
      }),
    ).cells(),
    tokenQueries: counter(
      'gateway_token_queries_total',
      'Queries for tokens sent to the database, rechecks of streams included.',
    ),
    tokenStoreUp: gauge('gateway_token_store_up', '1 if the token table can be queried, else 0.', 'min'),
    timelines: {
      newest: gauge(
        'gateway_token_store_timeline',
        'The newest timeline that the database servers have shown; 0 where none tells its own.',
        'max',
      ),
      oldPrimaries: gauge(
        'gateway_token_store_old_primaries',
        'Hosts of DATABASE_URL that go on as primaries though another server was promoted.',
        'max',
      ),
      refused: counter(
        'gateway_token_store_fenced_answers_total',
        'Answers and connections of database servers on older timelines, which decided nothing.',
      ),
    },
    negativeCacheHits: counter(
      'gateway_negative_cache_hits_total',
      'Refusals repeated from the negative cache.',
    ),
    keysCurrent: gauge(
      'gateway_keys_last_load_successful',
      '1 where the keys in force are those of the last reading or fetch, 0 where that failed.',
      'min',
    ),
    clientConnections: {
      open: gauge('gateway_client_connections', 'Open connections of clients.'),
      refused: counter(
        'gateway_client_connections_refused_total',
        'Connections of clients that were turned away at MAX_CONNECTIONS.',
      ),
      handshakesFailed: counter(
        'gateway_tls_handshakes_failed_total',
        'TLS handshakes of clients that failed or were not finished in time.',
      ),
    },
    logLinesDropped: counter(
      'gateway_log_lines_dropped_total',
      'Log lines that were dropped because stdout was not read.',
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
    /** To be called once, and only where an operator has error pages. */
    errorPagesCurrent: () =>
      gauge(
        'gateway_error_pages_last_load_successful',
        '1 where the last reading of ERROR_PAGES_DIR was good, 0 where the last good pages are still in force.',
        'min',
      ),
    /** To be called once, and only with TLS, because without a certificate there is no expiry to report. */
    certificates: () => createCertificateMetrics(register),
    /** To be called once, and only where spans are exported. */
    spans() {
      const spans = register(
        createSeries({
          name: 'gateway_trace_spans_total',
          help: 'Spans: exported, failed (the collector did not accept them) or dropped (too many were waiting).',
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
    openStreams: (kind: StreamKind) => openStreams.cell({ kind }),
    streamsClosed: (reason: CloseReason) => streamsClosed.cell({ reason }),
    decision: memoised((decision: string) => decisions.cell({ decision })),
    ...traffic,
  }
}
