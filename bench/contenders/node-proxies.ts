import { type Contender, startService, together } from './contender.ts'

function service(name: string, title: string, authenticates: boolean): Contender {
  return {
    name,
    title,
    authenticates,
    needsNginx: false,
    async start(stage) {
      const running = await startService(name, stage)
      return together(running.port, [running])
    },
  }
}

export const httpProxy3 = service('http-proxy-3', 'http-proxy-3 alone', false)
export const httpProxy3Auth = service('http-proxy-3-auth', 'http-proxy-3 + jose + postgres', true)
export const fastifyAuth = service('fastify-auth', '@fastify/http-proxy + jose + postgres', true)
export const floor = service('floor', 'the floor (node:http, raw socket)', false)
