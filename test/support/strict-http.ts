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
  /** True where the bytes end inside a request: no backend may act on that one. */
  readonly cut: boolean
}

/** The bytes are no row of requests. */
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
 * @throws WireError for anything that two readers could take differently
 */
export function readWire(bytes: Buffer): Wire {
  const requests: StrictRequest[] = []
  let at = 0
  while (at < bytes.length) {
    const read = readRequest(bytes, at)
    if (read === null) return { requests, tunnel: null, cut: true }
    requests.push(read.request)
    at = read.end
    if (valuesOf(read.request, 'upgrade').length > 0)
      return { requests, tunnel: bytes.subarray(at), cut: false }
  }
  return { requests, tunnel: null, cut: false }
}

/** All values of a field; `name` in lower case. */
export function valuesOf(request: StrictRequest, name: string): string[] {
  return request.fields.filter(([each]) => each === name).map(([, value]) => value)
}

/** @returns null where the bytes end inside it */
function readRequest(bytes: Buffer, from: number): { request: StrictRequest; end: number } | null {
  const headEnd = bytes.indexOf('\r\n\r\n', from, 'latin1')
  if (headEnd === -1) return null
  const [line = '', ...rest] = bytes.toString('latin1', from, headEnd).split('\r\n')
  const parts = REQUEST_LINE.exec(line)
  if (parts === null) throw new WireError(`not a request line: ${quote(line)}`)
  const fields = rest.map(readField)
  const content = readBody(bytes, headEnd + 4, fields)
  if (content === null) return null
  return { request: { method: parts[1]!, target: parts[2]!, fields, body: content.body }, end: content.end }
}

function readField(line: string): readonly [string, string] {
  const colon = line.indexOf(':')
  const name = line.slice(0, colon)
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
  if (colon === -1 || !TOKEN.test(name) || !VALUE.test(value)) throw new WireError(`no field: ${quote(line)}`)
  return [name.toLowerCase(), value]
}

interface Content {
  readonly body: Buffer
  readonly end: number
}

function readBody(bytes: Buffer, from: number, fields: StrictRequest['fields']): Content | null {
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
  return end > bytes.length ? null : { body: bytes.subarray(from, end), end }
}

function readChunks(bytes: Buffer, from: number): Content | null {
  const chunks: Buffer[] = []
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at, 'latin1')
    if (lineEnd === -1) return null
    const line = bytes.toString('latin1', at, lineEnd)
    if (!/^[\da-fA-F]{1,8}$/.test(line)) throw new WireError(`no chunk size: ${quote(line)}`)
    const size = Number.parseInt(line, 16)
    const end = lineEnd + 2 + size
    if (bytes.length < end + 2) return null
    if (bytes.toString('latin1', end, end + 2) !== '\r\n') throw new WireError('a chunk does not end')
    if (size === 0) return { body: Buffer.concat(chunks), end: end + 2 }
    chunks.push(bytes.subarray(lineEnd + 2, end))
    at = end + 2
  }
}

function quote(bytes: Buffer | string): string {
  return JSON.stringify(bytes.toString('latin1').slice(0, 200))
}
