/** A request as a reader that forgives nothing takes it from the wire. */
export interface StrictRequest {
  readonly method: string
  readonly target: string
  /** Name, value pairs in order; names in lower case. */
  readonly fields: readonly (readonly [string, string])[]
  readonly body: Buffer
}

export interface Wire {
  readonly requests: readonly StrictRequest[]
  /** What came behind a request that asked to switch protocols. */
  readonly tunnel: Buffer | null
}

/** The bytes are not a row of whole requests. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

const TOKEN = /^[!#$%&'*+.^_`|~\dA-Za-z-]+$/
const REQUEST_LINE = /^([A-Z]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.1$/
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/

/**
 * Reads all that one connection carried towards a backend, by RFC 9112 without any of its leniencies, and
 * without a line of the gateway's or of Node's parser.
 *
 * @throws WireError for anything that two readers could take differently, and for a request that is not whole
 */
export function readWire(bytes: Buffer): Wire {
  const requests: StrictRequest[] = []
  let at = 0
  while (at < bytes.length) {
    const read = readRequest(bytes, at)
    requests.push(read.request)
    at = read.end
    if (valuesOf(read.request, 'upgrade').length > 0) return { requests, tunnel: bytes.subarray(at) }
  }
  return { requests, tunnel: null }
}

/** All values of a field; `name` in lower case. */
export function valuesOf(request: StrictRequest, name: string): string[] {
  return request.fields.filter(([each]) => each === name).map(([, value]) => value)
}

function readRequest(bytes: Buffer, from: number): { request: StrictRequest; end: number } {
  const headEnd = bytes.indexOf('\r\n\r\n', from, 'latin1')
  if (headEnd === -1) throw new WireError(`a head is not whole: ${quote(bytes.subarray(from))}`)
  const [line = '', ...rest] = bytes.toString('latin1', from, headEnd).split('\r\n')
  const parts = REQUEST_LINE.exec(line)
  if (parts === null) throw new WireError(`not a request line: ${quote(line)}`)
  const fields = rest.map(readField)
  const { body, end } = readBody(bytes, headEnd + 4, fields)
  return { request: { method: parts[1]!, target: parts[2]!, fields, body }, end }
}

function readField(line: string): readonly [string, string] {
  const colon = line.indexOf(':')
  const name = line.slice(0, colon)
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
  if (colon === -1 || !TOKEN.test(name) || !VALUE.test(value)) throw new WireError(`no field: ${quote(line)}`)
  return [name.toLowerCase(), value]
}

function readBody(
  bytes: Buffer,
  from: number,
  fields: StrictRequest['fields'],
): { body: Buffer; end: number } {
  const all = (wanted: string) => fields.filter(([name]) => name === wanted).map(([, value]) => value)
  const lengths = all('content-length')
  const codings = all('transfer-encoding')
  if (all('host').length !== 1) throw new WireError('not exactly one Host')
  if (lengths.length + codings.length > 1) throw new WireError('framed more than once')
  if (codings.length === 1) {
    if (codings[0] !== 'chunked') throw new WireError(`coded as ${codings[0]}`)
    return readChunks(bytes, from)
  }
  if (lengths.length === 0) return { body: Buffer.alloc(0), end: from }
  if (!/^(?:0|[1-9]\d{0,9})$/.test(lengths[0]!)) throw new WireError(`a length of ${lengths[0]}`)
  const end = from + Number(lengths[0])
  if (end > bytes.length) throw new WireError('a body is not whole')
  return { body: bytes.subarray(from, end), end }
}

function readChunks(bytes: Buffer, from: number): { body: Buffer; end: number } {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at, 'latin1')
    if (lineEnd === -1) throw new WireError('a chunk is not whole')
    const line = bytes.toString('latin1', at, lineEnd)
    if (!/^[\da-fA-F]{1,8}$/.test(line)) throw new WireError(`no chunk size: ${quote(line)}`)
    const size = Number.parseInt(line, 16)
    const end = lineEnd + 2 + size
    if (bytes.toString('latin1', end, end + 2) !== '\r\n') throw new WireError('a chunk does not end')
    if (size === 0) return { body: Buffer.concat(chunks), end: end + 2 }
    chunks.push(bytes.subarray(lineEnd + 2, end))
    at = end + 2
  }
}

function quote(bytes: Buffer | string): string {
  return JSON.stringify(bytes.toString('latin1').slice(0, 200))
}
