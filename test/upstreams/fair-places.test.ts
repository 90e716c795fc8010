import t from 'tap'
import { Holdings } from '../../gateway/core/holdings.ts'
import { parseRoutingFile } from '../../gateway/routing/file/routing-file.ts'
import { createMetrics } from '../../gateway/telemetry/metrics/metrics.ts'
import { type AcquireResult, createUpstream, type Lease } from '../../gateway/upstreams/upstream.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { testTransport } from '../support/target-client.ts'

/** An upstream with so many places at each of its targets. */
function setUp(places: number, { targets = 1, maxPending = 1024 } = {}) {
  const read = parseRoutingFile(
    JSON.stringify({
      upstreams: {
        api: {
          targets: Array.from({ length: targets }, (_, n) => `http://127.0.0.1:${n + 1}`),
          balance: 'round-robin',
          maxConnections: places,
          maxPending,
        },
      },
      routes: [],
    }),
    '/upstreams.json',
  )
  if (!read.ok) throw new Error(JSON.stringify(read.problems))
  const upstream = createUpstream('api', read.config.upstreams.get('api')!, {
    random: () => 0,
    scheduler: createFakeScheduler(),
    transport: testTransport(),
    metrics: createMetrics({ version: '0', node: '0' }, Date.now),
    onTargetChange: () => {},
  })
  return { acquire: (holdings: Holdings | null) => upstream.acquire({ holdings }) }
}

function kindsOf(acquired: readonly AcquireResult[]) {
  const counts: Record<string, number> = {}
  for (const { kind } of acquired) counts[kind] = (counts[kind] ?? 0) + 1
  return counts
}

function leasesOf(acquired: readonly AcquireResult[]): Lease[] {
  return acquired.flatMap((each) => (each.kind === 'leased' ? [each.lease] : []))
}

/** Asks for so many places at once. */
const take = (acquire: (holdings: Holdings | null) => AcquireResult, holdings: Holdings, count: number) =>
  Array.from({ length: count }, () => acquire(holdings))

/** Notes the order in which waiting requests are served. */
function noteServed(acquired: readonly AcquireResult[], name: string, served: string[]) {
  for (const each of acquired) {
    if (each.kind === 'queued') void each.ticket.result.then((got) => got && served.push(name))
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

for (const [places, held] of [
  [1, 1],
  [2, 1],
  [3, 2],
  [4, 3],
  [8, 7],
  [16, 14],
  [128, 112],
] as const) {
  t.test(`of ${places} places a connection that asks for all gets ${held}`, (t) => {
    const { acquire } = setUp(places)
    t.same(kindsOf(take(acquire, new Holdings(), 2 * places)), { leased: held, queued: 2 * places - held })
    t.end()
  })
}

t.test('clients that come behind a connection that wants everything are served at once', (t) => {
  const { acquire } = setUp(128)
  take(acquire, new Holdings(), 256)
  const others = [new Holdings(), new Holdings(), null].map((holdings) => acquire(holdings))
  t.same(kindsOf(others), { leased: 3 })
  t.end()
})

t.test('connections with one exchange at a time take every place', (t) => {
  const { acquire } = setUp(8)
  const all = Array.from({ length: 9 }, () => acquire(null))
  t.same(kindsOf(all), { leased: 8, queued: 1 })
  t.end()
})

t.test('the share is one of each target', (t) => {
  const { acquire } = setUp(8, { targets: 2 })
  t.same(kindsOf(take(acquire, new Holdings(), 20)), { leased: 14, queued: 6 })
  t.end()
})

t.test('waiting requests are served in turn by connection, not in their order', async (t) => {
  const { acquire } = setUp(3)
  const held = leasesOf([acquire(null), acquire(null), acquire(null)])
  const served: string[] = []
  const [greedy, modest] = [new Holdings(), new Holdings()]
  noteServed(take(acquire, greedy, 5), 'greedy', served)
  noteServed(take(acquire, modest, 2), 'modest', served)
  noteServed([acquire(null), acquire(null)], 'single', served)
  for (const lease of held) lease.release('success')
  await turn()
  t.same(served, ['greedy', 'modest', 'single'])
})

t.test('a connection with no place gets the last one before those that have some', async (t) => {
  const { acquire } = setUp(2)
  const served: string[] = []
  const [first, second] = [new Holdings(), new Holdings()]
  const [ofFirst] = leasesOf([acquire(first)])
  const [single] = leasesOf([acquire(null)])
  noteServed([acquire(first)], 'the first again', served)
  noteServed([acquire(second)], 'the second', served)
  single!.release('success')
  await turn()
  t.same(served, ['the second'])
  ofFirst!.release('success')
  await turn()
  t.same(served, ['the second', 'the first again'])
})

t.test('a connection that has its share goes on as its own exchanges end', async (t) => {
  const { acquire } = setUp(4)
  const greedy = new Holdings()
  const all = take(acquire, greedy, 6)
  const served: string[] = []
  noteServed(all, 'greedy', served)
  for (const lease of leasesOf(all)) lease.release('success')
  await turn()
  t.same(served, ['greedy', 'greedy', 'greedy'])
})

t.test('what was given back can be taken again', (t) => {
  const { acquire } = setUp(4)
  const client = new Holdings()
  for (let round = 0; round < 50; round++) {
    const leases = leasesOf(take(acquire, client, 3))
    t.equal(leases.length, 3)
    for (const lease of leases) lease.release('success')
  }
  t.end()
})

t.test('one connection does not fill the queue: upstream_overloaded for it, a place for another', (t) => {
  const { acquire } = setUp(1, { maxPending: 16 })
  acquire(null)
  const greedy = new Holdings()
  t.same(kindsOf(take(acquire, greedy, 20)), { queued: 14, refused: 6 })
  t.same(kindsOf([acquire(null), acquire(new Holdings())]), { queued: 2 })
  t.same(kindsOf([acquire(null)]), { refused: 1 }, 'maxPending holds for all together')
  t.end()
})
