import t from 'tap'
import { createNegativeCache } from '../../../gateway/auth/token-store/negative-cache.ts'

function cacheWith(ttlUs: number, max = 10) {
  const clock = { us: 1000 }
  return { clock, cache: createNegativeCache({ ttlUs, max, nowUs: () => clock.us }) }
}

t.test('a refusal is repeated for exactly its microseconds', async (t) => {
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

t.test('asking does not prolong a refusal', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  for (let i = 0; i < 10; i++) {
    clock.us += 10
    t.equal(cache.get('a'), 'token_unknown')
  }
  clock.us += 1
  t.equal(cache.get('a'), undefined)
})

t.test('a new refusal by the table starts the time anew', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  clock.us += 90
  cache.set('a', 'token_revoked')
  clock.us += 90
  t.equal(cache.get('a'), 'token_revoked')
})

t.test('nothing is kept with a time of 0', async (t) => {
  const { cache } = cacheWith(0)
  cache.set('a', 'token_unknown')
  t.equal(cache.get('a'), undefined)
  t.equal(cache.size, 0)
})

t.test('a flood of ids never holds more than the bound', async (t) => {
  const { cache } = cacheWith(1000, 3)
  for (let i = 0; i < 1000; i++) cache.set(String(i), 'token_unknown')
  t.equal(cache.size, 3)
  t.equal(cache.get('999'), 'token_unknown')
  t.equal(cache.get('0'), undefined)
})

t.test('entries past their time are not counted', async (t) => {
  const { clock, cache } = cacheWith(100)
  cache.set('a', 'token_unknown')
  clock.us += 50
  cache.set('b', 'token_expired')
  t.equal(cache.size, 2)
  clock.us += 60
  t.equal(cache.size, 1)
})

t.test('ids of object properties are ids like others', async (t) => {
  const { cache } = cacheWith(100)
  t.equal(cache.get('__proto__'), undefined)
  t.equal(cache.get('constructor'), undefined)
  cache.set('__proto__', 'token_revoked')
  t.equal(cache.get('__proto__'), 'token_revoked')
})
