import t from 'tap'
import { createFieldClassifier } from '../../gateway/http/field-classes.ts'
import { createFieldNameCache } from '../../gateway/http/field-name-cache.ts'

t.test('a name is found by its exact spelling only', async (t) => {
  const cache = createFieldNameCache<number>()
  cache.set('Cookie', 1)
  cache.set('Accept', 2)
  t.equal(cache.get('Cookie'), 1)
  t.equal(cache.get('Accept'), 2)
  t.equal(cache.get('cookie'), undefined)
  t.equal(cache.get(''), undefined)
})

t.test('names of any length can be looked up', async (t) => {
  const cache = createFieldNameCache<number>()
  const long = 'x'.repeat(100_000)
  cache.set(long, 1)
  t.equal(cache.get(long), undefined)
})

t.test(
  'attack: a client that keeps sending new names of one length neither fills memory nor slows look-ups',
  async (t) => {
    const cache = createFieldNameCache<number>()
    const names = Array.from({ length: 1000 }, (_, i) => `x-${String(i).padStart(4, '0')}`)
    for (const [i, name] of names.entries()) cache.set(name, i)
    const kept = names.filter((name) => cache.get(name) !== undefined)
    t.ok(kept.length < 50, `${kept.length} are kept`)
    t.equal(cache.get(kept[0]!), 0)
  },
)

t.test('attack: after a flood of new names forged identity headers are still dropped', async (t) => {
  const classifier = createFieldClassifier({
    userId: 'X-User-Id',
    mandateId: 'X-Mandate-Id',
    sessionId: 'X-Session-Id',
    tokenId: 'X-Token-Id',
  })
  for (let i = 0; i < 5000; i++) classifier.classify(`x-us${i}`.padEnd(9, 'x').slice(0, 9))
  for (const name of ['X-User-Id', 'x-user-id', 'X_USER_ID', 'x.user.id'])
    t.equal(classifier.classify(name), 'drop', name)
  t.equal(classifier.classify('X-User-Ie'), 'pass')
  t.equal(classifier.classify('Cookie'), 'cookie')
  t.equal(classifier.classify('COOKIE'), 'cookie')
})
