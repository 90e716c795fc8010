import t from 'tap'
import { createNegativeCache } from '../../../gateway/auth/token-store/negative-cache.ts'

function cacheWith(ttlUs: number, max = 10) {
  const clock = { us: 1000 }
  return { clock, cache: createNegativeCache({ ttlUs, max, nowUs: () => clock.us }) }
}

t.test('a refusal is repeated until exactly its time to live in microseconds is over', async (t) => {
  const { clock, cache } = cacheWith(250)
  cache.set('a', 'token_revoked')
  clock.us += 250
  t.equal(cache.get('a'), 'token_revoked')
  clock.us += 1
  t.equal(cache.get('a'), undefined)
})

t.test('fractions of a microsecond count', async (t) => {
  const { clock, cache } = cacheWith(1)
  cache.set('a', 'token_unknown')
  clock.us += 0.5
  t.equal(cache.get('a'), 'token_unknown')
  clock.us += 0.75
  t.equal(cache.get('a'), undefined)
})

t.test('reading a refusal does not prolong it', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  for (let i = 0; i < 10; i++) {
    clock.us += 10
    t.equal(cache.get('a'), 'token_unknown')
  }
  clock.us += 1
  t.equal(cache.get('a'), undefined)
})

t.test('a new refusal by the table restarts its time to live', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  clock.us += 90
  cache.set('a', 'token_revoked')
  clock.us += 90
  t.equal(cache.get('a'), 'token_revoked')
})

t.test('a time to live of 0 keeps nothing', async (t) => {
  const { cache } = cacheWith(0)
  cache.set('a', 'token_unknown')
  t.equal(cache.get('a'), undefined)
  t.equal(cache.size, 0)
})

t.test('a flood of ids never makes more entries than the bound', async (t) => {
  const { cache } = cacheWith(1000, 3)
  for (let i = 0; i < 1000; i++) cache.set(String(i), 'token_unknown')
  t.equal(cache.size, 3)
  t.equal(cache.get('999'), 'token_unknown')
  t.equal(cache.get('0'), undefined)
})

t.test('expired entries are not counted', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  clock.us += 50
  cache.set('b', 'token_expired')
  t.equal(cache.size, 2)
  clock.us += 60
  t.equal(cache.size, 1)
})

t.test('ids that are names of object properties are kept like others', async (t) => {
  const { cache } = cacheWith(100)
  t.equal(cache.get('__proto__'), undefined)
  t.equal(cache.get('constructor'), undefined)
  cache.set('__proto__', 'token_revoked')
  t.equal(cache.get('__proto__'), 'token_revoked')
})
