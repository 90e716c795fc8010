import { createServer } from 'node:http'
import { BODY } from '../../backend.ts'

const headers = { 'content-type': 'text/plain', 'content-length': String(BODY.length) }

createServer({ noDelay: true, keepAliveTimeout: 600_000 }, (_req, res) => {
  res.writeHead(200, headers)
  res.end(BODY)
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
