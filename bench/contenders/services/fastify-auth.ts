import proxy from '@fastify/http-proxy'
import fastify, { type Reply, type Request } from 'fastify'
import { createSessionCheck } from './session.ts'

const check = createSessionCheck()
const app = fastify({ logger: false })
app.register(proxy, {
  upstream: `http://127.0.0.1:${process.env.BACKEND_PORT}`,
  http2: false,
  async preHandler(request: Request, reply: Reply) {
    const session = await check(request.raw)
    if (session === null) {
      reply.code(401).send('')
      return
    }
    request.raw.headers['x-user-id'] = session.userId
    request.raw.headers['x-session-id'] = session.sessionId
  },
})
await app.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
