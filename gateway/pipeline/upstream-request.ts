import { stripRoutePrefix } from '../http/request-target.ts'
import type { Route } from '../routing/snapshot.ts'
import type { RequestTarget } from './admission.ts'

/** Path and query as targets get them. */
export function upstreamPath(route: Route, target: RequestTarget): string {
  return route.stripPrefix ? stripRoutePrefix(target.raw, route.path) : target.raw
}

/** `Host` as a target gets it. @param own the host and port of the target's URL */
export function upstreamHost(route: Route, target: RequestTarget, own: string): string {
  const { host } = route.upstream.config
  return host === 'preserve' ? target.host : host === 'target' ? own : host
}
