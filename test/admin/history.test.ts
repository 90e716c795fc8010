import t from 'tap'
import { createHistory, SAMPLE_MS, SAMPLES_MAX } from '../../gateway/admin/history.ts'
import { quantile } from '../../gateway/telemetry/metrics/quantile.ts'
import type { NamedCounts, Totals } from '../../gateway/telemetry/metrics/totals.ts'
import { DURATION_BUCKETS } from '../../gateway/telemetry/metrics/traffic-metrics.ts'

const EPOCH = Date.parse('2026-01-02T03:04:05Z')

function clocked() {
  const clock = { ms: 1000, wall: EPOCH }
  const history = createHistory({ now: () => clock.ms, wallClock: () => clock.wall, id: 'this' })
  return {
    history,
    clock,
    /** Advances the clock, and takes samples of these processes. */
    pass(each: readonly Totals[], ms = SAMPLE_MS) {
      clock.ms += ms
      clock.wall += ms
      history.addSample(each)
      return history.since(null).samples.at(-1)!
    },
  }
}

function namedCounts(more: Partial<NamedCounts> = {}): NamedCounts {
  return { decisions: {}, answers: {}, failures: {}, retries: {}, overloaded: {}, slow: {}, ...more }
}

function totals(pid: number, requests: number, more: Partial<Totals> = {}): Totals {
  return {
    pid,
    requests,
    errors: 0,
    durations: new Array(DURATION_BUCKETS.length + 1).fill(0),
    lookups: 0,
    queries: 0,
    turnedAway: 0,
    counts: namedCounts(),
    routes: {},
    inFlight: 0,
    ...more,
  }
}

t.test('the history keeps ten minutes, regardless of the uptime', async (t) => {
  const { history, pass } = clocked()
  for (let n = 1; n <= 4 * SAMPLES_MAX; n++) pass([totals(1, n)])
  const { samples } = history.since(null)
  t.equal(samples.length, SAMPLES_MAX)
  t.equal(SAMPLES_MAX * SAMPLE_MS, 600_000)
  t.equal(samples.at(-1)!.at - samples[0]!.at, 600_000 - SAMPLE_MS)
})

t.test('upstreams may have the names that all objects have', async (t) => {
  const { history, pass } = clocked()
  const named = (slow: number) => totals(1, slow, { counts: namedCounts({ slow: { constructor: slow } }) })
  pass([named(2)])
  pass([named(5)])
  t.same(history.recent().counts.slow, { constructor: 5 })
})

t.test('ended processes are forgotten, since their process ids may be reused', async (t) => {
  const { pass } = clocked()
  pass([totals(7, 1000)])
  for (let n = 0; n <= SAMPLES_MAX; n++) pass([])
  t.equal(pass([totals(7, 1004)]).requestsPerSecond, 502, 'all of it is new')
})

t.test('the samples of the workers are summed', async (t) => {
  const { pass } = clocked()
  pass([totals(1, 100), totals(2, 1000)])
  const sample = pass([
    totals(1, 110, {
      errors: 4,
      lookups: 30,
      queries: 10,
      inFlight: 3,
      counts: namedCounts({ decisions: { authenticated: 8 } }),
    }),
    totals(2, 1030, {
      lookups: 10,
      queries: 10,
      inFlight: 2,
      counts: namedCounts({ decisions: { authenticated: 20, token_revoked: 1 } }),
    }),
  ])
  t.match(sample, {
    requestsPerSecond: 20,
    errorShare: 0.1,
    lookupsPerQuery: 2,
    inFlight: 5,
    decisions: { authenticated: 28, token_revoked: 1 },
  })
})

t.test('a replaced worker starts at 0 and subtracts nothing from the sum', async (t) => {
  const { pass } = clocked()
  pass([totals(1, 100), totals(2, 5000)])
  t.equal(pass([totals(1, 110), totals(3, 6)]).requestsPerSecond, 8)
})

t.test('a process with the reused id of an ended one is not taken for it', async (t) => {
  const { pass } = clocked()
  pass([totals(1, 5000, { counts: namedCounts({ decisions: { authenticated: 5000 } }) })])
  t.match(pass([totals(1, 6, { counts: namedCounts({ decisions: { authenticated: 6 } }) })]), {
    requestsPerSecond: 3,
    decisions: { authenticated: 6 },
  })
})

t.test('the counts of a worker that did not answer are spread over that time', async (t) => {
  const { pass } = clocked()
  pass([totals(1, 0), totals(2, 0)])
  t.equal(pass([totals(1, 20)]).requestsPerSecond, 10, 'of the one that answers')
  t.equal(pass([totals(1, 40), totals(2, 40)]).requestsPerSecond, 20, 'no peak of 30')
})

t.test('an interval without requests has no latency, one without an answer no values', async (t) => {
  const { pass } = clocked()
  t.match(pass([totals(1, 0)]), {
    requestsPerSecond: 0,
    errorShare: null,
    p50Ms: null,
    p99Ms: null,
    lookupsPerQuery: null,
    inFlight: 0,
  })
  t.match(pass([]), { requestsPerSecond: null, inFlight: null, decisions: {} })
})

