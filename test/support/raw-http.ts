import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { ByteReader, CutShortError, type RawResponse, readResponse } from './http-message.ts'

export type { RawResponse } from './http-message.ts'

export interface RawRequestOptions {
  /** Whole answers to wait for; interim ones (1xx) do not count. */
  readonly until?: number
  readonly timeoutMs?: number
  /** The request's method, since an answer to HEAD has no body whatever its head says. */
  readonly method?: string
}

export interface RawExchange {
  /** Whole answers, each 1xx one of its own. */
  readonly responses: RawResponse[]
  /** True where the gateway ended the connection. */
  readonly closed: boolean
  /** True where it ended inside an answer. */
  readonly cut: boolean
  /** True where HTTP/2 refused it by a reset in place of an answer. */
  readonly reset: boolean
  /** All that came. */
  readonly raw: Buffer
}

/** Writes bytes on a fresh connection and reads what comes back, until enough answers or the end. */
export async function rawRequest(
  port: number,
  bytes: Buffer | string,
  options: RawRequestOptions = {},
): Promise<RawExchange> {
  const { until = 1, timeoutMs = 5000, method } = options
  const connection = await openConnection(port)
  const responses: RawResponse[] = []
  let cut = false
  const late = setTimeout(() => connection.destroy(), timeoutMs)
  const expected = method ?? /^[A-Z]+/.exec(bytes.toString('latin1'))?.[0] ?? 'GET'
  connection.write(bytes)
  try {
    while (responses.filter(({ status }) => status >= 200 || status === 101).length < until) {
      const response = await connection.maybeResponse(expected)
      if (response === null) break
      responses.push(response)
    }
  } catch (error) {
    if (!(error instanceof CutShortError)) throw error
    cut = true
  }
  clearTimeout(late)
  const closed = connection.ended()
  connection.destroy()
  return { responses, closed, cut, reset: false, raw: connection.raw() }
}

export interface RawConnection {
  readonly socket: Socket
  write(bytes: Buffer | string): void
  /** The next answer, interim ones included. Rejects where the connection ends before or inside it. */
  response(method?: string): Promise<RawResponse>
  /** The next answer, or null where the connection ends before it. */
  maybeResponse(method?: string): Promise<RawResponse | null>
  /** The next answer's head, as soon as it is there; `rest` is the whole answer. */
  head(method?: string): Promise<{ head: RawResponse; rest: Promise<RawResponse> }>
  /** Resolves once the bytes so far contain the text. */
  sees(text: string): Promise<void>
  /** When the connection is over, however it ended. */
  readonly closed: Promise<void>
  ended(): boolean
  raw(): Buffer
  destroy(): void
}

/** A connection to interleave writes and reads on. It never ends by itself: the test's timeout bounds it. */
export async function openConnection(port: number): Promise<RawConnection> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  const reader = new ByteReader()
  const chunks: Buffer[] = []
  let ended = false
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    reader.push(chunk)
  })
  socket.on('end', () => {
    ended = true
    reader.finish()
  })
  socket.on('error', (error) => {
    ended = true
    reader.finish(error)
  })
  const closed = new Promise<void>((resolve) => {
    socket.on('close', () => {
      reader.finish()
      resolve()
    })
  })
  async function response(method = 'GET', onHead?: (head: RawResponse) => void): Promise<RawResponse> {
    const read = await readResponse(reader, method, onHead)
    if (read === null) throw new CutShortError('the connection ended before an answer')
    return read
  }
  return {
    socket,
    write: (bytes) => void socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
    response: (method) => response(method),
    maybeResponse: (method = 'GET') => readResponse(reader, method),
    head: (method) =>
      new Promise((resolve, reject) => {
        const rest = response(method, (head) => resolve({ head, rest }))
        rest.catch(reject)
      }),
    async sees(text) {
      while (!Buffer.concat(chunks).includes(text)) {
        if (ended) throw new CutShortError(`the connection ended before ${text}`)
        await Promise.race([once(socket, 'data'), closed])
      }
    },
    closed,
    ended: () => ended,
    raw: () => Buffer.concat(chunks),
    destroy: () => void socket.destroy(),
  }
}
