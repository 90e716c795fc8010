/** The paths that the gateway itself answers on the public listener; all others are routed. */
export interface OwnPaths {
  /** What they begin with, such as `/-`. */
  readonly prefix: string
  /** @param path in normal form */
  has(path: string): boolean
}

/**
 * @param prefix GATEWAY_PATH, in normal form and without a slash at its end
 * @param sessionEndpoints whether SESSION_ENDPOINTS is on
 */
export function createOwnPaths(prefix: string, sessionEndpoints: boolean): OwnPaths {
  const names = ['/healthz', '/readyz', '/session', ...(sessionEndpoints ? ['/refresh', '/logout'] : [])]
  const paths = new Set(names.map((name) => prefix + name))
  // Nearly no path of a request begins so, and a look at the first characters costs less than one into the set.
  return { prefix, has: (path) => path.startsWith(prefix) && paths.has(path) }
}
