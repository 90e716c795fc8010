import type { HeaderEdits } from './headers.ts'

/**
 * Fields that allow caches to store an answer (RFC 9111, section 5; RFC 9213). An answer that carries tokens must not
 * be stored.
 */
const CACHE_FIELDS = new Set(['cache-control', 'expires', 'cdn-cache-control', 'surrogate-control'])

/**
 * Adds new cookies to a route's changes to an upstream's answer. They are put before the upstream's own fields: of
 * several `Set-Cookie` fields for one cookie the last one counts (RFC 6265, section 5.3), so an upstream that logs the
 * user out or in overrides them.
 *
 * @param cookies `Set-Cookie` fields as flat name, value pairs; null where there are none
 */
export function withNewCookies(
  edits: HeaderEdits | null,
  cookies: readonly string[] | null,
): HeaderEdits | null {
  if (cookies === null) return edits
  const set = (edits?.set ?? []).filter((_, i, all) => !CACHE_FIELDS.has(all[i - (i % 2)]!.toLowerCase()))
  return {
    first: cookies,
    set: [...set, 'Cache-Control', 'no-store'],
    dropped: new Set([...CACHE_FIELDS, ...(edits?.dropped ?? [])]),
  }
}
