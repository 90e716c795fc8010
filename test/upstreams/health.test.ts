import t from 'tap'
import { parseRoutingFile } from '../../gateway/routing/file/routing-file.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { createUpstream, type Upstream } from '../../gateway/upstreams/upstream.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { testTransport } from '../support/target-client.ts'

const URLS = ['http://127.0.0.1:1', 'http://127.0.0.1:2', 'http://127.0.0.1:3', 'http://127.0.0.1:4']

interface Setup {
  readonly targets?: number
  readonly config: Record<string, unknown>
  readonly random?: () => number
}

function setUp({ targets = 2, config, random = () => 0 }: Setup) {
  const scheduler = createFakeScheduler()
  const metrics = createMetrics({ version: '0', node: '0' }, Date.now)
  const changes: string[] = []
  const parse = (own: Record<string, unknown>) => {
    const read = parseRoutingFile(
      JSON.stringify({ upstreams: { api: { targets: URLS.slice(0, targets), ...own } }, routes: [] }),
      '/upstreams.json',
    )
    if (!read.ok) throw new Error(JSON.stringify(read.problems))
    return read.config.upstreams.get('api')!
  }
  const make = (own: Record<string, unknown>, before?: Upstream) =>
    createUpstream('api', parse(own), {
      random,
      scheduler,
      transport: testTransport(),
      metrics,
      existing: (url) => before?.targets.find((target) => target.url === url),
      onTargetChange: (_name, target, up, reason) =>
        changes.push(`${scheduler.now()} ${target.url.slice(-1)} ${up ? 'up' : 'down'}: ${reason}`),
    })
  const upstream = make(config)
  const answers = new Map<string, string | null>()
  for (const target of upstream.targets) {
    Object.assign(target, { probe: async () => answers.get(target.url) ?? null })
  }
  return {
    scheduler,
    metrics,
    changes,
    upstream,
    /** Sets the result of the checks of a target from now on; null for a good one. */
    setCheckResult: (n: number, problem: string | null) => answers.set(URLS[n - 1]!, problem),
    reload: (own: Record<string, unknown>, before = upstream) => {
      const next = make(own, before)
      before.stop()
      return next
    },
    up: (of = upstream) => of.targets.map(({ metrics }) => metrics.up.value),
  }
}

/** Ends `count` exchanges on one target, or fewer where it goes down meanwhile. */
function exchanges(upstream: Upstream, n: number, { failed, count }: { failed: boolean; count: number }) {
  const others = new Set(upstream.targets.filter(({ url }) => url !== URLS[n - 1]))
  for (let i = 0; i < count; i++) {
    if (upstream.targets[n - 1]!.metrics.up.value === 0) return
    const acquired = upstream.acquire({ tried: others })
    if (acquired.kind !== 'leased') throw new Error(acquired.kind)
    if (acquired.lease.target.url !== URLS[n - 1]) throw new Error('another target was leased')
    acquired.lease.release(failed ? 'failure' : 'success')
  }
}

const HEALTH = { path: '/healthz', interval: '5s', timeout: '2s', healthyAfter: 2, unhealthyAfter: 3 }
const EJECTION = { consecutiveFailures: 5, duration: '10s', maxPercent: 50 }

t.test(
  'active checks take a target out after the configured failures in a row, and bring it back',
  async (t) => {
    const { scheduler, setCheckResult, up, changes } = setUp({ config: { health: HEALTH } })
    setCheckResult(2, 'the check was answered with 500')
    await scheduler.advance(5000)
    t.same(up(), [1, 1], 'two bad checks are not enough')
    await scheduler.advance(5000)
    t.same(up(), [1, 0])
    setCheckResult(2, null)
    await scheduler.advance(5000)
    t.same(up(), [1, 0], 'one good check is not enough')
    await scheduler.advance(5000)
    t.same(up(), [1, 1])
    t.same(changes, ['10000 2 down: the check was answered with 500', '20000 2 up: 2 good checks in a row'])
  },
)

t.test('a good check between bad ones resets the count', async (t) => {
  const { scheduler, setCheckResult, up } = setUp({ config: { health: HEALTH } })
  setCheckResult(1, 'bad')
  await scheduler.advance(5000)
  setCheckResult(1, null)
  await scheduler.advance(5000)
  setCheckResult(1, 'bad')
  await scheduler.advance(10_000 - 1)
  t.same(up(), [1, 1])
})

