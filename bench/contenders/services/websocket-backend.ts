import { createHash } from 'node:crypto'
import { createServer } from 'node:http'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Accepts every handshake (RFC 6455, section 4.2.2) and then sends nothing. A stream of events gets one comment and then nothing. */
createServer((req, res) => {
  if (req.url !== '/events') res.end()
  else res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(':\n\n')
})
  .on('upgrade', (req, socket) => {
    const accept = createHash('sha1').update(`${req.headers['sec-websocket-key']}${GUID}`).digest('base64')
    socket.on('error', () => {})
    socket.resume()
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
  })
  .listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
