import { type Contender, startService, together } from './contender.ts'

interface Kind {
  readonly authenticates: boolean
  readonly tuned: boolean
}

/** @param service its file's name */
function proxy(service: string, title: string, { authenticates, tuned }: Kind): Contender {
  return {
    name: tuned ? `${service}-tuned` : service,
    title: tuned ? `${title}, tuned` : title,
    authenticates,
    needsNginx: false,
    async start(stage) {
      const running = await startService(service, stage, tuned)
      return together(running.port, [running])
    },
  }
}

const open = { authenticates: false, tuned: false }
const guarded = { authenticates: true, tuned: false }

const HTTP_PROXY_3_AUTH = ['http-proxy-3-auth', 'http-proxy-3 + jose + postgres'] as const
const FASTIFY_AUTH = ['fastify-auth', '@fastify/http-proxy + jose + postgres'] as const

export const httpProxy3 = proxy('http-proxy-3', 'http-proxy-3 alone', open)
export const httpProxy3Tuned = proxy('http-proxy-3', 'http-proxy-3 alone', { ...open, tuned: true })
export const httpProxy3Auth = proxy(...HTTP_PROXY_3_AUTH, guarded)
export const httpProxy3AuthTuned = proxy(...HTTP_PROXY_3_AUTH, { ...guarded, tuned: true })
export const fastifyAuth = proxy(...FASTIFY_AUTH, guarded)
export const fastifyAuthTuned = proxy(...FASTIFY_AUTH, { ...guarded, tuned: true })

export const floor: Contender = {
  ...proxy('floor', 'the floor (node:http, raw socket)', { ...open, tuned: true }),
  name: 'floor',
  title: 'the floor (node:http, raw socket)',
}
