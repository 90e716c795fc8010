import { METHODS } from 'node:http'
import type { RouteTable } from '../route-table.ts'
import type { Finding } from './file-problems.ts'
import type { RouteConfig } from './file-schema.ts'

export interface IndexedRoute {
  readonly host: string | null
  readonly path: string
  readonly exact: boolean
  readonly methods: readonly string[] | null
  readonly index: number
  readonly config: RouteConfig
}

/** The usual methods first, since the warning names one that is left out. */
const ORDER = [
  'GET',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'HEAD',
  'OPTIONS',
  ...METHODS.filter((method) => method !== 'CONNECT' && method !== 'TRACE'),
]

const STRICTNESS = { none: 0, optional: 1, required: 2 } as const

/**
 * A route whose methods leave some out does not refuse these: a route below it may match them, and admit those whom
 * this one keeps out. A route for the same path that names such a method itself is meant so.
 */
export function findMethodGaps(route: IndexedRoute, table: RouteTable<IndexedRoute>): Finding[] {
  const { methods, index } = route
  if (methods === null) return []
  for (const method of ORDER) {
    if (methods.includes(method)) continue
    const match = table.match({ ...exampleOf(route), method })
    if (match.kind !== 'matched' || isForSamePath(route, match.route)) continue
    const looseness = loosenessOf(route.config, match.route.config)
    if (looseness === null) continue
    const other = JSON.stringify(match.route.config.label)
    return [
      {
        path: ['routes', index, 'methods'],
        found: `a rule for ${methods.join(', ')} alone: ${method} goes by the route ${other}, ${looseness}`,
        expected: 'no "methods", or a route for the same path that names the other methods',
      },
    ]
  }
  return []
}

/** A request that this route alone matches, but for more specific ones. No path in the file has a space. */
function exampleOf({ host, path, exact }: IndexedRoute): { readonly host: string; readonly path: string } {
  return {
    host: host?.replace('*', 'any') ?? '',
    path: exact ? path : `${path === '/' ? '' : path}/ `,
  }
}

function isForSamePath(route: IndexedRoute, other: IndexedRoute): boolean {
  return (
    other.methods !== null &&
    other.host === route.host &&
    other.path === route.path &&
    other.exact === route.exact
  )
}

/** Whom the other route admits and this one does not; null where there is nobody. */
function loosenessOf(config: RouteConfig, other: RouteConfig): string | null {
  if (STRICTNESS[other.auth] < STRICTNESS[config.auth])
    return other.auth === 'none' ? 'which needs no token' : 'where a token is optional'
  if (config.mandates === undefined) return null
  if (other.mandates === undefined) return 'which admits every mandate'
  const more = other.mandates.filter((mandate) => !config.mandates!.includes(mandate))
  return more.length === 0 ? null : 'which admits other mandates too'
}
