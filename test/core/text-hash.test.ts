import t from 'tap'
import { hashText } from '../../gateway/core/text-hash.ts'

t.test('the same text has the same key, wherever it stands', async (t) => {
  t.equal(hashText('abc'), hashText('abc'))
  t.equal(hashText('abc'), hashText('xxabcyy', 2, 5))
  t.not(hashText('abc'), hashText('abd'))
})

t.test('a key is a small integer, which V8 keeps without an object of its own', async (t) => {
  const key = hashText('a text that is long enough to run over thirty-two bits'.repeat(20))
  t.equal(key, key | 0)
})
