import type { CookieNames } from '../http/cookies.ts'
import { createFieldClassifier, type IdentityHeaderNames } from '../http/field-classes.ts'
import type { HeaderEdits, RequestHeaderRules } from '../http/headers.ts'
import type { Metrics, RouteMetrics, UpstreamMetrics } from '../telemetry/metrics/metrics.ts'
import type { Upstream } from '../upstreams/upstream.ts'
import type { RouteConfig, RoutingConfig } from './file/file-schema.ts'
import { createRouteTable, type RouteTable } from './route-table.ts'

/** A route with everything that a request on it needs. Prepared once for each reading of the file. */
export interface Route {
  readonly host: string | null
  readonly path: string
  readonly exact: boolean
  readonly methods: readonly string[] | null
  /** Host and path as spelled in the file. */
  readonly label: string
  readonly auth: 'required' | 'optional' | 'none'
  readonly mandates: ReadonlySet<string> | null
  readonly allowedOrigins: ReadonlySet<string> | null
  readonly loginRedirect: string | null
  /** True where a navigation with an expired access token gets a new one by its refresh token. */
  readonly refreshes: boolean
  readonly stripPrefix: boolean
  readonly maxBodyBytes: number
  readonly requestRules: RequestHeaderRules
  readonly responseEdits: HeaderEdits | null
  /** For clients that speak HTTPS, where `Strict-Transport-Security` is set. */
  readonly secureResponseEdits: HeaderEdits | null
  readonly upstream: Upstream
  readonly metrics: RouteMetrics
  readonly upstreamMetrics: UpstreamMetrics
}

/** One good reading of the routing file. An exchange uses the same snapshot from its beginning to its end. */
export interface Snapshot {
  readonly identity: IdentityHeaderNames
  readonly routes: RouteTable<Route>
  /** In the order of the file. */
  readonly list: readonly Route[]
  readonly upstreams: ReadonlyMap<string, Upstream>
}

export interface SnapshotParts {
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly cookies: CookieNames
  readonly metrics: Metrics
  /** `Strict-Transport-Security` for clients that speak HTTPS; null where it is not set. */
  readonly hsts: string | null
}

/** @param config valid, with defaults filled in; `parts` has all upstreams that its routes name */
export function createSnapshot(config: RoutingConfig, parts: SnapshotParts): Snapshot {
  const fields = createFieldClassifier(config.identity)
  const compile = (route: RouteConfig): Route => {
    const upstream = parts.upstreams.get(route.upstream)!
    const responseEdits = compileEdits(route.responseHeaders)
    const hides = !(route.forwardCookies ?? route.auth === 'none')
    return {
      host: route.host ?? null,
      path: route.path,
      exact: route.exact,
      methods: route.methods ?? null,
      label: route.label,
      auth: route.auth,
      mandates: route.mandates === undefined ? null : new Set(route.mandates),
      allowedOrigins: route.allowedOrigins === undefined ? null : new Set(route.allowedOrigins),
      loginRedirect: route.loginRedirect ?? null,
      refreshes: route.refresh === 'auto',
      stripPrefix: route.stripPrefix,
      maxBodyBytes: route.maxBodyBytes ?? Number.POSITIVE_INFINITY,
      requestRules: {
        fields,
        edits: compileEdits(route.requestHeaders),
        hiddenCookies: hides ? parts.cookies : null,
      },
      responseEdits,
      secureResponseEdits: withHsts(responseEdits, parts.hsts),
      upstream,
      metrics: parts.metrics.route(route.label),
      upstreamMetrics: parts.metrics.upstream(upstream.name),
    }
  }
  const list = config.routes.map(compile)
  return {
    identity: config.identity,
    routes: createRouteTable(list),
    list,
    upstreams: parts.upstreams,
  }
}

function compileEdits(edits: RouteConfig['requestHeaders']): HeaderEdits | null {
  if (edits === undefined) return null
  const set = Object.entries(edits.set ?? {})
  return {
    set: set.flat(),
    dropped: new Set(
      [...set.map(([name]) => name), ...(edits.remove ?? [])].map((name) => name.toLowerCase()),
    ),
  }
}

/** Adds `Strict-Transport-Security` in place of an upstream's, unless the route sets the field itself. */
function withHsts(edits: HeaderEdits | null, value: string | null): HeaderEdits | null {
  const name = 'Strict-Transport-Security'
  const set = edits?.set ?? []
  if (value === null || set.some((text, i) => i % 2 === 0 && text.toLowerCase() === name.toLowerCase())) {
    return edits
  }
  return {
    set: [...set, name, value],
    dropped: new Set([...(edits?.dropped ?? []), name.toLowerCase()]),
  }
}
