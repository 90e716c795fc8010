/**
 * Fetches a JSON document, following no redirect. For what is fetched rarely and off the request path.
 *
 * @throws where it cannot be had in time
 */
export async function fetchJson(url: string, timeoutMs: number): Promise<unknown> {
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) })
  if (!answer.ok) throw new Error(`answered with ${answer.status}`)
  return answer.json()
}
