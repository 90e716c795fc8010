import type { OwnPaths } from '../../http/own-paths.ts'
import { normalizePath } from '../../http/path-normal-form.ts'
import { createRouteTable, type RouteTable } from '../route-table.ts'
import type { Finding } from './file-problems.ts'
import type { RouteConfig, RoutingConfig } from './file-schema.ts'
import { findMethodGaps, type IndexedRoute } from './method-gaps.ts'

/*
 * Warnings: settings in a valid routing file that have no effect or are probably a mistake. The file is used all the
 * same, since they do no harm to requests.
 */

/** @param ownPaths null where they are not known */
export function findWarnings(config: RoutingConfig, ownPaths: OwnPaths | null): Finding[] {
  const routes = config.routes.map((route): IndexedRoute => {
    const { host = null, path, exact, methods = null, index } = route
    return { host, path, exact, methods, index, config: route }
  })
  const table = createRouteTable(routes)
  const found = [
    ...findNoRoutes(config),
    ...findPatterns(config),
    ...findUnusedUpstreams(config),
    ...findUselessTls(config),
    ...(ownPaths === null ? [] : findUnreachedRoutes(config, ownPaths)),
    ...routes.flatMap((route) => [
      ...findUselessKeys(route),
      ...findRedirectLoop(route, table),
      ...findLostPreflights(route, table),
      ...findMethodGaps(route, table),
    ]),
  ]
  return withoutRepeated(found)
}

/** What is odd about a route for several hosts is said once. */
function withoutRepeated(findings: readonly Finding[]): Finding[] {
  return [...new Map(findings.map((finding) => [JSON.stringify(finding), finding])).values()]
}

function findUnreachedRoutes({ routes }: RoutingConfig, ownPaths: OwnPaths): Finding[] {
  return routes.flatMap(({ path, index }) =>
    ownPaths.has(path)
      ? [
          {
            path: ['routes', index, 'path'],
            found: `"${path}"`,
            expected:
              'another path: the gateway answers this one itself (GATEWAY_PATH), so the route is never reached',
          },
        ]
      : [],
  )
}

function findNoRoutes({ routes }: RoutingConfig): Finding[] {
  return routes.length > 0
    ? []
    : [{ path: ['routes'], found: 'no route', expected: 'at least one; without it every request gets 404' }]
}

/** Patterns of other proxies, such as `/*` and `/:id`. */
function findPatterns({ routes }: RoutingConfig): Finding[] {
  return routes.flatMap(({ path, index }) => {
    const segment = path.split('/').find((each) => /^(?:\*\*?$|:)/.test(each))
    if (segment === undefined) return []
    return [
      {
        path: ['routes', index, 'path'],
        found: `"${segment}", which is not a pattern here but matched literally`,
        expected: 'a path without patterns; a path is a prefix and matches whatever follows it',
      },
    ]
  })
}

function findUnusedUpstreams({ upstreams, routes }: RoutingConfig): Finding[] {
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

function findUselessTls({ upstreams }: RoutingConfig): Finding[] {
  return [...upstreams].flatMap(([name, { tls, targets }]) =>
    tls === undefined || targets.some(({ url }) => /^https:/i.test(url))
      ? []
      : [
          {
            path: ['upstreams', name, 'tls'],
            at: 'key' as const,
            found: '"tls" without an https: target',
            expected: 'https: targets, or no "tls"',
          },
        ],
  )
}

/** Only routes with required authentication redirect to a login page and check the origin. */
function findUselessKeys({ config, index }: IndexedRoute): Finding[] {
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

/**
 * Before each such request of another origin's page a browser asks by OPTIONS whether it may send it (Fetch, section
 * 4.8). Where that has no route, or one that asks for a token, it never does.
 */
function findLostPreflights(
  { config, index, host, path, methods }: IndexedRoute,
  table: RouteTable<IndexedRoute>,
): Finding[] {
  const { allowedOrigins, auth } = config
  if (allowedOrigins === undefined || auth !== 'required') return []
  if (methods === null || methods.every((each) => UNASKED.has(each))) return []
  const match = table.match({ host: host?.replace('*', 'any') ?? '', path, method: 'OPTIONS' })
  if (match.kind === 'matched' && passesPreflights(match.route.config, allowedOrigins)) return []
  return [
    {
      path: ['routes', index, 'methods'],
      found: '"allowedOrigins", but no route that lets their preflights pass',
      expected: '"OPTIONS" among these methods, or in a route for the same path with these "allowedOrigins"',
    },
  ]
}

/** Methods that need no preflight, or are one. */
const UNASKED: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'OPTIONS'])

function passesPreflights({ auth, allowedOrigins }: RouteConfig, origins: readonly string[]): boolean {
  return auth !== 'required' || origins.every((origin) => allowedOrigins?.includes(origin))
}

/** A login page that requires a login itself makes the browser follow redirects without end. */
function findRedirectLoop({ config, index }: IndexedRoute, table: RouteTable<IndexedRoute>): Finding[] {
  const { loginRedirect, host, auth } = config
  const local = /^\/[^?#{]*/.exec(loginRedirect ?? '')?.[0]
  if (local === undefined || auth !== 'required') return []
  const normal = normalizePath(local)
  if (normal.kind === 'bad') return []
  const match = table.match({ host: host?.replace('*', 'any') ?? '', path: normal.path, method: 'GET' })
  const place = { path: ['routes', index, 'loginRedirect'], found: `"${local}"` }
  if (match.kind !== 'matched') {
    return [{ ...place, expected: 'the path of a page, but no route matches it (404)' }]
  }
  if (match.route.config.auth !== 'required') return []
  const { label } = match.route.config
  return [
    {
      ...place,
      expected: `the path of a page without a login, but its route ${JSON.stringify(label)} requires one (a redirect loop)`,
    },
  ]
}
