import { Agent, createServer } from 'node:http'
import { createProxyServer } from 'http-proxy-3'
import { createSessionCheck } from './session.ts'

const proxy = createProxyServer({
  target: `http://127.0.0.1:${process.env.BACKEND_PORT}`,
  // Without an agent, which its documentation leaves out, it opens a connection for each request.
  ...(process.env.TUNED === 'yes' ? { agent: new Agent({ keepAlive: true }) } : {}),
})
proxy.on('error', (_error, _req, res) => void res.destroy())
const check = createSessionCheck()

createServer(async (req, res) => {
  const session = await check(req)
  if (session === null) {
    res.writeHead(401).end()
    return
  }
  req.headers['x-user-id'] = session.userId
  req.headers['x-session-id'] = session.sessionId
  proxy.web(req, res)
}).listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 })
