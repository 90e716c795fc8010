import { Agent, type ClientRequest, type IncomingHttpHeaders, request } from 'node:http'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly trailers: NodeJS.Dict<string>
  readonly body: string
}

export interface Ask {
  readonly url: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
  readonly agent?: Agent
  /** Given the request as it is made, to break it off. */
  readonly onRequest?: (request: ClientRequest) => void
}

/** One request; rejects where no whole answer came. */
export function ask({ url, method = 'GET', headers = {}, body, agent, onRequest }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(
      url,
      {
        method,
        headers:
          body === undefined || 'Transfer-Encoding' in headers
            ? headers
            : { 'Content-Length': String(Buffer.byteLength(body)), ...headers },
        ...(agent === undefined ? { agent: false } : { agent }),
      },
      (res) => {
        const parts: Buffer[] = []
        res.on('data', (part: Buffer) => parts.push(part))
        res.once('error', reject)
        res.once('end', () =>
          resolve({
            status: res.statusCode ?? 0,
            headers: res.headers,
            trailers: res.trailers,
            body: Buffer.concat(parts).toString(),
          }),
        )
      },
    )
    req.once('error', reject)
    onRequest?.(req)
    req.end(body)
  })
}

/** Runs `task` for 0 to `count` - 1, at most `width` at a time. */
export async function many(count: number, width: number, task: (n: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < count) await task(next++)
  }
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane))
}

export function keepAliveAgent(maxSockets: number): Agent {
  return new Agent({ keepAlive: true, maxSockets })
}
