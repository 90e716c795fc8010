import { clientHeaders, clientTrailers } from '../../gateway/http/headers.ts'
import type { NodeResponse } from '../http1/node-oracle.ts'
import type { TestClient } from '../support/target-client.ts'

/** What the gateway refuses though Node does not; the reasons of `http1/` begin so. */
const REFUSED_ON_TOP = [
  'a version other than HTTP/1.0 and HTTP/1.1',
  'a Transfer-Encoding other than chunked',
  'several Transfer-Encoding fields',
  'a 101 that nobody asked for',
  'a 101 without ',
  'a control character in the reason',
  'a status of ',
  'a line that does not end with CR LF',
  'an informational response that ends the connection or announces a body',
  // A tab behind the number, which the llhttp of undici does not take for white space there.
  'HPE_INVALID_CONTENT_LENGTH: Invalid character in Content-Length',
]

/** @param cause of an answer that Node takes, and that was not passed on */
export function judgeRefusal(cause: string): void {
  const reason = cause.replace(/^.*is not valid: /, '')
  if (!REFUSED_ON_TOP.some((each) => reason.startsWith(each))) throw new Error(`Node alone accepts: ${cause}`)
}

/** @throws where the client got something else than Node has read, or Node has not read all of it */
export function judgeAnswer(method: string, client: TestClient, theirs: NodeResponse | null): void {
  if (theirs === null) throw new Error('Node refuses what was passed on')
  if (!theirs.complete) throw new Error('Node does not take for complete what was')
  if (!client.ended) throw new Error('an answer was not passed on to its end')
  if (theirs.line !== `${client.status} ${client.reason}`) throw new Error('the status lines differ')
  const isEmpty = client.status === 204 || client.status === 304
  const fields = isEmpty ? withoutLength(theirs.fields) : theirs.fields
  expectSame('fields', client.fields, fieldsForClient(fields, !isEmpty && method !== 'HEAD'))
  expectSame('bodies', client.body, theirs.body)
  expectSame('trailers', client.trailers, clientTrailers(theirs.trailers))
  // Nobody has asked for a 100.
  const informed = theirs.informational.filter(({ status }) => status !== 100)
  expectSame(
    'interim answers',
    client.informed,
    informed.map(({ status, fields }) => [status, fieldsForClient(withoutLength(fields), false)]),
  )
}

/** As Node read them, with what is removed and added for clients: that is tested elsewhere. */
function fieldsForClient(fields: readonly string[], chunkable: boolean): readonly string[] {
  return clientHeaders(fields, 'r1', null, chunkable).fields
}

function withoutLength(fields: readonly string[]): readonly string[] {
  return fields.filter((_, i) => fields[i & ~1]!.toLowerCase() !== 'content-length')
}

function expectSame(what: string, ours: unknown, theirs: unknown): void {
  if (JSON.stringify(ours) !== JSON.stringify(theirs))
    throw new Error(`the ${what} differ: ${JSON.stringify({ ours, theirs })}`)
}
