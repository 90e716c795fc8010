import t from 'tap'
import { createFieldPolicy } from '../../gateway/http/field-classes.ts'
import { createNameMemo } from '../../gateway/http/field-name-cache.ts'

t.test('a name is known by its exact spelling', async (t) => {
  const memo = createNameMemo<number>()
  memo.set('Cookie', 1)
  memo.set('Accept', 2)
  t.equal(memo.get('Cookie'), 1)
  t.equal(memo.get('Accept'), 2)
  t.equal(memo.get('cookie'), undefined)
  t.equal(memo.get(''), undefined)
})

t.test('names of any length can be asked for', async (t) => {
  const memo = createNameMemo<number>()
  const long = 'x'.repeat(100_000)
  memo.set(long, 1)
  t.equal(memo.get(long), undefined)
})

t.test(
  'a client that sends ever new names of one length fills no memory and slows no look-up down',
  async (t) => {
    const memo = createNameMemo<number>()
    const names = Array.from({ length: 1000 }, (_, i) => `x-${String(i).padStart(4, '0')}`)
    for (const [i, name] of names.entries()) memo.set(name, i)
    const kept = names.filter((name) => memo.get(name) !== undefined)
    t.ok(kept.length < 50, `${kept.length} are kept`)
    t.equal(memo.get(kept[0]!), 0)
  },
)

t.test(
  "a flood of names changes nobody's fate: forged identity headers are dropped after it as before",
  async (t) => {
    const policy = createFieldPolicy({
      userId: 'X-User-Id',
      mandateId: 'X-Mandate-Id',
      sessionId: 'X-Session-Id',
      tokenId: 'X-Token-Id',
    })
    for (let i = 0; i < 5000; i++) policy.fateOf(`x-us${i}`.padEnd(9, 'x').slice(0, 9))
    for (const name of ['X-User-Id', 'x-user-id', 'X_USER_ID', 'x.user.id'])
      t.equal(policy.fateOf(name), 'drop', name)
    t.equal(policy.fateOf('X-User-Ie'), 'pass')
    t.equal(policy.fateOf('Cookie'), 'cookie')
    t.equal(policy.fateOf('COOKIE'), 'cookie')
  },
)
