import t from 'tap'
import { leastRequests, roundRobin } from '../../gateway/upstreams/balancing.ts'

/** A seeded source (mulberry32), so that a distribution is the same in every run. */
function seeded(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let x = Math.imul(a ^ (a >>> 15), 1 | a)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
}

t.test(
  'round robin follows the weights exactly and does not pick the heavy target several times in a row',
  async (t) => {
    const [a, b, c] = [
      { id: 'a', weight: 5, inFlight: 0 },
      { id: 'b', weight: 1, inFlight: 0 },
      { id: 'c', weight: 1, inFlight: 0 },
    ]
    const pick = roundRobin()
    const order = Array.from({ length: 7 }, () => pick([a, b, c]).id).join('')
    t.equal(order, 'aabacaa')
  },
)

t.test('least requests never picks the busier of two', async (t) => {
  const pick = leastRequests(seeded(1))
  const busy = { id: 'busy', weight: 1, inFlight: 9 }
  const idle = { id: 'idle', weight: 1, inFlight: 0 }
  for (let i = 0; i < 100; i++) t.equal(pick([busy, idle]).id, 'idle')
})

t.test('least requests divides exchanges that stay open by weight', async (t) => {
  const pick = leastRequests(seeded(7))
  const targets = [
    { weight: 1, inFlight: 0 },
    { weight: 3, inFlight: 0 },
    { weight: 1, inFlight: 0 },
  ]
  for (let i = 0; i < 1000; i++) pick(targets).inFlight++
  t.same(
    targets.map(({ inFlight }) => Math.round(inFlight / 20) * 20),
    [200, 600, 200],
  )
})

t.test('least requests uses all of several idle targets', async (t) => {
  const pick = leastRequests(seeded(3))
  const targets = Array.from({ length: 4 }, (_, id) => ({ id, weight: 1, inFlight: 0 }))
  const counts = [0, 0, 0, 0]
  for (let i = 0; i < 4000; i++) counts[pick(targets).id]!++
  for (const count of counts) t.ok(Math.abs(count - 1000) < 150, `${counts}`)
})
