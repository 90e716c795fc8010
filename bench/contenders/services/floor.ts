import { createServer, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'

/**
 * The least that a proxy on Node's HTTP server can do: a kept-alive socket per exchange, an answer taken to come
 * whole in one piece, nothing checked, nothing handed on but the target. Not fit for use.
 */
interface Line {
  readonly socket: Socket
  res: ServerResponse | null
}

const idle: Line[] = []

function open(): Line {
  const socket = connect({ port: Number(process.env.BACKEND_PORT), host: '127.0.0.1', noDelay: true })
  const line: Line = { socket, res: null }
  socket.on('data', (answer: Buffer) => {
    const bodyAt = answer.indexOf('\r\n\r\n') + 4
    line.res?.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': answer.length - bodyAt })
    line.res?.end(answer.subarray(bodyAt))
    idle.push(line)
  })
  return line
}

createServer({ noDelay: true, keepAliveTimeout: 600_000 }, (req, res) => {
  const line = idle.pop() ?? open()
  line.res = res
  line.socket.write(`GET ${req.url} HTTP/1.1\r\nHost: backend\r\n\r\n`)
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
