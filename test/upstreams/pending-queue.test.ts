import t from 'tap'
import { parseRoutingFile } from '../../gateway/routing/file/routing-file.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { type AcquireResult, createUpstream, type Upstream } from '../../gateway/upstreams/upstream.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { testTransport } from '../support/target-client.ts'

const URLS = ['http://127.0.0.1:1', 'http://127.0.0.1:2']

/** An upstream with this number of targets, each with one connection unless `own` says otherwise. */
function setUp(targets: number, own: Record<string, unknown> = {}, before?: Upstream) {
  const scheduler = createFakeScheduler()
  const read = parseRoutingFile(
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
    transport: testTransport(),
    metrics: createMetrics({ version: '0', node: '0' }, Date.now),
    existing: (url) => before?.targets.find((target) => target.url === url),
    onTargetChange: () => {},
  })
  return { upstream, scheduler }
}

function leaseOf(acquired: AcquireResult) {
  if (acquired.kind !== 'leased') throw new Error(acquired.kind)
  return acquired.lease
}

function ticketOf(acquired: AcquireResult) {
  if (acquired.kind !== 'queued') throw new Error(acquired.kind)
  return acquired.ticket
}

t.test(
  'past maxConnections up to maxPending requests wait, and the next is refused: upstream_overloaded',
  (t) => {
    const { upstream } = setUp(1, { maxConnections: 2, maxPending: 3 })
    const all = Array.from({ length: 6 }, () => upstream.acquire())
    t.same(
      all.map(({ kind }) => kind),
      ['leased', 'leased', 'queued', 'queued', 'queued', 'refused'],
    )
    t.same(all[5], { kind: 'refused', code: 'upstream_overloaded' })
    t.equal(upstream.open, 5)
    t.end()
  },
)

t.test('waiting requests are served in their order as exchanges end', async (t) => {
  const { upstream } = setUp(1)
  const first = leaseOf(upstream.acquire())
  const [second, third] = [ticketOf(upstream.acquire()), ticketOf(upstream.acquire())]
  first.release('success')
  const acquisition = await second.result
  t.equal(acquisition?.kind, 'leased')
  t.equal(upstream.open, 2, 'the third waits on')
  if (acquisition?.kind === 'leased') acquisition.lease.release('success')
  t.equal((await third.result)?.kind, 'leased')
})

t.test('no request waits or is refused while a target has a free connection', (t) => {
  const { upstream } = setUp(2, { maxPending: 0 })
  const held = leaseOf(upstream.acquire())
  for (let n = 0; n < 4; n++) {
    const lease = leaseOf(upstream.acquire())
    t.not(lease.target, held.target)
    lease.release('success')
  }
  t.end()
})

t.test('a waiting request gets whichever target becomes free first', async (t) => {
  const { upstream } = setUp(2)
  const [one, other] = [leaseOf(upstream.acquire()), leaseOf(upstream.acquire())]
  const tickets = [ticketOf(upstream.acquire()), ticketOf(upstream.acquire())]
  other.release('success')
  one.release('success')
  const acquisitions = await Promise.all(tickets.map(({ result }) => result))
  t.same(
    acquisitions.map((acquisition) =>
      acquisition?.kind === 'leased' ? acquisition.lease.target.url : acquisition,
    ),
    [other.target.url, one.target.url],
  )
})

t.test('a request that leaves the queue makes room for another one and is never served', async (t) => {
  const { upstream } = setUp(1, { maxPending: 1 })
  const held = leaseOf(upstream.acquire())
  const left = ticketOf(upstream.acquire())
  left.cancel()
  t.equal(await left.result, null)
  const next = ticketOf(upstream.acquire())
  held.release('success')
  t.equal((await next.result)?.kind, 'leased')
  t.equal(upstream.open, 1)
})

t.test('a wait ends after the response timeout: upstream_timeout', async (t) => {
  const { upstream, scheduler } = setUp(1, { timeouts: { response: '2s' } })
  leaseOf(upstream.acquire())
  const { result } = ticketOf(upstream.acquire())
  await scheduler.advance(1999)
  t.equal(upstream.open, 2)
  await scheduler.advance(1)
  t.same(await result, { kind: 'refused', code: 'upstream_timeout' })
  t.equal(upstream.open, 1)
})

t.test('when the last target goes down, waiting requests are refused', async (t) => {
  const { upstream, scheduler } = setUp(1, {
    health: { path: '/', interval: '1s', timeout: '1s', unhealthyAfter: 1 },
  })
  for (const target of upstream.targets) Object.assign(target, { probe: async () => 'bad' })
  leaseOf(upstream.acquire())
  const { result } = ticketOf(upstream.acquire())
  await scheduler.advance(1000)
  t.same(await result, { kind: 'refused', code: 'upstream_unavailable' })
})

t.test(
  'a request that waits since before a reload is served when an exchange of the new file ends',
  async (t) => {
    const { upstream: before } = setUp(1)
    const held = leaseOf(before.acquire())
    const { upstream: next } = setUp(1, {}, before)
    before.stop()
    const old = ticketOf(before.acquire())
    held.release('success')
    const acquisition = await old.result
    if (acquisition?.kind === 'leased') acquisition.lease.release('success')
    const young = leaseOf(next.acquire())
    const late = ticketOf(before.acquire())
    young.release('success')
    t.equal((await late.result)?.kind, 'leased')
  },
)

t.test('targets of HTTP/2 carry any number of exchanges on their one connection', (t) => {
  const { upstream } = setUp(1, { protocol: 'http2', maxPending: 0 })
  for (let n = 0; n < 10; n++) leaseOf(upstream.acquire())
  t.equal(upstream.open, 10)
  t.end()
})
