import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { acceptOf } from '../../gateway/upstreams/transport/websocket-handshake.ts'

/** A request as the target saw it. */
export interface TargetRequest {
  readonly method: string
  readonly target: string
  /** Name, value pairs in order; names in lower case. */
  readonly fields: readonly (readonly [string, string])[]
}

export interface StrictTarget {
  readonly url: string
  /** What was seen since the last call. @throws where something came that is no request */
  take(): readonly TargetRequest[]
  close(): Promise<void>
}

/** What a connection ends with that breaks off amid a request; anything else is not HTTP. */
const BROKEN_OFF = new Set(['ECONNRESET', 'EPIPE', 'HPE_INVALID_EOF_STATE'])

const RAW_QUERY = /^[A-Z]+ [^ ?]*\?[\x21-\x7e]*[\x80-\xff]/

/** Node's own server as a target, which records all that it takes for a request, whatever becomes of it. */
export async function startStrictTarget(): Promise<StrictTarget> {
  let seen: TargetRequest[] = []
  let fault: string | null = null

  function see({ method, url, rawHeaders }: IncomingMessage): void {
    const fields: [string, string][] = []
    for (let i = 0; i < rawHeaders.length; i += 2)
      fields.push([rawHeaders[i]!.toLowerCase(), rawHeaders[i + 1]!])
    seen.push({ method: method!, target: url!, fields })
  }

  function answer(request: IncomingMessage, response: ServerResponse): void {
    see(request)
    request.on('error', () => {})
    request.resume()
    // Behind the body, so that a broken one is not answered.
    request.on('end', () => response.end('ok'))
  }

  function switchOver(request: IncomingMessage, socket: Duplex): void {
    see(request)
    const accept = acceptOf(request.headers['sec-websocket-key'] ?? '')
    socket.on('error', () => {})
    socket.resume()
    socket.end(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
  }

  const server = createServer({ insecureHTTPParser: false, requireHostHeader: true, maxHeaderSize: 65_536 })
  server.maxHeadersCount = 0
  for (const event of ['request', 'checkContinue', 'checkExpectation']) server.on(event, answer)
  server.on('upgrade', switchOver)
  server.on('connect', (request, socket) => {
    fault = `CONNECT ${request.url}`
    socket.destroy()
  })
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket) => {
    const bytes = error.rawPacket?.toString('latin1') ?? ''
    // Queries pass as they came, and Node takes none with bytes above ASCII.
    const isRawQuery = error.code === 'HPE_INVALID_URL' && RAW_QUERY.test(bytes)
    if (!isRawQuery && !BROKEN_OFF.has(error.code ?? '')) fault = `${error.code}: ${bytes}`
    socket.destroy()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      if (fault !== null) throw new Error(`the target got what is no request: ${fault}`)
      const taken = seen
      seen = []
      return taken
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}
