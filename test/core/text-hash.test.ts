import t from 'tap'
import { textKey } from '../../gateway/core/text-hash.ts'

t.test('the same text has the same key, wherever it stands', async (t) => {
  t.equal(textKey('abc'), textKey('abc'))
  t.equal(textKey('abc'), textKey('xxabcyy', 2, 5))
  t.not(textKey('abc'), textKey('abd'))
})

t.test('a key is a small integer, which V8 keeps without an object of its own', async (t) => {
  const key = textKey('a text that is long enough to run over thirty-two bits'.repeat(20))
  t.equal(key, key | 0)
})
