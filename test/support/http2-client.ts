import type { SecureClientSessionOptions } from 'node:http2'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionOptions,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2'
import type { Test } from 'tap'

export interface Http2Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly raw: readonly string[]
  readonly body: string
  readonly trailers: Readonly<Record<string, string | string[] | undefined>>
}

/** A connection of HTTP/2 to a gateway whose certificate is not checked; it ends with the test. */
export function http2Client(
  t: Test,
  port: number,
  options: ClientSessionOptions | SecureClientSessionOptions = {},
): ClientHttp2Session {
  const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false, ...options })
  session.on('error', () => {})
  t.teardown(() => session.destroy())
  return session
}

/** Sends a request with its whole body. Rejects where the stream is reset, with the code in `rstCode`. */
export function askHttp2(
  session: ClientHttp2Session,
  fields: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<Http2Answer> {
  const stream = session.request(
    { ':authority': 'app.example.com', ...fields },
    { endStream: body === undefined },
  )
  if (body !== undefined) stream.end(body)
  return answerOf(stream)
}

export function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  return new Promise((resolve, reject) => {
    let body = ''
    let trailers = {}
    let head: { headers: Record<string, string | string[] | undefined>; raw: readonly string[] } | null = null
    stream.on('response', (headers, _flags, raw) => {
      head = { headers: headers as never, raw: raw as unknown as string[] }
    })
    stream.on('trailers', (fields) => {
      trailers = fields
    })
    stream.setEncoding('latin1')
    stream.on('data', (chunk) => {
      body += chunk
    })
    stream.on('error', () => {})
    stream.on('close', () => {
      if (stream.rstCode !== 0 || head === null) {
        reject(Object.assign(new Error(`reset with ${stream.rstCode}`), { rstCode: stream.rstCode, body }))
        return
      }
      const { headers, raw } = head
      resolve({ status: Number(headers[':status']), headers, raw, body, trailers })
    })
  })
}
