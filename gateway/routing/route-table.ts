/** What a route matches. */
export interface RouteMatcher {
  /** A name in lower case, `*.` and the end of a name, or null for any host. */
  readonly host: string | null
  /** In normal form. Unless `exact`, a prefix by whole segments. */
  readonly path: string
  readonly exact: boolean
  /** Null for all methods. */
  readonly methods: readonly string[] | null
}

export interface RouteRequest {
  /** In lower case, without port and trailing dot. */
  readonly host: string
  /** In normal form. */
  readonly path: string
  readonly method: string
}

export type RouteMatch<R> =
  | { readonly kind: 'matched'; readonly route: R }
  | { readonly kind: 'none' }
  /** Routes match host and path, but only for other methods; `allow` has these, sorted. */
  | { readonly kind: 'method'; readonly allow: readonly string[] }

/** The routes of one routing file; immutable. */
export interface RouteTable<R> {
  match(request: RouteRequest): RouteMatch<R>
  /** Every route for the request's host and path, the most specific first, those for other methods included. */
  candidates(request: Omit<RouteRequest, 'method'>): R[]
}

type Matched<R> = Extract<RouteMatch<R>, { kind: 'matched' }>

/** The routes of one path of one host. Match results are created in advance, so that matching allocates nothing. */
interface Slot<R> {
  readonly byMethod: Map<string, Matched<R>>
  forAll: Matched<R> | null
}

interface PathTable<R> {
  readonly exact: Map<string, Slot<R>>
  /** Keys have no trailing slash; the key of `/` is empty. */
  readonly prefixes: Map<string, Slot<R>>
  longestPrefix: number
}

interface HostTable<R> {
  readonly exact: Map<string, PathTable<R>>
  /** By the end of the host name, including the dot before it. */
  readonly wildcards: Map<string, PathTable<R>>
  longestWildcard: number
  readonly any: PathTable<R>
}

const NONE = { kind: 'none' } as const

/**
 * The most specific route for a request's host, path and method wins, whatever the order of `routes`: exact host,
 * then the longest wildcard, then any host; exact path, then the longest prefix; a route with methods before one
 * without. Matching uses hash look-ups, so that a thousand routes cost no more than ten. Its cost is bounded by the
 * longest host and path in the file, not by the length of the request's.
 *
 * @param routes of routes that tie, which the checks of the routing file exclude, the first wins
 */
export function createRouteTable<R extends RouteMatcher>(routes: readonly R[]): RouteTable<R> {
  const hosts: HostTable<R> = {
    exact: new Map(),
    wildcards: new Map(),
    longestWildcard: 0,
    any: createPathTable(),
  }
  for (const route of routes) addRoute(tableFor(hosts, route.host), route)

  return {
    match(request) {
      const matched = visitSlots(hosts, request, matchMethod, request.method)
      if (matched !== null) return matched
      const methods = new Set<string>()
      visitSlots(hosts, request, collectMethods, methods)
      return methods.size === 0 ? NONE : { kind: 'method', allow: [...methods].sort() }
    },
    candidates(request) {
      const routes = new Set<R>()
      visitSlots(hosts, request, collectRoutes, routes)
      return [...routes]
    },
  }
}

function createPathTable<R>(): PathTable<R> {
  return { exact: new Map(), prefixes: new Map(), longestPrefix: 0 }
}

function tableFor<R>(hosts: HostTable<R>, host: string | null): PathTable<R> {
  if (host === null) return hosts.any
  const wildcard = host.startsWith('*.')
  const key = wildcard ? host.slice(1) : host
  if (wildcard) hosts.longestWildcard = Math.max(hosts.longestWildcard, key.length)
  return getOrCreate(wildcard ? hosts.wildcards : hosts.exact, key, createPathTable<R>)
}

function addRoute<R extends RouteMatcher>(table: PathTable<R>, route: R): void {
  const key = !route.exact && route.path.endsWith('/') ? route.path.slice(0, -1) : route.path
  if (!route.exact) table.longestPrefix = Math.max(table.longestPrefix, key.length)
  const slot = getOrCreate(route.exact ? table.exact : table.prefixes, key, createSlot<R>)
  const matched: Matched<R> = { kind: 'matched', route }
  if (route.methods === null) slot.forAll ??= matched
  else for (const method of route.methods) getOrCreate(slot.byMethod, method, () => matched)
}

function createSlot<R>(): Slot<R> {
  return { byMethod: new Map(), forAll: null }
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

/** Returns a match to end the search, or null to go on. `argument` avoids a closure for each request. */
type Visit<R, A> = (slot: Slot<R>, argument: A) => Matched<R> | null

function matchMethod<R>(slot: Slot<R>, method: string): Matched<R> | null {
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

/** Visits the slots for a host and a path, the most specific first, until `visit` returns a match. */
function visitSlots<R, A>(
  hosts: HostTable<R>,
  { host, path }: Omit<RouteRequest, 'method'>,
  visit: Visit<R, A>,
  argument: A,
): Matched<R> | null {
  const exact = hosts.exact.get(host)
  let found = exact === undefined ? null : visitPathSlots(exact, path, visit, argument)
  if (found !== null) return found
  if (hosts.longestWildcard > 0) {
    // The search for a dot begins at 1 at the earliest, because a wildcard stands for at least one label.
    let dot = host.indexOf('.', Math.max(1, host.length - hosts.longestWildcard))
    for (; dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const table = hosts.wildcards.get(host.slice(dot))
      if (table === undefined) continue
      found = visitPathSlots(table, path, visit, argument)
      if (found !== null) return found
    }
  }
  return visitPathSlots(hosts.any, path, visit, argument)
}

function visitPathSlots<R, A>(
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