t.test('a cursor returns the samples after it', async (t) => {
  const { history, pass } = clocked()
  for (let n = 1; n <= 5; n++) pass([totals(1, n)])
  const { cursor } = history.since(null)
  t.match(history.since(cursor), { whole: false, samples: [] })
  pass([totals(1, 106)])
  const next = history.since(cursor)
  t.equal(next.whole, false)
  t.same(
    next.samples.map(({ requestsPerSecond }) => requestsPerSecond),
    [50.5],
  )
})

t.test('a cursor that is too old, of another start or absent returns all samples', async (t) => {
  const { history, pass } = clocked()
  for (let n = 1; n <= SAMPLES_MAX + 10; n++) pass([totals(1, n)])
  for (const cursor of [null, '', 'this.5', 'other.309', 'this.99999', 'this.-1', 'this.1e2', 'this', '.']) {
    const part = history.since(cursor)
    t.match(part, { whole: true }, `${cursor}`)
    t.equal(part.samples.length, SAMPLES_MAX)
  }
})

t.test('a changed wall clock keeps the order and the distance of the samples', async (t) => {
  const { history, clock, pass } = clocked()
  pass([totals(1, 1)])
  clock.wall -= 3_600_000
  pass([totals(1, 2)])
  const [first, second] = history.since(null).samples
  t.equal(second!.at - first!.at, SAMPLE_MS)
  t.equal(second!.at, clock.wall)
})

t.test('quantiles are estimated as in Prometheus', async (t) => {
  const bounds = [1, 2, 4]
  t.equal(quantile(0.5, bounds, [0, 0, 0, 0]), null)
  t.equal(quantile(0.5, bounds, [4, 0, 0, 0]), 0.5)
  t.equal(quantile(0.5, bounds, [2, 2, 0, 0]), 1)
  t.equal(quantile(0.75, bounds, [2, 0, 2, 0]), 3)
  t.equal(quantile(0.99, bounds, [1, 0, 0, 99]), 4, 'the last bound stands for what is beyond it')
})

t.test('the counts of each route are those of the last ten minutes, of all workers', async (t) => {
  const { history, pass } = clocked()
  const durations = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]
  const api = (requests: number, errors: number, count: number) => ({
    routes: { '/api': { requests, errors, durations: durations.map((each) => each * count) } },
  })
  pass([totals(1, 10, api(10, 4, 1)), totals(2, 0)])
  pass([totals(1, 20, api(20, 4, 2)), totals(2, 10, api(10, 1, 1))])
  const { requests, errors, p99Ms } = history.routes().get('/api')!
  t.same({ requests, errors }, { requests: 30, errors: 5 })
  t.ok(p99Ms! > 250 && p99Ms! <= 500, 'the bucket that ends at half a second')
  t.equal(history.routes().has('/'), false, 'a route without requests has no numbers')
  for (let n = 0; n < 300; n++) pass([totals(1, 20, api(20, 4, 2)), totals(2, 10, api(10, 1, 1))])
  t.equal(history.routes().size, 0, 'after ten minutes without requests')
})

t.test('it is known since when every token is refused', async (t) => {
  const { history, pass, clock } = clocked()
  const decided = (decisions: Record<string, number>) => [
    totals(1, 0, { counts: namedCounts({ decisions }) }),
  ]
  pass(decided({ token_invalid: 1 }))
  pass(decided({ token_invalid: 1, authenticated: 1 }))
  t.equal(history.recent().allRefused, null, 'one of them was good')
  pass(decided({ token_invalid: 1, authenticated: 1, anonymous: 5 }))
  t.equal(history.recent().allRefused, null, 'and none was refused since')
  pass(decided({ token_invalid: 3, authenticated: 1, anonymous: 5 }))
  const since = clock.wall
  pass(decided({ token_invalid: 3, authenticated: 1, anonymous: 9 }))
  pass(decided({ token_invalid: 4, token_expired: 1, authenticated: 1, anonymous: 9 }))
  t.match(history.recent().allRefused, {
    since,
    forMs: 2 * SAMPLE_MS,
    decisions: { token_invalid: 3, token_expired: 1 },
  })
  pass(decided({ token_invalid: 5, token_expired: 1, authenticated: 1, anonymous: 9, overloaded: 1 }))
  t.equal(history.recent().allRefused, null, 'one that nobody could decide on may be good')
})

t.test('the last minute is summed up, by upstream and by target', async (t) => {
  const { history, pass } = clocked()
  const failed = (count: number) => ({
    turnedAway: count,
    counts: namedCounts({ failures: { 'api http://a': count }, retries: { api: count } }),
  })
  pass([totals(1, 0, failed(100))])
  for (let n = 0; n < 30; n++) pass([totals(1, 0, failed(100))])
  pass([totals(1, 0, failed(103)), totals(2, 0, failed(2))])
  const { counts, turnedAway } = history.recent()
  t.same(counts.failures, { 'api http://a': 5 })
  t.same(counts.retries, { api: 5 })
  t.equal(turnedAway, 5)
})
