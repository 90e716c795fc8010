import type { Machine } from '../machine.ts'
import type { Contender } from './contender.ts'
import { gateway, gatewayOfTwo, gatewayWithLog, gatewayWithoutAuth } from './gateway.ts'
import { goReverseProxy, goReverseProxyAuth, goReverseProxyAuthTuned } from './go-proxies.ts'
import {
  nginxAlone,
  nginxAuthRequest,
  nginxAuthRequestBatched,
  nginxAuthRequestBatchedTuned,
  nginxAuthRequestNotKept,
} from './nginx-proxies.ts'
import {
  fastifyAuth,
  fastifyAuthTuned,
  floor,
  httpProxy3,
  httpProxy3Auth,
  httpProxy3AuthTuned,
  httpProxy3Tuned,
} from './node-proxies.ts'

export const ALL: readonly Contender[] = [
  gateway,
  gatewayWithoutAuth,
  gatewayWithLog,
  gatewayOfTwo,
  httpProxy3,
  httpProxy3Tuned,
  httpProxy3Auth,
  httpProxy3AuthTuned,
  fastifyAuth,
  fastifyAuthTuned,
  nginxAlone,
  nginxAuthRequest,
  nginxAuthRequestNotKept,
  nginxAuthRequestBatched,
  nginxAuthRequestBatchedTuned,
  goReverseProxy,
  goReverseProxyAuth,
  goReverseProxyAuthTuned,
  floor,
]

/** What this machine can start of those that were asked for. @throws Error for an unknown name */
export function chooseContenders(only: readonly string[] | null, machine: Machine): readonly Contender[] {
  const unknown = only?.find((name) => !ALL.some((each) => each.name === name))
  if (unknown !== undefined) {
    throw new Error(`--only: ${unknown}; expected of ${ALL.map(({ name }) => name).join(', ')}`)
  }
  return ALL.filter(
    ({ name, needs }) => (needs === null || machine[needs] !== null) && (only?.includes(name) ?? true),
  )
}
