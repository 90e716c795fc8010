import { connect as connectHttp2, type OutgoingHttpHeaders } from 'node:http2'
import { request as requestHttp1 } from 'node:https'
import type { Test } from 'tap'

export const PROTOCOLS = ['HTTP/1.1', 'HTTP/2'] as const
export type Protocol = (typeof PROTOCOLS)[number]

export interface Ask {
  readonly method?: string
  readonly path: string
  readonly host?: string
  /** Names are sent in lower case by HTTP/2. */
  readonly fields?: readonly (readonly [string, string])[]
}

/** A request over TLS and what comes back, the same for both protocols. */
export interface Asked {
  write(chunk: Buffer | string): void
  end(chunk?: Buffer | string): void
  /** Statuses of interim answers so far. */
  readonly interim: readonly number[]
  /** The answer's head. Rejects where none comes. */
  readonly head: Promise<AnswerHead>
  /** The answer, whole or not. Rejects where not even a head comes. */
  readonly answer: Promise<EitherAnswer>
  /** Resolves once the answer's body so far contains the text. */
  sees(text: string): Promise<void>
  /** Leaves: closes the connection of HTTP/1.1, resets the stream of HTTP/2. */
  leave(): void
}

export interface AnswerHead {
  readonly status: number
  /** Values of a field, by its name in lower case, in order. */
  all(name: string): readonly string[]
}

export interface EitherAnswer extends AnswerHead {
  readonly body: Buffer
  /** False where it was broken off. */
  readonly complete: boolean
  readonly trailers: Readonly<Record<string, unknown>>
}

/** Asks by this protocol; connections end with the test. The certificate is not checked. */
export function ask(t: Test, port: number, protocol: Protocol, request: Ask): Asked {
  return (protocol === 'HTTP/2' ? askOverHttp2 : askOverHttp1)(t, port, {
    method: 'GET',
    host: 'app.example.com',
    fields: [],
    ...request,
  })
}

function askOverHttp1(t: Test, port: number, { method, path, host, fields }: Required<Ask>): Asked {
  const progress = createProgress()
  const req = requestHttp1({
    port,
    host: '127.0.0.1',
    method,
    path,
    agent: false,
    rejectUnauthorized: false,
    setHost: false,
    headers: ['Host', host, ...fields.flat()] as never,
  })
  t.teardown(() => req.destroy())
  req.on('error', progress.broken)
  req.on('information', ({ statusCode }) => progress.interim.push(statusCode))
  req.on('continue', () => progress.interim.push(100))
  req.on('response', (res) => {
    progress.begin(res.statusCode!, res.rawHeaders)
    res.on('data', progress.data)
    res.on('error', () => {})
    res.on('close', () => progress.end(res.complete, res.trailers))
  })
  // Without this a head with Expect would wait for its body.
  req.flushHeaders()
  return {
    ...progress.asked,
    write: (chunk) => void req.write(chunk),
    end: (chunk) => void req.end(chunk),
    leave: () => void req.destroy(),
  }
}

function askOverHttp2(t: Test, port: number, { method, path, host, fields }: Required<Ask>): Asked {
  const progress = createProgress()
  const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
  session.on('error', progress.broken)
  t.teardown(() => session.destroy())
  const grouped: OutgoingHttpHeaders = {}
  for (const [name, value] of fields) {
    const lower = name.toLowerCase()
    // What announces a body in HTTP/1.1 is a matter of frames here.
    if (lower === 'transfer-encoding') continue
    grouped[lower] = [...((grouped[lower] as string[] | undefined) ?? []), value]
  }
  const stream = session.request(
    { ':method': method, ':path': path, ':authority': host, ...grouped },
    { endStream: false },
  )
  let trailers: Readonly<Record<string, unknown>> = {}
  stream.on('error', progress.broken)
  stream.on('headers', (head) => progress.interim.push(Number(head[':status'])))
  stream.on('response', (head, _flags, raw) =>
    progress.begin(Number(head[':status']), raw as unknown as string[]),
  )
  stream.on('trailers', (given) => {
    trailers = given
  })
  stream.on('data', progress.data)
  stream.on('close', () => progress.end(stream.rstCode === 0 && !stream.aborted, trailers))
  return {
    ...progress.asked,
    write: (chunk) => void stream.write(chunk),
    end: (chunk) => void stream.end(chunk),
    leave: () => stream.close(8),
  }
}

/** What has come so far. */
function createProgress() {
  const head = Promise.withResolvers<AnswerHead>()
  const answer = Promise.withResolvers<EitherAnswer>()
  const interim: number[] = []
  const chunks: Buffer[] = []
  const watching = new Set<() => void>()
  let begun: AnswerHead | null = null
  head.promise.catch(() => {})
  answer.promise.catch(() => {})
  const broken = (error: Error) => {
    head.reject(error)
    if (begun === null) answer.reject(error)
  }
  return {
    interim,
    broken,
    begin(status: number, raw: readonly string[]) {
      const all = (name: string) => raw.filter((_, i) => i % 2 === 1 && raw[i - 1]!.toLowerCase() === name)
      begun = { status, all }
      head.resolve(begun)
    },
    data(chunk: Buffer) {
      chunks.push(chunk)
      for (const look of watching) look()
    },
    end(complete: boolean, trailers: Readonly<Record<string, unknown>>) {
      if (begun === null) broken(new Error('the exchange ended without an answer'))
      else answer.resolve({ ...begun, body: Buffer.concat(chunks), complete, trailers })
    },
    asked: {
      interim,
      head: head.promise,
      answer: answer.promise,
      sees: (text: string) =>
        new Promise<void>((resolve) => {
          const look = () => {
            if (!Buffer.concat(chunks).includes(text)) return
            watching.delete(look)
            resolve()
          }
          watching.add(look)
          look()
        }),
    },
  }
}
