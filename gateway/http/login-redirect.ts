import { wantsPage } from './page-preference.ts'
import type { RequestHead } from './request-head.ts'

/** True for a browser's navigation to a page, so that a login page helps; not for a form that it sends. */
export function isNavigation(head: Pick<RequestHead, 'method' | 'headers'>): boolean {
  return (head.method === 'GET' || head.method === 'HEAD') && wantsPage(head)
}

/**
 * Fills `{path}` of a route's `loginRedirect` with the percent-encoded path and query of the request.
 * Several slashes at its beginning become one. Otherwise a login page that redirects the user to `next` could be made
 * to send them to another host (`//evil.example`).
 *
 * @param raw path and query, origin-form, one character for each byte, as Node has it
 */
export function redirectLocation(template: string, raw: string): string {
  if (!template.includes('{path}')) return template
  const local = raw.replace(/^[/\\]+/, '/')
  const encoded = local.replace(/[^A-Za-z0-9._~-]/g, (byte) => {
    return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
  })
  return template.replaceAll('{path}', encoded)
}
