import t from 'tap'
import { AnswerHeads } from '../../../gateway/upstreams/transport/answer-heads.ts'

const RAW = ['Content-Type', 'text/plain', 'Trailer', 'X-Sum']

t.test('a head that comes again is not made again', async (t) => {
  const heads = new AnswerHeads()
  t.equal(heads.read(200, RAW, null, true), heads.read(200, RAW, null, true))
  t.not(heads.read(200, RAW, null, true), heads.read(200, [...RAW], null, true))
})

t.test('trailers are announced only to those who get them, whoever was before', async (t) => {
  const heads = new AnswerHeads()
  const announces = (chunkable: boolean) =>
    heads.read(200, RAW, null, chunkable).fields.fields.includes('Trailer')
  t.same([true, false, true, true, false].map(announces), [true, false, true, true, false])
})

t.test('edits are those of the route', async (t) => {
  const heads = new AnswerHeads()
  const edits = { set: ['X-Route', 'a'], dropped: new Set(['x-route', 'content-type']) }
  const fields = (own: typeof edits | null) => heads.read(200, RAW, own, false).fields.fields
  t.same([fields(null), fields(edits), fields(null)], [RAW.slice(0, 2), ['X-Route', 'a'], RAW.slice(0, 2)])
})
