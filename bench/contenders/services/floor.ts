import { createServer, type ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'

/**
 * The least that a proxy on Node's HTTP server can do: a kept-alive socket per exchange. It assumes that an answer
 * arrives in one piece, checks nothing, and forwards only the target. It is not fit for use.
 */
interface BackendConnection {
  readonly socket: Socket
  res: ServerResponse | null
}

const idle: BackendConnection[] = []

function openConnection(): BackendConnection {
  const socket = connect({ port: Number(process.env.BACKEND_PORT), host: '127.0.0.1', noDelay: true })
  const connection: BackendConnection = { socket, res: null }
  socket.on('data', (answer: Buffer) => {
    const bodyAt = answer.indexOf('\r\n\r\n') + 4
    connection.res?.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': answer.length - bodyAt })
    connection.res?.end(answer.subarray(bodyAt))
    idle.push(connection)
  })
  return connection
}

createServer({ noDelay: true, keepAliveTimeout: 600_000 }, (req, res) => {
  const connection = idle.pop() ?? openConnection()
  connection.res = res
  connection.socket.write(`GET ${req.url} HTTP/1.1\r\nHost: backend\r\n\r\n`)
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
