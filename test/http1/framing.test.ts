import t from 'tap'
import { FieldNames } from '../../gateway/http1/field-names.ts'
import {
  CHUNKED,
  LengthFields,
  passesNoLength,
  requestLength,
  responseLength,
  UNTIL_CLOSE,
} from '../../gateway/http1/framing.ts'

function lengths(contentLengths: readonly string[], transferEncodings: readonly string[]): LengthFields {
  const fields = new LengthFields()
  for (const value of contentLengths) fields.addContentLength(value)
  for (const value of transferEncodings) fields.addTransferEncoding(value)
  return fields
}

// llhttp refuses most of these before; the rules hold without it.
t.test("a request's length is a number, chunks, or a reason to refuse it", async (t) => {
  t.equal(requestLength(1, lengths([], [])), 0)
  t.equal(requestLength(1, lengths(['0'], [])), 0)
  t.equal(requestLength(1, lengths(['007'], [])), 7)
  t.equal(requestLength(1, lengths([], ['chunked'])), CHUNKED)
  t.equal(requestLength(1, lengths([], ['Chunked'])), CHUNKED)
  for (const [contentLengths, transferEncodings] of [
    [['1', '1'], []],
    [['1', '2'], []],
    [['1'], ['chunked']],
    [[], ['chunked', 'chunked']],
    [[], ['gzip, chunked']],
    [[], ['identity']],
    [[], ['']],
  ] as const) {
    t.type(requestLength(1, lengths(contentLengths, transferEncodings)), 'string')
  }
  for (const value of ['', ' ', '-1', '+1', '1.5', '1e3', '0x10', '1 ', '1,1', '9007199254740992']) {
    t.type(requestLength(1, lengths([value], [])), 'string', JSON.stringify(value))
  }
  t.type(requestLength(0, lengths([], ['chunked'])), 'string', 'HTTP/1.0')
})

t.test(
  "a response's length is a number, chunks, the connection's end, or a reason to refuse it",
  async (t) => {
    t.equal(responseLength(200, lengths([], [])), UNTIL_CLOSE)
    t.equal(responseLength(200, lengths(['3'], [])), 3)
    t.equal(responseLength(200, lengths([], ['chunked'])), CHUNKED)
    for (const status of [100, 103, 199, 204, 304]) {
      t.equal(responseLength(status, lengths(['3'], [])), 0)
      t.equal(responseLength(status, lengths([], ['chunked'])), 0)
      t.equal(responseLength(status, lengths([], [])), 0)
      t.type(responseLength(status, lengths([], ['gzip'])), 'string')
      t.equal(passesNoLength(status), true)
    }
    t.equal(passesNoLength(200), false)
    t.type(responseLength(200, lengths(['3'], ['chunked'])), 'string')
    t.type(responseLength(200, lengths(['3', '3'], [])), 'string')
  },
)

t.test('a flood of names takes no known name its place, and each is read as it is spelled', async (t) => {
  const names = new FieldNames()
  const read = (name: string, before = '') => {
    return names.read(Buffer.from(`${before}${name}:`), before.length, before.length + name.length)
  }
  for (let i = 0; i < 20_000; i++) {
    const name = `x-${i}-${'y'.repeat(i % 80)}`
    if (read(name).text !== name) t.fail(name)
  }
  t.equal(read('User-Agent', '-'), read('User-Agent'))
  t.equal(read('Content-Length').role, 1)
  t.equal(read('CONTENT-length').role, 1)
  t.equal(read('transfer-ENCODING').role, 2)
})
