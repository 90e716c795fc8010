/** What the table reads of a route. */
export interface Matcher {
  /** Lower-case name, `*.` and the end of one, or null for any host. */
  readonly host: string | null
  /** In normal form; a prefix by whole segments unless `exact`. */
  readonly path: string
  readonly exact: boolean
  /** Null for all methods. */
  readonly methods: readonly string[] | null
}

export interface RouteRequest {
  /** Lower case, without port and trailing dot. */
  readonly host: string
  /** In normal form. */
  readonly path: string
  readonly method: string
}

export type RouteMatch<R> =
  | { readonly kind: 'matched'; readonly route: R }
  | { readonly kind: 'none' }
  /** Host and path have routes, for other methods: those of `allow`, sorted. */
  | { readonly kind: 'method'; readonly allow: readonly string[] }

/** The routes of one routing file; immutable. */
export interface RouteTable<R> {
  match(request: RouteRequest): RouteMatch<R>
  /** Every route for the request's host and path, the most specific first, those for other methods included. */
  candidates(request: Omit<RouteRequest, 'method'>): R[]
}

type Matched<R> = Extract<RouteMatch<R>, { kind: 'matched' }>

/** The routes of one path of one host. Matches are made beforehand, so that one costs no allocation. */
interface Slot<R> {
  readonly byMethod: Map<string, Matched<R>>
  forAll: Matched<R> | null
}

interface PathTable<R> {
  readonly exact: Map<string, Slot<R>>
  /** Keys have no trailing slash; that of `/` is empty. */
  readonly prefixes: Map<string, Slot<R>>
  longestPrefix: number
}

interface HostTable<R> {
  readonly exact: Map<string, PathTable<R>>
  /** By the end of the host name, its dot included. */
  readonly wildcards: Map<string, PathTable<R>>
  longestWildcard: number
  readonly any: PathTable<R>
}

const NONE = { kind: 'none' } as const

/**
 * The most specific route for a request's host, path and method wins, whatever the order of `routes`: exact host,
 * then the longest wildcard, then any host; exact path, then the longest prefix; a route with methods before one
 * without. Look-ups are by hash, so that a thousand routes cost no more than ten; what a request can make the table
 * do is bounded by the longest host and path in the file, not by the length of what it sends.
 *
 * @param routes no two of which tie; of those that do the first wins
 */
export function createRouteTable<R extends Matcher>(routes: readonly R[]): RouteTable<R> {
  const hosts: HostTable<R> = { exact: new Map(), wildcards: new Map(), longestWildcard: 0, any: pathTable() }
  for (const route of routes) addPath(tableFor(hosts, route.host), route)

  return {
    match(request) {
      const matched = walk(hosts, request, forMethod, request.method)
      if (matched !== null) return matched
      const methods = new Set<string>()
      walk(hosts, request, collectMethods, methods)
      return methods.size === 0 ? NONE : { kind: 'method', allow: [...methods].sort() }
    },
    candidates(request) {
      const routes = new Set<R>()
      walk(hosts, request, collectRoutes, routes)
      return [...routes]
    },
  }
}

function pathTable<R>(): PathTable<R> {
  return { exact: new Map(), prefixes: new Map(), longestPrefix: 0 }
}

function tableFor<R>(hosts: HostTable<R>, host: string | null): PathTable<R> {
  if (host === null) return hosts.any
  const wildcard = host.startsWith('*.')
  const key = wildcard ? host.slice(1) : host
  if (wildcard) hosts.longestWildcard = Math.max(hosts.longestWildcard, key.length)
  return entry(wildcard ? hosts.wildcards : hosts.exact, key, pathTable<R>)
}

function addPath<R extends Matcher>(table: PathTable<R>, route: R): void {
  const key = !route.exact && route.path.endsWith('/') ? route.path.slice(0, -1) : route.path
  if (!route.exact) table.longestPrefix = Math.max(table.longestPrefix, key.length)
  const slot = entry(route.exact ? table.exact : table.prefixes, key, newSlot<R>)
  const matched: Matched<R> = { kind: 'matched', route }
  if (route.methods === null) slot.forAll ??= matched
  else for (const method of route.methods) entry(slot.byMethod, method, () => matched)
}

function newSlot<R>(): Slot<R> {
  return { byMethod: new Map(), forAll: null }
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

/** Says whether the walk ends at a slot. `argument` spares the hot path a closure for every request. */
type Visit<R, A> = (slot: Slot<R>, argument: A) => Matched<R> | null

function forMethod<R>(slot: Slot<R>, method: string): Matched<R> | null {
  return slot.byMethod.get(method) ?? slot.forAll
}

function collectMethods<R>(slot: Slot<R>, methods: Set<string>): null {
  for (const method of slot.byMethod.keys()) methods.add(method)
  return null
}

function collectRoutes<R>(slot: Slot<R>, routes: Set<R>): null {
  for (const { route } of slot.byMethod.values()) routes.add(route)
  if (slot.forAll !== null) routes.add(slot.forAll.route)
  return null
}

/** Visits the slots of a host and a path, the most specific first, until one ends the walk. */
function walk<R, A>(
  hosts: HostTable<R>,
  { host, path }: Omit<RouteRequest, 'method'>,
  visit: Visit<R, A>,
  argument: A,
): Matched<R> | null {
  const exact = hosts.exact.get(host)
  let found = exact === undefined ? null : walkPaths(exact, path, visit, argument)
  if (found !== null) return found
  if (hosts.longestWildcard > 0) {
    // A wildcard stands for one label at least, hence not from 0.
    let dot = host.indexOf('.', Math.max(1, host.length - hosts.longestWildcard))
    for (; dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const table = hosts.wildcards.get(host.slice(dot))
      if (table === undefined) continue
      found = walkPaths(table, path, visit, argument)
      if (found !== null) return found
    }
  }
  return walkPaths(hosts.any, path, visit, argument)
}

function walkPaths<R, A>(
  table: PathTable<R>,
  path: string,
  visit: Visit<R, A>,
  argument: A,
): Matched<R> | null {
  const exact = table.exact.get(path)
  if (exact !== undefined) {
    const found = visit(exact, argument)
    if (found !== null) return found
  }
  if (table.prefixes.size === 0) return null
  let end = path.length <= table.longestPrefix ? path.length : path.lastIndexOf('/', table.longestPrefix)
  for (; end >= 0; end = path.lastIndexOf('/', end - 1)) {
    const slot = table.prefixes.get(path.slice(0, end))
    const found = slot === undefined ? null : visit(slot, argument)
    if (found !== null) return found
    if (end === 0) break
  }
  return null
}
