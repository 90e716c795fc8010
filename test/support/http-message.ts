/** A message's head, body and trailers as they stood on the wire. */
export interface RawFields {
  /** Name, value pairs in order, with their spelling, duplicates included. */
  readonly headers: readonly (readonly [string, string])[]
  /** The first value of a field, whatever the spelling of its name. */
  header(name: string): string | null
  /** All values of a field, in order. */
  all(name: string): string[]
  readonly body: Buffer
  readonly trailers: readonly (readonly [string, string])[]
}

export interface RawResponse extends RawFields {
  readonly version: string
  readonly status: number
  readonly reason: string
}

export interface RecordedRequest extends RawFields {
  readonly version: string
  readonly method: string
  readonly target: string
}

/** The peer ended the connection inside a message. */
export class CutShortError extends Error {}

/** Bytes as they come from a socket, to be taken in lines and blocks. */
export class ByteReader {
  #chunks: Buffer[] = []
  #length = 0
  #ended = false
  #error: Error | null = null
  #wake: (() => void) | null = null

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    this.#wake?.()
  }

  /** @param error what broke the connection, where it did not end in order */
  finish(error: Error | null = null): void {
    this.#ended = true
    this.#error ??= error
    this.#wake?.()
  }

  /** @returns a line without its CRLF, or null at the end of the connection */
  async line(): Promise<string | null> {
    for (;;) {
      const all = this.#joined()
      const at = all.indexOf('\r\n')
      if (at !== -1) {
        this.#keep(all.subarray(at + 2))
        return all.toString('latin1', 0, at)
      }
      if (this.#ended) {
        if (all.length === 0) return null
        throw new CutShortError(`the connection ended within a line: ${all.toString('latin1')}`)
      }
      await this.#more()
    }
  }

  async take(bytes: number): Promise<Buffer> {
    while (this.#length < bytes) {
      if (this.#ended) throw new CutShortError(`${this.#length} of ${bytes} bytes came`)
      await this.#more()
    }
    const all = this.#joined()
    this.#keep(all.subarray(bytes))
    return all.subarray(0, bytes)
  }

  /** All until the connection ends in order. */
  async rest(): Promise<Buffer> {
    while (!this.#ended) await this.#more()
    if (this.#error !== null) throw new CutShortError('the connection was reset')
    const all = this.#joined()
    this.#keep(Buffer.alloc(0))
    return all
  }

  #joined(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0]!
  }

  #keep(rest: Buffer): void {
    this.#chunks = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null
        resolve()
      }
    })
  }
}

/**
 * Reads one response, or one interim response, as RFC 9112 section 6.3 frames it.
 * @returns null where the connection ends before it
 * @throws CutShortError where the connection ends inside it
 */
export async function readResponse(
  reader: ByteReader,
  method: string,
  onHead?: (head: RawResponse) => void,
): Promise<RawResponse | null> {
  const start = await reader.line()
  if (start === null) return null
  const parts = /^(HTTP\/\d\.\d) (\d{3})(?: (.*))?$/.exec(start)
  if (parts === null) throw new Error(`not a status line: ${start}`)
  const headers = await readFields(reader)
  const status = Number(parts[2])
  const line = { version: parts[1]!, status, reason: parts[3] ?? '' }
  onHead?.({ ...line, ...fieldsOf(headers) })
  const bodiless = status < 200 || status === 204 || status === 304 || method === 'HEAD'
  const content = bodiless ? EMPTY : await readContent(reader, headers, () => reader.rest())
  return { ...line, ...fieldsOf(headers, content) }
}

/**
 * Reads one request; a body it has only with `Content-Length` or `Transfer-Encoding`.
 * @returns null where the connection ends before it
 */
export async function readRequest(
  reader: ByteReader,
  onHead?: (head: RecordedRequest) => void,
): Promise<RecordedRequest | null> {
  const start = await reader.line()
  if (start === null) return null
  const [method = '', target = '', version = ''] = start.split(' ')
  const headers = await readFields(reader)
  const line = { method, target, version }
  onHead?.({ ...line, ...fieldsOf(headers) })
  const content = await readContent(reader, headers, async () => Buffer.alloc(0))
  return { ...line, ...fieldsOf(headers, content) }
}

type Pairs = (readonly [string, string])[]

interface Content {
  readonly body: Buffer
  readonly trailers: Pairs
}

const EMPTY: Content = { body: Buffer.alloc(0), trailers: [] }

export function fieldsOf(headers: Pairs, content: Content = EMPTY): RawFields {
  const all = (name: string) =>
    headers.filter(([each]) => each.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
  return { headers, all, header: (name) => all(name)[0] ?? null, ...content }
}

async function readFields(reader: ByteReader): Promise<Pairs> {
  const fields: Pairs = []
  for (;;) {
    const line = await reader.line()
    if (line === null) throw new CutShortError('the connection ended within a head')
    if (line === '') return fields
    const colon = line.indexOf(':')
    fields.push([line.slice(0, colon), line.slice(colon + 1).trim()])
  }
}

async function readContent(
  reader: ByteReader,
  headers: Pairs,
  unframed: () => Promise<Buffer>,
): Promise<Content> {
  const fields = fieldsOf(headers)
  if (fields.header('transfer-encoding') !== null) return readChunks(reader)
  const length = fields.header('content-length')
  const body = length === null ? await unframed() : await reader.take(Number(length))
  return { body, trailers: [] }
}

async function readChunks(reader: ByteReader): Promise<Content> {
  const chunks: Buffer[] = []
  for (;;) {
    const line = await reader.line()
    if (line === null) throw new CutShortError('the connection ended between chunks')
    const size = Number.parseInt(line, 16)
    if (size === 0) return { body: Buffer.concat(chunks), trailers: await readFields(reader) }
    chunks.push(await reader.take(size))
    await reader.take(2)
  }
}
