import type { HeaderEdits } from './headers.ts'

/** What lets caches keep an answer (RFC 9111, section 5; RFC 9213). One with somebody's tokens must not be kept. */
const CACHE_FIELDS = new Set(['cache-control', 'expires', 'cdn-cache-control', 'surrogate-control'])

/**
 * A route's changes to an upstream's answer, and new cookies besides. These come first: of several `Set-Cookie`
 * for one cookie the last counts (RFC 6265, section 5.3), and an upstream that logs the user out or in has the
 * last word.
 *
 * @param cookies `Set-Cookie` fields, flat name, value pairs; null where there are none
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
