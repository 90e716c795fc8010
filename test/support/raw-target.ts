import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { Test } from 'tap'
import type { TlsOptions } from '../../gateway/upstreams/transport/target-address.ts'
import type { Authority } from './certificates.ts'

export interface RawTarget {
  readonly options: { readonly url: string; readonly tls: TlsOptions | null }
  /** Connections accepted so far. */
  readonly sockets: readonly Socket[]
}

/** How the gateway speaks to it: plain, or over TLS with a certificate of this authority. */
export type TargetKind = { readonly name: string; readonly authority: Authority | null }

/** A target that speaks by hand; it ends with the test. @param onConnection gets each connection */
export async function startTarget(
  t: Test,
  { authority }: TargetKind,
  onConnection: (socket: Socket, nth: number) => void,
): Promise<RawTarget> {
  const sockets: Socket[] = []
  const accept = (socket: Socket) => {
    sockets.push(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    onConnection(socket, sockets.length)
  }
  const own = authority?.issue('localhost', ['IP:127.0.0.1'])
  const secureContext = own === undefined ? undefined : createSecureContext({ cert: own.cert, key: own.key })
  const server = createServer((connection) => {
    if (secureContext === undefined) return accept(connection)
    connection.on('error', () => {})
    const socket = new TLSSocket(connection, { isServer: true, secureContext })
    // One of TLS has none of its own.
    socket.resetAndDestroy = () => connection.resetAndDestroy() as never
    connection.once('close', () => socket.destroy())
    accept(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as { port: number }
  return {
    options:
      authority === null
        ? { url: `http://127.0.0.1:${port}`, tls: null }
        : { url: `https://127.0.0.1:${port}`, tls: { caFile: authority.certFile } },
    sockets,
  }
}

/** Calls `answer` for each head that arrives, with what came behind it so far. Bodies are not read. */
export function onHeads(socket: Socket, answer: (head: string, nth: number) => void): void {
  let text = ''
  let nth = 0
  socket.on('data', (data) => {
    text += data.toString('latin1')
    for (let end = text.indexOf('\r\n\r\n'); end !== -1; end = text.indexOf('\r\n\r\n')) {
      const head = text.slice(0, end)
      text = text.slice(end + 4)
      nth++
      answer(head, nth)
    }
  })
}

export function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