t.test('checks are jittered, so that instances do not check at the same moment', async (t) => {
  const values = [0.1, 0.9, 0.3, 0.7]
  let n = 0
  const { scheduler } = setUp({ config: { health: HEALTH }, random: () => values[n++ % 4]! })
  t.same(scheduler.due, [50, 450])
  await scheduler.advance(450)
  const next = scheduler.due.map((ms) => ms + 450)
  t.ok(next.every((at) => at > 4500 && at <= 5450) && next[0] !== next[1], `${next}`)
})

t.test('without a healthy target a request is refused: upstream_unavailable', async (t) => {
  const { scheduler, setCheckResult, upstream } = setUp({ config: { health: HEALTH } })
  setCheckResult(1, 'bad')
  setCheckResult(2, 'bad')
  await scheduler.advance(10_000)
  t.same(upstream.acquire(), { kind: 'refused', code: 'upstream_unavailable' })
})

t.test('a target is ejected for the configured time after consecutiveFailures', async (t) => {
  const { scheduler, upstream, up, changes } = setUp({ config: { ejection: EJECTION } })
  exchanges(upstream, 2, { failed: true, count: 4 })
  t.same(up(), [1, 1])
  exchanges(upstream, 2, { failed: true, count: 1 })
  t.same(up(), [1, 0])
  t.equal(upstream.targets[1]!.metrics.ejections.value, 1)
  await scheduler.advance(9999)
  t.same(up(), [1, 0])
  await scheduler.advance(1)
  t.same(up(), [1, 1])
  t.same(changes, [
    '0 2 down: 5 failures in a row; ejected for 10000 ms',
    '10000 2 up: the ejection has ended',
  ])
})

t.test('a good answer between failures resets the count', async (t) => {
  const { upstream, up } = setUp({ config: { ejection: EJECTION } })
  exchanges(upstream, 2, { failed: true, count: 4 })
  exchanges(upstream, 2, { failed: false, count: 1 })
  exchanges(upstream, 2, { failed: true, count: 4 })
  t.same(up(), [1, 1])
})

t.test('each repeated ejection lasts twice as long, up to ten times', async (t) => {
  const { scheduler, upstream, up } = setUp({ config: { ejection: EJECTION } })
  const lasted: number[] = []
  for (let n = 0; n < 6; n++) {
    exchanges(upstream, 2, { failed: true, count: 5 })
    const from = scheduler.now()
    while (up()[1] === 0) await scheduler.advance(1000)
    lasted.push((scheduler.now() - from) / 1000)
  }
  t.same(lasted, [10, 20, 40, 80, 100, 100])
})

t.test(
  'after a time without failures as long as the longest ejection, the next one is short again',
  async (t) => {
    const { scheduler, upstream, up } = setUp({ config: { ejection: EJECTION } })
    for (let n = 0; n < 3; n++) {
      exchanges(upstream, 2, { failed: true, count: 5 })
      await scheduler.advance(40_000)
    }
    await scheduler.advance(100_001)
    exchanges(upstream, 2, { failed: true, count: 5 })
    await scheduler.advance(10_000)
    t.same(up(), [1, 1])
  },
)

t.test(
  'never more than maxPercent of the targets are ejected, and never the last one that is up',
  async (t) => {
    const four = setUp({ targets: 4, config: { ejection: EJECTION } })
    for (const n of [1, 2, 3, 4]) exchanges(four.upstream, n, { failed: true, count: 20 })
    t.same(four.up(), [0, 0, 1, 1])
    const all = setUp({ targets: 3, config: { ejection: { ...EJECTION, maxPercent: 100 } } })
    for (const n of [1, 2, 3]) exchanges(all.upstream, n, { failed: true, count: 20 })
    t.same(all.up(), [0, 0, 1])
    const one = setUp({ targets: 1, config: { ejection: { ...EJECTION, maxPercent: 100 } } })
    exchanges(one.upstream, 1, { failed: true, count: 20 })
    t.same(one.up(), [1])
  },
)

t.test('when checks take the last target out, ejected targets are reinstated at once', async (t) => {
  const { scheduler, upstream, up, setCheckResult } = setUp({
    config: { health: HEALTH, ejection: { ...EJECTION, duration: '1m' } },
  })
  exchanges(upstream, 2, { failed: true, count: 5 })
  t.same(up(), [1, 0])
  setCheckResult(1, 'bad')
  await scheduler.advance(10_000)
  t.same(up(), [0, 1])
})

