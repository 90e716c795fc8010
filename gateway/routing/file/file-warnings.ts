import { normalizePath } from '../../http/path-normal-form.ts'
import { createRouteTable, type RouteTable } from '../route-table.ts'
import type { Finding } from './file-problems.ts'
import type { RouteConfig, RoutingConfig } from './file-schema.ts'

/*
 * What a good routing file says in vain, or says and can hardly mean. It does no harm to requests, so that the
 * file is taken all the same.
 */

interface Placed {
  readonly host: string | null
  readonly path: string
  readonly exact: boolean
  readonly methods: readonly string[] | null
  readonly index: number
  readonly config: RouteConfig
}

/** @param gatewayPath prefix of the gateway's own endpoints, or null where it is not known */
export function findWarnings(config: RoutingConfig, gatewayPath: string | null): Finding[] {
  const placed = config.routes.map((route, index): Placed => {
    const { host = null, path, exact, methods = null } = route
    return { host, path, exact, methods, index, config: route }
  })
  const table = createRouteTable(placed)
  return [
    ...noRoutes(config),
    ...globs(config),
    ...unusedUpstreams(config),
    ...uselessTls(config),
    ...(gatewayPath === null ? [] : unreachedRoutes(config, gatewayPath)),
    ...placed.flatMap((route) => [...uselessWithoutRefusals(route), ...redirectLoop(route, table)]),
  ]
}

/** True for a route that is never reached: the paths there are the gateway's own. */
export function isBelowGatewayPath(path: string, gatewayPath: string): boolean {
  return path === gatewayPath || path.startsWith(`${gatewayPath}/`)
}

function unreachedRoutes(config: RoutingConfig, gatewayPath: string): Finding[] {
  return config.routes.flatMap(({ path }, i) =>
    isBelowGatewayPath(path, gatewayPath)
      ? [
          {
            path: ['routes', i, 'path'],
            found: `a path below ${gatewayPath}`,
            expected: "another: those are the gateway's own (GATEWAY_PATH), and the route is never reached",
          },
        ]
      : [],
  )
}

function noRoutes({ routes }: RoutingConfig): Finding[] {
  return routes.length > 0
    ? []
    : [{ path: ['routes'], found: 'no route', expected: 'one; every request gets 404' }]
}

/** Other proxies have patterns. */
function globs({ routes }: RoutingConfig): Finding[] {
  return routes.flatMap(({ path }, i) => {
    const segment = path.split('/').find((each) => /^(?:\*\*?$|:)/.test(each))
    if (segment === undefined) return []
    return [
      {
        path: ['routes', i, 'path'],
        found: `"${segment}", which stands for itself`,
        expected: 'a path without patterns; it is a prefix, and takes whatever follows it',
      },
    ]
  })
}

function unusedUpstreams({ upstreams, routes }: RoutingConfig): Finding[] {
  const used = new Set(routes.map(({ upstream }) => upstream))
  return [...upstreams.keys()]
    .filter((name) => !used.has(name))
    .map((name) => ({
      path: ['upstreams', name],
      at: 'key',
      found: 'an upstream that no route names',
      expected: 'a route for it, or no such upstream',
    }))
}

function uselessTls({ upstreams }: RoutingConfig): Finding[] {
  return [...upstreams].flatMap(([name, { tls, targets }]) =>
    tls === undefined || targets.some(({ url }) => /^https:/i.test(url))
      ? []
      : [
          {
            path: ['upstreams', name, 'tls'],
            at: 'key' as const,
            found: '"tls" where no target is an https: one',
            expected: 'https: targets, or no "tls"',
          },
        ],
  )
}

/** Only a route that refuses redirects to a login, and only there an origin is judged. */
function uselessWithoutRefusals({ config, index }: Placed): Finding[] {
  if (config.auth === 'required') return []
  return (['loginRedirect', 'allowedOrigins'] as const).flatMap((key) =>
    config[key] === undefined
      ? []
      : [
          {
            path: ['routes', index, key],
            at: 'key' as const,
            found: `"${key}" where "auth" is "${config.auth}"`,
            expected: `"auth" to be "required", or no "${key}"`,
          },
        ],
  )
}

/** A login page that asks for a login first sends the browser round in circles. */
function redirectLoop({ config, index }: Placed, table: RouteTable<Placed>): Finding[] {
  const { loginRedirect, host, auth } = config
  const local = /^\/[^?#{]*/.exec(loginRedirect ?? '')?.[0]
  if (local === undefined || auth !== 'required') return []
  const normal = normalizePath(local)
  if (normal.kind === 'bad') return []
  const match = table.match({ host: host?.replace('*', 'any') ?? '', path: normal.path, method: 'GET' })
  const place = { path: ['routes', index, 'loginRedirect'], found: `"${local}"` }
  if (match.kind !== 'matched') {
    return [{ ...place, expected: 'the path of a page, but no route takes it (404)' }]
  }
  if (match.route.config.auth !== 'required') return []
  const { label } = match.route.config
  return [
    {
      ...place,
      expected: `the path of a page without a login, but its route ${JSON.stringify(label)} asks for one (a circle)`,
    },
  ]
}
