import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import { ByteReader, fieldsOf, type RawResponse, type RecordedRequest, readRequest } from './http-message.ts'
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  GOAWAY,
  HEADERS,
  literal,
  RST_STREAM,
  rawHttp2,
} from './http2-frames.ts'
import type { RawExchange, RawRequestOptions } from './raw-http.ts'

export interface Http2Asker {
  /** Sends one request, given as HTTP/1.1 has it, and reads what comes back. */
  ask(bytes: Buffer | string, options?: RawRequestOptions): Promise<RawExchange>
  close(): void
}

type Pairs = readonly (readonly [string, string])[]

/** What is written by hand for HTTP/1.1 can be tried over HTTP/2. One connection carries all, as long as it lasts. */
export function startHttp2Asker(port: number): Http2Asker {
  let session: ClientHttp2Session | null = null

  async function current(): Promise<ClientHttp2Session> {
    if (session !== null && !session.closed && !session.destroyed) return session
    session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
    session.on('error', () => {})
    await once(session, 'connect')
    return session
  }

  return {
    async ask(bytes, { timeoutMs = 5000 } = {}) {
      const request = await readOne(bytes)
      const head = headOf(request)
      const hasBody = request.body.length > 0 || request.trailers.length > 0 || isChunked(request)
      const on = await current()
      let stream: ClientHttp2Stream
      // Node would add an authority of its own.
      if (head.every(([name]) => name !== ':authority'))
        return askByFrames(port, framesOf(head, request, hasBody), timeoutMs)
      try {
        const options = { endStream: !hasBody, waitForTrailers: request.trailers.length > 0 }
        stream = on.request(head.flat() as never, options)
      } catch {
        // No client in Node would send it.
        return askByFrames(port, framesOf(head, request, hasBody), timeoutMs)
      }
      stream.on('wantTrailers', () => stream.sendTrailers(Object.fromEntries(lowerCase(request.trailers))))
      if (hasBody) stream.end(request.body)
      return readExchange(stream, timeoutMs)
    },
    close: () => session?.destroy(),
  }
}

async function readOne(bytes: Buffer | string): Promise<RecordedRequest> {
  const reader = new ByteReader()
  reader.push(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  reader.finish()
  return (await readRequest(reader))!
}

const isChunked = (request: RecordedRequest) => request.header('transfer-encoding') !== null
const lowerCase = (fields: Pairs) => fields.map(([name, value]) => [name.toLowerCase(), value] as const)

/** One `Host` is the authority; none or several stay what they are. Chunks are frames. */
function headOf({ method, target, headers, all }: RecordedRequest): Pairs {
  const hosts = all('host')
  const fields = lowerCase(headers).filter(
    ([name, value]) =>
      !(name === 'host' && hosts.length === 1) && !(name === 'transfer-encoding' && value === 'chunked'),
  )
  const authority: Pairs = hosts.length === 1 ? [[':authority', hosts[0]!]] : []
  // RFC 9113, section 8.5.
  if (method === 'CONNECT') return [[':method', method], ...authority, ...fields]
  return [[':method', method], [':scheme', 'https'], [':path', target], ...authority, ...fields]
}

function readExchange(stream: ClientHttp2Stream, timeoutMs: number): Promise<RawExchange> {
  return new Promise((resolve) => {
    const responses: RawResponse[] = []
    const chunks: Buffer[] = []
    let head: readonly [number, Pairs] | null = null
    let isLate = false
    const late = setTimeout(() => {
      isLate = true
      stream.close(8)
    }, timeoutMs)
    stream.on('headers', (fields, _flags, raw) => {
      responses.push(responseOf(Number(fields[':status']), pairsOf(raw as never), Buffer.alloc(0)))
    })
    stream.on('response', (fields, _flags, raw) => {
      head = [Number(fields[':status']), pairsOf(raw as never)]
    })
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('error', () => {})
    stream.on('close', () => {
      clearTimeout(late)
      const isWhole = stream.rstCode === 0 && head !== null
      if (isWhole) responses.push(responseOf(...head!, Buffer.concat(chunks)))
      resolve({
        responses,
        closed: !isWhole && !isLate,
        cut: !isWhole && head !== null,
        reset: head === null && !isLate,
        raw: Buffer.from(responses.map(textOf).join(''), 'latin1'),
      })
    })
  })
}

function pairsOf(raw: readonly string[]): Pairs {
  const pairs: (readonly [string, string])[] = []
  for (let i = 0; i < raw.length; i += 2) if (!raw[i]!.startsWith(':')) pairs.push([raw[i]!, raw[i + 1]!])
  return pairs
}

function responseOf(status: number, headers: Pairs, body: Buffer): RawResponse {
  return { version: 'HTTP/2', status, reason: '', ...fieldsOf([...headers], { body, trailers: [] }) }
}

/** As HTTP/1.1 would have it. */
function textOf({ status, headers, body }: RawResponse): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `HTTP/1.1 ${status}\r\n${lines}\r\n${body.toString('latin1')}`
}

function framesOf(head: Pairs, { body, trailers }: RecordedRequest, hasBody: boolean): Frame[] {
  const encode = (fields: Pairs) => Buffer.concat(fields.map(([name, value]) => literal(name, value)))
  const frames: Frame[] = []
  const stream = 1
  frames.push({
    type: HEADERS,
    flags: END_HEADERS | (hasBody ? 0 : END_STREAM),
    stream,
    payload: encode(head),
  })
  if (!hasBody) return frames
  frames.push({ type: DATA, flags: trailers.length > 0 ? 0 : END_STREAM, stream, payload: body })
  if (trailers.length > 0)
    frames.push({
      type: HEADERS,
      flags: END_HEADERS | END_STREAM,
      stream,
      payload: encode(lowerCase(trailers)),
    })
  return frames
}

/** Statuses as one byte (RFC 7541, appendix A). */
const STATUSES = new Map([
  [0x88, 200],
  [0x89, 204],
  [0x8b, 304],
  [0x8c, 400],
  [0x8d, 404],
  [0x8e, 500],
])

/** Sends frames of stream 1 as they are. @returns the status alone, or that the stream was reset */
export async function askByFrames(
  port: number,
  frames: readonly Frame[],
  timeoutMs: number,
): Promise<RawExchange> {
  const client = await rawHttp2(port)
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    client.socket.destroy()
  }, timeoutMs)
  client.send(...frames)
  const first = await Promise.race([HEADERS, RST_STREAM, GOAWAY].map((type) => client.frame(type)))
  clearTimeout(late)
  client.socket.destroy()
  if (first === null || first.type !== HEADERS)
    return { responses: [], closed: !isLate, cut: false, reset: !isLate, raw: Buffer.alloc(0) }
  const status = STATUSES.get(first.payload[0]!)
  if (status === undefined) throw new Error('an answer with another status than can be read here')
  const response = responseOf(status, [], Buffer.alloc(0))
  return {
    responses: [response],
    closed: false,
    cut: false,
    reset: false,
    raw: Buffer.from(textOf(response)),
  }
}