t.test(
  'slow start: a recovered target has a tenth of its weight at first, and all of it after ten seconds',
  async (t) => {
    const { scheduler, upstream } = setUp({ config: { ejection: EJECTION } })
    const target = upstream.targets[1]!
    exchanges(upstream, 2, { failed: true, count: 5 })
    await scheduler.advance(10_000)
    const weights: number[] = []
    for (let second = 0; second < 11; second++) {
      weights.push(Math.round(target.weight * 10) / 10)
      await scheduler.advance(1000)
    }
    t.same(weights, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1])
  },
)

t.test('slow start: the ramp is no longer than the time that the target was away', async (t) => {
  const { scheduler, upstream } = setUp({ config: { ejection: { ...EJECTION, duration: '1s' } } })
  const target = upstream.targets[1]!
  exchanges(upstream, 2, { failed: true, count: 5 })
  await scheduler.advance(1000)
  t.equal(target.weight, 0.1)
  await scheduler.advance(899)
  t.equal(target.weight, 0.9)
  await scheduler.advance(1)
  t.equal(target.weight, 1)
})

t.test('the first request after an ejection goes to the target that is back', async (t) => {
  const { scheduler, upstream } = setUp({ config: { ejection: EJECTION }, random: () => 0 })
  exchanges(upstream, 2, { failed: true, count: 5 })
  await scheduler.advance(10_000)
  const urls = [1, 2, 3].map(() => {
    const acquired = upstream.acquire()
    if (acquired.kind !== 'leased') throw new Error(acquired.kind)
    acquired.lease.release('success')
    return acquired.lease.target.url
  })
  t.same(urls, [URLS[1], URLS[0], URLS[0]])
})

t.test('a reload keeps the health of targets that stay', async (t) => {
  const config = { health: HEALTH, ejection: EJECTION }
  const { scheduler, upstream, up, setCheckResult, reload } = setUp({ targets: 4, config })
  setCheckResult(1, 'bad')
  await scheduler.advance(10_000)
  exchanges(upstream, 2, { failed: true, count: 5 })
  await scheduler.advance(4000)
  const next = reload(config)
  t.same(up(next), [0, 0, 1, 1])
  await scheduler.advance(5999)
  t.same(up(next), [0, 0, 1, 1])
  await scheduler.advance(1)
  t.same(up(next), [0, 1, 1, 1], 'the ejection ends when it would have')
})

t.test('a reload without checks or ejection brings all targets back', async (t) => {
  const { scheduler, upstream, up, setCheckResult, reload } = setUp({
    targets: 4,
    config: { health: HEALTH, ejection: EJECTION },
  })
  setCheckResult(1, 'bad')
  await scheduler.advance(10_000)
  exchanges(upstream, 2, { failed: true, count: 5 })
  t.same(up(reload({})), [1, 1, 1, 1])
})

t.test('exchanges that began before a reload do not eject targets after it', async (t) => {
  const { upstream, up, reload } = setUp({ config: { ejection: EJECTION } })
  const leases = Array.from({ length: 20 }, () => upstream.acquire())
  const next = reload({ ejection: EJECTION })
  for (const acquired of leases) if (acquired.kind === 'leased') acquired.lease.release('failure')
  t.same(up(next), [1, 1])
  t.same(
    next.targets.map(({ inFlight }) => inFlight),
    [0, 0],
  )
})

t.test('a reload during a slow start does not restore the old weight', async (t) => {
  const { scheduler, upstream, reload } = setUp({ config: { ejection: EJECTION } })
  exchanges(upstream, 1, { failed: true, count: 5 })
  await scheduler.advance(11_000)
  const next = reload({
    targets: [{ url: URLS[0], weight: 7 }, URLS[1]],
    ejection: EJECTION,
  })
  await scheduler.advance(20_000)
  t.equal(next.targets[0]!.weight, 7)
})

t.test('an exchange that its client ended does not reset the count of failures', (t) => {
  const { upstream, up } = setUp({ targets: 2, config: { ejection: EJECTION } })
  const others = new Set([upstream.targets[1]!])
  for (const result of [
    'failure',
    'failure',
    'unknown',
    'failure',
    'unknown',
    'failure',
    'failure',
  ] as const) {
    t.same(up(), [1, 1])
    const acquired = upstream.acquire({ tried: others })
    if (acquired.kind === 'leased') acquired.lease.release(result)
  }
  t.same(up(), [0, 1])
  t.end()
})
