import { createRouteTable } from '../routing/route-table.ts'
import type { Route, Snapshot } from '../routing/snapshot.ts'

/** Where a request goes, as the table sees it. */
export interface Wanted {
  readonly host: string
  readonly path: string
  readonly method: string
}

/** A longer list would not help somebody who looks for a reason. */
const MAX_OTHERS = 8

export function describeRoute(route: Route): string {
  const mandates = route.mandates === null ? '' : `, mandates ${[...route.mandates].join(' ')}`
  return `${nameOf(route)} -> ${route.upstream.name}, auth ${route.auth}${mandates}`
}

/** The routes that could have been expected instead, each with what speaks against it. */
export function otherRoutes(chosen: Route | null, wanted: Wanted, snapshot: Snapshot): string[] {
  const others = snapshot.list.flatMap((route) => {
    const why = route === chosen ? null : whyNot(route, chosen, wanted)
    return why === null ? [] : [`${nameOf(route)} -> ${route.upstream.name}: ${why}`]
  })
  const left = others.length - MAX_OTHERS
  return left <= 0 ? others : [...others.slice(0, MAX_OTHERS), `and ${left} more`]
}

function nameOf({ label, exact, methods }: Route): string {
  return `${label}${exact ? ' (exact)' : ''}${methods === null ? '' : ` [${methods.join(' ')}]`}`
}

/** Null for a route that has nothing to do with the request: more than one thing speaks against it. */
function whyNot(route: Route, chosen: Route | null, { host, path, method }: Wanted): string | null {
  const matches = (matcher: Pick<Route, 'host' | 'path' | 'exact' | 'methods'>) =>
    createRouteTable([matcher]).candidates({ host, path }).length > 0
  const hasMethod = route.methods === null || route.methods.includes(method)
  if (matches(route)) {
    if (!hasMethod) return `it is for ${route.methods!.join(', ')}, not ${method}`
    return chosen === null ? null : lessSpecific(route, chosen)
  }
  if (!hasMethod) return null
  if (matches({ ...route, host: null })) return `it is for the host ${route.host}, not ${host}`
  if (matches({ ...route, exact: false })) return `it is for ${route.path} alone`
  // Prefixes are by whole segments; that a longer segment does not count surprises some.
  return path.startsWith(route.path) && matches({ ...route, path: '/', exact: false })
    ? `it is for ${route.path} and ${route.path}/…, not ${path}`
    : null
}

/** The first difference in the order in which the table looks (interface of the routing file). */
function lessSpecific(route: Route, chosen: Route): string {
  if (route.host !== chosen.host) {
    if (route.host === null) return 'less specific: it is for any host'
    return chosen.host?.startsWith('*.')
      ? 'less specific: a shorter wildcard'
      : 'less specific: a wildcard host'
  }
  if (route.exact !== chosen.exact) return 'less specific: a prefix, not the exact path'
  if (route.path !== chosen.path) return 'less specific: a shorter path'
  return 'less specific: it is for every method'
}
