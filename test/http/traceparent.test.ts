import t from 'tap'
import { createTraceIds, isSampled, traceIdOf } from '../../gateway/http/traceparent.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const ids = createTraceIds()

for (const [what, value] of [
  ['one that is sampled', `00-${TRACE}-${PARENT}-01`],
  ['one that is not', `00-${TRACE}-${PARENT}-00`],
  ['one with flags nobody knows yet', `00-${TRACE}-${PARENT}-ff`],
  ['a later version', `01-${TRACE}-${PARENT}-01`],
  ['a later version with more fields', `cc-${TRACE}-${PARENT}-01-what-the-future-brings`],
  ['ids that end in zeros', `00-${'1'.padEnd(32, '0')}-${'1'.padEnd(16, '0')}-01`],
] as const) {
  t.test(`${what} is continued unchanged`, async (t) => {
    t.same(ids.continueOrStart(value), { traceparent: value, isNew: false })
  })
}

for (const [what, value] of [
  ['no field', undefined],
  ['an empty field', ''],
  ['version ff', `ff-${TRACE}-${PARENT}-01`],
  ['a trace id of zeros', `00-${'0'.repeat(32)}-${PARENT}-01`],
  ['a parent id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['a trace id of zeros in a later version', `01-${'0'.repeat(32)}-${PARENT}-01`],
  ['upper case', `00-${TRACE.toUpperCase()}-${PARENT}-01`],
  ['a trace id that is too short', `00-${TRACE.slice(1)}-${PARENT}-01`],
  ['a trace id that is too long', `00-${TRACE}0-${PARENT}-01`],
  ['a parent id that is too short', `00-${TRACE}-${PARENT.slice(1)}-01`],
  ['flags of one digit', `00-${TRACE}-${PARENT}-1`],
  ['flags of three digits', `00-${TRACE}-${PARENT}-010`],
  ['no hexadecimal digits', `00-${TRACE.replace('4', 'g')}-${PARENT}-01`],
  ['version 00 with more fields', `00-${TRACE}-${PARENT}-01-more`],
  ['a later version with more than fields', `01-${TRACE}-${PARENT}-01more`],
  ['underscores for dashes', `00_${TRACE}_${PARENT}_01`],
  ['white space within', `00-${TRACE}-${PARENT}-01 `],
  ['the field twice', `00-${TRACE}-${PARENT}-01, 00-${TRACE}-${PARENT}-01`],
  ['the field twice in a later version', `01-${TRACE}-${PARENT}-01-a, 01-${TRACE}-${PARENT}-01`],
  ['several values', [`00-${TRACE}-${PARENT}-01`]],
] as const) {
  t.test(`with ${what} a new trace is started, not sampled`, async (t) => {
    const { traceparent, isNew } = ids.continueOrStart(value as string)
    t.equal(isNew, true)
    t.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
    t.not(traceIdOf(traceparent), TRACE)
  })
}

t.test('ids do not repeat when the pool of random bytes is used up', async (t) => {
  const seen = new Set<string>()
  for (let i = 0; i < 20_000; i++) {
    const { traceparent } = ids.continueOrStart(undefined)
    seen.add(traceparent.slice(3, 35)).add(traceparent.slice(36, 52)).add(ids.spanId())
  }
  t.equal(seen.size, 60_000)
})

t.test('the sampled flag is the last bit of the flags', async (t) => {
  for (let flags = 0; flags < 256; flags++) {
    const text = flags.toString(16).padStart(2, '0')
    t.equal(isSampled(`00-${TRACE}-${PARENT}-${text}`), (flags & 1) === 1, text)
  }
})
