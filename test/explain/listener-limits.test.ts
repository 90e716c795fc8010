import { METHODS } from 'node:http'
import t from 'tap'
import { type ExplainedRequest, refusedByListener } from '../../gateway/explain/explained-request.ts'
import type { RequestHead } from '../../gateway/http1/heads.ts'
import { createWire } from '../../gateway/http1/wire.ts'

const LIMITS = { maxHeaderBytes: 1000, maxHeaderFields: 10 }
const wire = createWire()

/** What the listener's parser makes of the same request. */
function read({ method, target, host, headers }: ExplainedRequest): string {
  const heads: RequestHead[] = []
  const parser = wire.createRequestParser(
    {
      onHead(head) {
        heads.push(head)
        return 'read'
      },
      onBody() {},
      onEnd() {},
    },
    { maxHeadBytes: LIMITS.maxHeaderBytes, maxFields: LIMITS.maxHeaderFields },
  )
  let head = `${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n`
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  parser.execute(Buffer.from(`${head}\r\n`, 'latin1'))
  const { error } = parser
  parser.close()
  if (error === null) return heads.length === 1 ? 'taken' : 'unfinished'
  return error.code === 'headers_too_large' ? 'headers_too_large' : 'bad_request'
}

const explained = (more: Partial<ExplainedRequest>): ExplainedRequest => ({
  scheme: 'http',
  host: 'app.example.com',
  target: '/',
  method: 'GET',
  headers: [],
  ...more,
})

t.test('explain refuses for its size what the listener refuses, and nothing else', (t) => {
  for (let length = 900; length < 1000; length++) {
    for (const request of [
      explained({ headers: ['X-A', 'a'.repeat(length)] }),
      explained({ target: `/${'a'.repeat(length)}` }),
    ]) {
      t.equal(refusedByListener(request, LIMITS)?.code ?? 'taken', read(request), `${length}`)
    }
  }
  for (let count = 8; count < 12; count++) {
    const request = explained({ headers: Array.from({ length: 2 * count }, () => 'a') })
    t.equal(refusedByListener(request, LIMITS)?.code ?? 'taken', read(request), `${count} fields`)
  }
  t.end()
})

t.test('explain knows the methods that the listener knows', (t) => {
  for (const method of [...METHODS, 'FOO', 'get', 'PRI', 'BREW']) {
    const request = explained({ method })
    t.equal(refusedByListener(request, LIMITS)?.code ?? 'taken', read(request), method)
  }
  t.end()
})
