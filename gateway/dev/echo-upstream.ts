import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

export interface EchoUpstream {
  readonly url: string
  close(): Promise<void>
}

/**
 * A backend for the first try: answers every request with what it got, as JSON. `/events` streams, and a
 * WebSocket gets its text back.
 *
 * @throws the listener's error, such as EADDRINUSE
 */
export async function startEchoUpstream(at: {
  readonly host: string
  readonly port: number
}): Promise<EchoUpstream> {
  const server = createServer((req, res) => {
    if (req.url?.split('?')[0] === '/events') streamTicks(res)
    else echo(req, res)
  })
  // A server does not count what was upgraded among its connections.
  const upgraded = new Set<Duplex>()
  server.on('upgrade', (req, socket, head) => {
    upgraded.add(socket)
    socket.once('close', () => upgraded.delete(socket))
    echoFrames(req, socket, head)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(at.port, at.host, resolve)
  })
  const { address, port } = server.address() as AddressInfo
  return {
    url: `http://${address}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
        for (const socket of upgraded) socket.destroy()
      }),
  }
}

function echo(req: IncomingMessage, res: ServerResponse): void {
  let bytes = 0
  req.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  req.on('end', () => {
    const seen = { method: req.method, path: req.url, headers: req.headers, bodyBytes: bytes }
    res.writeHead(200, { 'Content-Type': 'application/json' })
    res.end(`${JSON.stringify(seen, null, 2)}\n`)
  })
}

function streamTicks(res: ServerResponse): void {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
  res.write(`data: ${new Date().toISOString()}\n\n`)
  const timer = setInterval(() => res.write(`data: ${new Date().toISOString()}\n\n`), 1000)
  res.on('close', () => clearInterval(timer))
}

/** RFC 6455, as far as an echo of small frames needs it. */
function echoFrames(req: IncomingMessage, socket: Duplex, head: Buffer): void {
  const accept = createHash('sha1')
    .update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64')
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  let rest = head
  socket.on('error', () => socket.destroy())
  socket.on('end', () => socket.end())
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    for (let frame = readFrame(rest); frame !== null; frame = readFrame(rest)) {
      rest = rest.subarray(frame.size)
      if (frame.opcode === 8) {
        socket.end(Buffer.concat([Buffer.from([0x88, frame.payload.length]), frame.payload]))
        return
      }
      const opcode = frame.opcode === 9 ? 10 : frame.opcode
      socket.write(Buffer.concat([Buffer.from([0x80 | opcode, frame.payload.length]), frame.payload]))
    }
  })
}

/** One masked frame of at most 125 bytes; longer ones are more than an echo for a first try needs. */
function readFrame(bytes: Buffer): { opcode: number; payload: Buffer; size: number } | null {
  if (bytes.length < 6) return null
  const length = bytes[1]! & 0x7f
  if (length > 125 || bytes.length < 6 + length) return null
  const payload = Buffer.from(bytes.subarray(6, 6 + length))
  for (let i = 0; i < length; i++) payload[i]! ^= bytes[2 + (i % 4)]!
  return { opcode: bytes[0]! & 0x0f, payload, size: 6 + length }
}
