import { randomInt } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'

/** A backend that speaks by hand, for what node:http would not do. */
export interface RawBackend {
  readonly url: string
  readonly port: number
  /** Request heads seen, over all connections. */
  readonly requests: readonly string[]
  /** Connections accepted so far. */
  readonly connections: number
  readonly open: ReadonlySet<Socket>
  close(): Promise<void>
}

export interface RawRequest {
  readonly head: string
  readonly socket: Socket
  /** Counts from 1 on each connection. */
  readonly nth: number
}

/** @param answer called with each request's head; bodies are read and thrown away */
export async function startRawBackend(
  answer: (request: RawRequest) => void,
  listen: { readonly port?: number; readonly host?: string } = {},
): Promise<RawBackend> {
  const open = new Set<Socket>()
  const requests: string[] = []
  let connections = 0
  const server: Server = createServer((socket) => {
    connections++
    open.add(socket)
    let nth = 0
    let text = ''
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.once('close', () => open.delete(socket))
    socket.on('data', (data) => {
      text += data.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
        const head = text.slice(0, end)
        text = text.slice(end + 4)
        if (!/^[A-Z]+ \S+ HTTP\/1\.1/.test(head)) continue
        requests.push(head)
        nth++
        answer({ head, socket, nth })
      }
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: listen.port ?? 0, host: listen.host ?? '127.0.0.1', backlog: 4096 }, resolve)
  })
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    get connections() {
      return connections
    },
    open,
    close() {
      for (const socket of open) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok'

/** One after the other, so that none is given out twice before it is listened on; the start keeps processes apart. */
let latestPort = randomInt(20_000, 32_000)

/**
 * A port that nobody listens on, until a test does, or does again: below those that systems hand out to connections,
 * of which other tests open thousands meanwhile.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    latestPort = latestPort < 31_999 ? latestPort + 1 : 20_000
    const port = latestPort
    if (await isFree(port)) return port
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen({ port, host: '127.0.0.1' }, () => server.close(() => resolve(true)))
  })
}
