import t from 'tap'
import { readUpstreamsFile } from '../../gateway/routing/file/routing-file.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { type Acquired, createUpstream, type Upstream } from '../../gateway/upstreams/upstream.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { nothingToLookUp } from '../support/name-server.ts'

const URLS = ['http://127.0.0.1:1', 'http://127.0.0.1:2']

/** An upstream of so many targets, with one connection each unless told otherwise. */
function setUp(targets: number, own: Record<string, unknown> = {}, before?: Upstream) {
  const scheduler = createFakeScheduler()
  const read = readUpstreamsFile(
    JSON.stringify({
      upstreams: {
        api: { targets: URLS.slice(0, targets), balance: 'round-robin', maxConnections: 1, ...own },
      },
      routes: [],
    }),
    '/upstreams.json',
  )
  if (!read.ok) throw new Error(JSON.stringify(read.problems))
  const upstream = createUpstream('api', read.config.upstreams.get('api')!, {
    random: () => 0,
    scheduler,
    lookup: nothingToLookUp,
    metrics: createMetrics({ version: '0', node: '0' }, Date.now),
    existing: (url) => before?.targets.find((target) => target.url === url),
    onTargetChange: () => {},
  })
  return { upstream, scheduler }
}

function leaseOf(acquired: Acquired) {
  if (acquired.kind !== 'leased') throw new Error(acquired.kind)
  return acquired.lease
}

function placeOf(acquired: Acquired) {
  if (acquired.kind !== 'queued') throw new Error(acquired.kind)
  return acquired.place
}

t.test('past maxConnections so many may wait as maxPending says, the next is refused', (t) => {
  const { upstream } = setUp(1, { maxConnections: 2, maxPending: 3 })
  const all = Array.from({ length: 6 }, () => upstream.acquire())
  t.same(
    all.map(({ kind }) => kind),
    ['leased', 'leased', 'queued', 'queued', 'queued', 'refused'],
  )
  t.same(all[5], { kind: 'refused', code: 'upstream_overloaded' })
  t.equal(upstream.open, 5)
  t.end()
})

t.test('who waits is served in the order of coming, as exchanges end', async (t) => {
  const { upstream } = setUp(1)
  const first = leaseOf(upstream.acquire())
  const [second, third] = [placeOf(upstream.acquire()), placeOf(upstream.acquire())]
  first.release('good')
  const turn = await second.turn
  t.equal(turn?.kind, 'leased')
  t.equal(upstream.open, 2, 'the third waits on')
  if (turn?.kind === 'leased') turn.lease.release('good')
  t.equal((await third.turn)?.kind, 'leased')
})

t.test('nobody waits, or is turned away, beside a target that has a connection to spare', (t) => {
  const { upstream } = setUp(2, { maxPending: 0 })
  const held = leaseOf(upstream.acquire())
  for (let n = 0; n < 4; n++) {
    const lease = leaseOf(upstream.acquire())
    t.not(lease.target, held.target)
    lease.release('good')
  }
  t.end()
})

t.test('who waits takes whichever target comes free first', async (t) => {
  const { upstream } = setUp(2)
  const [one, other] = [leaseOf(upstream.acquire()), leaseOf(upstream.acquire())]
  const places = [placeOf(upstream.acquire()), placeOf(upstream.acquire())]
  other.release('good')
  one.release('good')
  const turns = await Promise.all(places.map(({ turn }) => turn))
  t.same(
    turns.map((turn) => (turn?.kind === 'leased' ? turn.lease.target.url : turn)),
    [other.target.url, one.target.url],
  )
})

t.test('a place that is left is free for the next, and its turn never comes', async (t) => {
  const { upstream } = setUp(1, { maxPending: 1 })
  const held = leaseOf(upstream.acquire())
  const left = placeOf(upstream.acquire())
  left.leave()
  t.equal(await left.turn, null)
  const next = placeOf(upstream.acquire())
  held.release('good')
  t.equal((await next.turn)?.kind, 'leased')
  t.equal(upstream.open, 1)
})

t.test('a wait is over after the response timeout', async (t) => {
  const { upstream, scheduler } = setUp(1, { timeouts: { response: '2s' } })
  leaseOf(upstream.acquire())
  const { turn } = placeOf(upstream.acquire())
  await scheduler.advance(1999)
  t.equal(upstream.open, 2)
  await scheduler.advance(1)
  t.same(await turn, { kind: 'refused', code: 'upstream_timeout' })
  t.equal(upstream.open, 1)
})

t.test('where the last target goes down, who waits is refused', async (t) => {
  const { upstream, scheduler } = setUp(1, {
    health: { path: '/', interval: '1s', timeout: '1s', unhealthyAfter: 1 },
  })
  for (const target of upstream.targets) Object.assign(target, { probe: async () => 'bad' })
  leaseOf(upstream.acquire())
  const { turn } = placeOf(upstream.acquire())
  await scheduler.advance(1000)
  t.same(await turn, { kind: 'refused', code: 'upstream_unavailable' })
})

t.test('who waits since before a reload is served when an exchange of the new file ends', async (t) => {
  const { upstream: before } = setUp(1)
  const held = leaseOf(before.acquire())
  const { upstream: next } = setUp(1, {}, before)
  before.stop()
  const old = placeOf(before.acquire())
  held.release('good')
  const turn = await old.turn
  if (turn?.kind === 'leased') turn.lease.release('good')
  const young = leaseOf(next.acquire())
  const late = placeOf(before.acquire())
  young.release('good')
  t.equal((await late.turn)?.kind, 'leased')
})

t.test('targets of HTTP/2 carry any number on their one connection', (t) => {
  const { upstream } = setUp(1, { protocol: 'http2', maxPending: 0 })
  for (let n = 0; n < 10; n++) leaseOf(upstream.acquire())
  t.equal(upstream.open, 10)
  t.end()
})
