import t from 'tap'
import { hashText } from '../../gateway/core/text-hash.ts'

t.test('the same text has the same hash, also as a part of another text', async (t) => {
  t.equal(hashText('abc'), hashText('abc'))
  t.equal(hashText('abc'), hashText('xxabcyy', 2, 5))
  t.not(hashText('abc'), hashText('abd'))
})

t.test('a hash is a 32-bit integer, which V8 stores without an object', async (t) => {
  const hash = hashText('a text that is long enough to run over thirty-two bits'.repeat(20))
  t.equal(hash, hash | 0)
})
