import { type Contender, groupProcesses, startService } from './contender.ts'

interface Kind {
  readonly authenticates: boolean
  readonly tuned: boolean
}

/** @param service its file's name */
function createProxyContender(service: string, title: string, { authenticates, tuned }: Kind): Contender {
  return {
    name: tuned ? `${service}-tuned` : service,
    title: tuned ? `${title}, tuned` : title,
    authenticates,
    needs: null,
    async start(stage) {
      const running = await startService(service, stage, tuned)
      return groupProcesses(running.port, [running])
    },
  }
}

const WITHOUT_AUTH = { authenticates: false, tuned: false }
const WITH_AUTH = { authenticates: true, tuned: false }

const HTTP_PROXY_3_AUTH = ['http-proxy-3-auth', 'http-proxy-3 + jose + postgres'] as const
const FASTIFY_AUTH = ['fastify-auth', '@fastify/http-proxy + jose + postgres'] as const

export const httpProxy3 = createProxyContender('http-proxy-3', 'http-proxy-3 alone', WITHOUT_AUTH)
export const httpProxy3Tuned = createProxyContender('http-proxy-3', 'http-proxy-3 alone', {
  ...WITHOUT_AUTH,
  tuned: true,
})
export const httpProxy3Auth = createProxyContender(...HTTP_PROXY_3_AUTH, WITH_AUTH)
export const httpProxy3AuthTuned = createProxyContender(...HTTP_PROXY_3_AUTH, { ...WITH_AUTH, tuned: true })
export const fastifyAuth = createProxyContender(...FASTIFY_AUTH, WITH_AUTH)
export const fastifyAuthTuned = createProxyContender(...FASTIFY_AUTH, { ...WITH_AUTH, tuned: true })

export const floor: Contender = {
  ...createProxyContender('floor', 'the floor (node:http, raw socket)', { ...WITHOUT_AUTH, tuned: true }),
  name: 'floor',
  title: 'the floor (node:http, raw socket)',
}
