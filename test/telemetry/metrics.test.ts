import t from 'tap'
import { type Exposed, parseOpenMetrics, parseText } from '../support/exposition.ts'
import { until } from '../support/plain-gateway.ts'
import { checkMetrics, promtoolIsInstalled } from '../support/promtool.ts'
import { request, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

/** What Prometheus 2 and 3 send. */
const PROMETHEUS_2 =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1'
const PROMETHEUS_3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2'

const METRIC_TYPES: Readonly<Record<string, string>> = {
  gateway_requests_total: 'counter',
  gateway_request_duration_seconds: 'histogram',
  gateway_requests_in_flight: 'gauge',
  gateway_auth_decisions_total: 'counter',
  gateway_token_lookups_total: 'counter',
  gateway_token_lookup_duration_seconds: 'histogram',
  gateway_token_lookup_batch_size: 'histogram',
  gateway_token_queries_total: 'counter',
  gateway_token_store_up: 'gauge',
  gateway_token_store_timeline: 'gauge',
  gateway_token_store_old_primaries: 'gauge',
  gateway_token_store_fenced_answers_total: 'counter',
  gateway_negative_cache_hits_total: 'counter',
  gateway_negative_cache_entries: 'gauge',
  gateway_upstream_target_up: 'gauge',
  gateway_upstream_requests_total: 'counter',
  gateway_upstream_request_duration_seconds: 'histogram',
  gateway_upstream_retries_total: 'counter',
  gateway_upstream_ejections_total: 'counter',
  gateway_upstream_overloaded_total: 'counter',
  gateway_upstream_pending: 'gauge',
  gateway_open_streams: 'gauge',
  gateway_streams_closed_total: 'counter',
  gateway_client_connections: 'gauge',
  gateway_client_connections_refused_total: 'counter',
  gateway_keys_last_load_successful: 'gauge',
  gateway_config_reloads_total: 'counter',
  gateway_config_last_reload_successful: 'gauge',
  gateway_config_last_reload_success_timestamp_seconds: 'gauge',
  gateway_build_info: 'gauge',
  process_cpu_user_seconds_total: 'counter',
  process_start_time_seconds: 'gauge',
  nodejs_eventloop_lag_seconds: 'gauge',
  nodejs_gc_duration_seconds: 'histogram',
}

const DECISIONS =
  'authenticated anonymous credentials_missing credentials_ambiguous token_invalid token_expired token_unknown token_revoked token_mismatch mandate_forbidden origin_forbidden token_store_unavailable overloaded'

const stage = await startStage({
  routes: [
    { host: 'shop.example.com', path: '/maybe', auth: 'optional' },
    { path: '/tenants', auth: 'required', mandates: ['nobody'] },
  ],
  env: { NEGATIVE_CACHE_TTL_US: '60000000', STREAM_RECHECK_MS: '0' },
})
t.teardown(() => stage.close())
t.afterEach(() => stage.upstream.respond(answerOk))

async function scrape(accept?: string): Promise<{ type: string | null; body: string; vary: string | null }> {
  const headers: Record<string, string> = accept === undefined ? {} : { Accept: accept }
  const response = await fetch(`http://127.0.0.1:${stage.gateway.adminPort}/metrics`, { headers })
  const { headers: got } = response
  return { type: got.get('content-type'), body: await response.text(), vary: got.get('vary') }
}

async function read(): Promise<Exposed> {
  return parseText((await scrape()).body)
}

/** How much each of these series grew while something was done. */
async function growth(
  series: readonly (readonly [string, Record<string, string>?])[],
  does: () => Promise<unknown>,
): Promise<number[]> {
  const before = await read()
  await does()
  const inFlight = async () => (await read()).value('gateway_requests_in_flight')
  await until(async () => (await inFlight()) === 0)
  const after = await read()
  return series.map((each) => (after.value(...each) ?? Number.NaN) - (before.value(...each) ?? 0))
}

t.test('every metric is exposed with its type before the first request', async (t) => {
  const { families } = await read()
  for (const [name, type] of Object.entries(METRIC_TYPES)) t.equal(families.get(name)?.type, type, name)
})

t.test('labels of a closed set begin at 0, so that the first event is an increase', async (t) => {
  const now = await read()
  for (const decision of DECISIONS.split(' ')) {
    t.equal(now.value('gateway_auth_decisions_total', { decision }), 0, decision)
  }
  for (const reason of ['revoked', 'expired', 'fault', 'drain']) {
    t.equal(now.value('gateway_streams_closed_total', { reason }), 0, reason)
  }
  for (const kind of ['websocket', 'sse', 'other'])
    t.equal(now.value('gateway_open_streams', { kind }), 0, kind)
  for (const result of ['active', 'refused', 'failed']) {
    t.equal(now.value('gateway_token_lookups_total', { result }), 0, result)
  }
  for (const status of ['200', '502', '503', '504']) {
    t.equal(now.value('gateway_requests_total', { route: '/secure', status }), 0, status)
  }
  const target = stage.upstream.url
  for (const outcome of ['ok', 'error', 'failed']) {
    t.equal(now.value('gateway_upstream_requests_total', { upstream: 'main', target, outcome }), 0, outcome)
  }
  t.equal(now.value('gateway_upstream_retries_total', { upstream: 'main' }), 0)
  t.equal(now.value('gateway_upstream_ejections_total', { upstream: 'main', target }), 0)
  t.equal(now.value('gateway_config_reloads_total', { result: 'failure' }), 0)
  t.equal(now.value('gateway_request_duration_seconds_count', { route: '/secure' }), 0)
})

t.test('gauges show the state of the table, the target, the routing file and the build', async (t) => {
  const now = await read()
  t.equal(now.value('gateway_token_store_up'), 1)
  t.equal(now.value('gateway_upstream_target_up', { upstream: 'main', target: stage.upstream.url }), 1)
  t.equal(now.value('gateway_config_last_reload_successful'), 1)
  const readAt = now.value('gateway_config_last_reload_success_timestamp_seconds') ?? 0
  t.ok(Math.abs(readAt - Date.now() / 1000) < 120)
  t.match(now.samples('gateway_build_info'), [
    { labels: { version: /^\d+\.\d+\.\d+$/, node: process.version }, value: 1 },
  ])
})

t.test('durations have buckets from half a millisecond to a minute', async (t) => {
  const now = await read()
  const bounds = now
    .samples('gateway_request_duration_seconds_bucket')
    .filter(({ labels }) => labels.route === '/')
    .map(({ labels }) => labels.le)
  t.same(bounds, '0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf'.split(' '))
})

t.test('an admitted request counts once in each metric that it moves', async (t) => {
  const target = stage.upstream.url
  const grown = await growth(
    [
      ['gateway_requests_total', { route: '/secure', status: '200' }],
      ['gateway_request_duration_seconds_count', { route: '/secure' }],
      ['gateway_auth_decisions_total', { decision: 'authenticated' }],
      ['gateway_token_lookups_total', { result: 'active' }],
      ['gateway_token_lookup_duration_seconds_count'],
      ['gateway_token_lookup_batch_size_count'],
      ['gateway_token_queries_total'],
      ['gateway_upstream_requests_total', { upstream: 'main', target, outcome: 'ok' }],
      ['gateway_upstream_request_duration_seconds_count', { upstream: 'main' }],
    ],
    () => stage.ask(request('GET /secure', [`Cookie: ${stage.cookie}`])),
  )
  t.same(
    grown,
    grown.map(() => 1),
  )
})

t.test('a refusal from the negative cache counts as a hit and not as a look-up', async (t) => {
  const { signToken, inSeconds } = await import('../support/tokens.ts')
  const unknown = await signToken({ claims: { jti: 'of-no-row', exp: inSeconds(60) } })
  const ask = () => stage.ask(request('GET /secure', [`Cookie: auth_token=${unknown}`]))
  const grown = await growth(
    [
      ['gateway_token_lookups_total', { result: 'refused' }],
      ['gateway_negative_cache_hits_total'],
      ['gateway_negative_cache_entries'],
      ['gateway_auth_decisions_total', { decision: 'token_unknown' }],
      ['gateway_requests_total', { route: '/secure', status: '401' }],
    ],
    async () => {
      await ask()
      await ask()
    },
  )
  t.same(grown, [1, 1, 1, 2, 2])
})

t.test('a decision counts by its code, and as anonymous where an optional route admits it', async (t) => {
  const optional = 'GET /maybe HTTP/1.1\r\nHost: shop.example.com\r\nCookie: auth_token=rubbish\r\n\r\n'
  const grown = await growth(
    [
      ['gateway_auth_decisions_total', { decision: 'credentials_missing' }],
      ['gateway_auth_decisions_total', { decision: 'mandate_forbidden' }],
      ['gateway_auth_decisions_total', { decision: 'anonymous' }],
      ['gateway_requests_total', { route: 'none', status: '400' }],
    ],
    async () => {
      await stage.ask(request('GET /secure'))
      await stage.ask(request('GET /tenants', [`Cookie: ${stage.cookie}`]))
      await stage.ask(optional)
      await stage.ask(request('GET /'))
      await stage.ask(request('GET /a/%2e%2e/b'))
    },
  )
  t.same(grown, [1, 1, 2, 1])
})

t.test('an exchange with a bad upstream counts as error or failed, once for each try', async (t) => {
  const target = stage.upstream.url
  const grown = await growth(
    [
      ['gateway_upstream_requests_total', { upstream: 'main', target, outcome: 'error' }],
      ['gateway_upstream_requests_total', { upstream: 'main', target, outcome: 'failed' }],
      ['gateway_requests_total', { route: '/', status: '500' }],
      ['gateway_requests_total', { route: '/', status: '502' }],
    ],
    async () => {
      stage.upstream.respond((_req, socket) => {
        socket.write('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
      })
      await stage.ask(request('POST /', ['Content-Length: 0']))
      stage.upstream.respond((_req, socket) => socket.end('nonsense'))
      await stage.ask(request('POST /', ['Content-Length: 0']))
    },
  )
  t.same(grown, [1, 1, 1, 1])
})

t.test('paths, hosts, methods, tokens and statuses that clients choose make no series', async (t) => {
  const count = async () => {
    const samples = [...(await read()).families.values()].flatMap((family) => family.samples)
    return samples.filter(({ name }) => name.startsWith('gateway_')).length
  }
  const one = (n: number) => {
    const method = ['GET', 'PROPFIND', 'PURGE', 'M-SEARCH', 'REPORT'][n % 5]
    return `${method} /${n.toString(36)}${n}?q=${n} HTTP/1.1\r\nHost: h${n}.example.com\r\nCookie: auth_token=${n}\r\nX-Request-Id: ${n}\r\n\r\n`
  }
  await stage.ask(Array.from({ length: 5 }, (_, n) => one(n)).join(''), { until: 5 })
  const before = await count()
  await stage.ask(Array.from({ length: 500 }, (_, n) => one(n)).join(''), { until: 500 })
  t.equal(await count(), before)
})

t.test('a scrape that names no format gets the text format with its content type', async (t) => {
  for (const accept of [undefined, '*/*', 'text/plain', 'text/plain;version=0.0.4', 'text/html, */*;q=0.1']) {
    const { type, body, vary } = await scrape(accept)
    t.equal(type, 'text/plain; version=0.0.4; charset=utf-8')
    t.equal(vary, 'Accept')
    parseText(body)
  }
})

t.test('a scrape that accepts OpenMetrics gets it with its content type and its EOF line', async (t) => {
  for (const accept of [PROMETHEUS_2, PROMETHEUS_3, 'application/openmetrics-text']) {
    const { type, body, vary } = await scrape(accept)
    t.equal(type, 'application/openmetrics-text; version=1.0.0; charset=utf-8')
    t.equal(vary, 'Accept')
    parseOpenMetrics(body)
  }
  for (const accept of [
    'application/openmetrics-text;q=0',
    'application/openmetrics-text;q=0.1, text/plain;q=0.9',
  ]) {
    t.match((await scrape(accept)).type, /^text\/plain/)
  }
})

t.test('OpenMetrics has the same values as the text format, with its own names and units', async (t) => {
  const open = parseOpenMetrics((await scrape(PROMETHEUS_3)).body)
  const text = await read()
  t.equal(open.families.get('gateway_requests')?.type, 'counter')
  t.equal(open.families.get('gateway_request_duration_seconds')?.unit, 'seconds')
  t.equal(open.families.get('process_resident_memory_bytes')?.unit, 'bytes')
  // Node's family of what its threads are doing has samples only where one scrape finds them at it.
  const names = (of: Exposed) =>
    [...of.families.values()]
      .flatMap(({ samples }) => samples.map(({ name }) => name))
      .filter((name) => name !== 'nodejs_active_requests')
  t.same(new Set(names(open)), new Set(names(text)))
  const gateways = (of: Exposed) =>
    [...of.families.values()]
      .flatMap(({ samples }) => samples)
      .filter(({ name }) => name.startsWith('gateway_'))
      .map(({ name, labels: { le = '', ...labels }, value }) => [
        name,
        labels,
        Number(le.replace('+', '')),
        value,
      ])
  t.same(gateways(open), gateways(text))
})

t.test('the exemplar of a bucket is a trace in it, and a sampled trace is preferred', async (t) => {
  const recorded = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const ids = async (name: string) => {
    const open = parseOpenMetrics((await scrape(PROMETHEUS_3)).body)
    return open.samples(name).flatMap(({ exemplar }) => (exemplar === null ? [] : [exemplar]))
  }
  await stage.ask(request('GET /'))
  const { traceId } = await stage.gateway.line(() => true).then(() => stage.gateway.lines.at(-1)!)
  const begun = await ids('gateway_request_duration_seconds_bucket')
  t.ok(begun.length > 0)
  t.ok(begun.every(({ labels }) => /^[0-9a-f]{32}$/.test(labels.trace_id ?? '')))
  t.ok(begun.every(({ timestamp }) => Math.abs(timestamp - Date.now() / 1000) < 120))
  t.type(traceId, 'string')
  for (let n = 0; n < 20; n++) await stage.ask(request('GET /', [`traceparent: ${recorded}`]))
  for (let n = 0; n < 20; n++) await stage.ask(request('GET /'))
  for (const name of [
    'gateway_request_duration_seconds_bucket',
    'gateway_upstream_request_duration_seconds_bucket',
  ]) {
    t.ok(
      (await ids(name)).some(({ labels }) => labels.trace_id === recorded.slice(3, 35)),
      name,
    )
  }
  t.notMatch((await scrape()).body, 'trace_id')
})

/** prom-client's own names, which dashboards know; they are kept. */
const EXCUSED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
]

t.test(
  `promtool reports only ${EXCUSED.length} names of prom-client`,
  {
    skip: promtoolIsInstalled()
      ? false
      : 'promtool is not installed: the strict parser alone has looked at it',
  },
  async (t) => {
    const { says } = checkMetrics((await scrape()).body)
    t.same(
      says.filter((line) => !EXCUSED.some((name) => line.startsWith(`${name} `))),
      [],
    )
  },
)
