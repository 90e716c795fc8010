import { Agent, createServer } from 'node:http'
import { createProxyServer } from 'http-proxy-3'

const proxy = createProxyServer({
  target: `http://127.0.0.1:${process.env.BACKEND_PORT}`,
  // Without an agent, which its documentation leaves out, it opens a connection for each request.
  ...(process.env.TUNED === 'yes' ? { agent: new Agent({ keepAlive: true }) } : {}),
})
proxy.on('error', (_error, _req, res) => void res.destroy())

createServer((req, res) => proxy.web(req, res)).listen({
  port: Number(process.argv[2]),
  host: '127.0.0.1',
  backlog: 4096,
})
