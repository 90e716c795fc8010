/*
 * For pages behind the gateway: requests that refresh the session when its access token has expired. The cookies are
 * out of reach of scripts (HttpOnly); what this file sees is only that a request was refused.
 */

const SESSION_URL = '/-/session'
const REFRESH_URL = '/-/refresh'
const TIMEOUT_MS = 15_000
const LOCK = 'session-refresh'

/**
 * As `fetch`. A request that the gateway refuses for want of a good access token is sent once more after a refresh;
 * it had not reached a backend, so that this is safe for every method.
 *
 * @returns the answer; 401 where a login is needed, and the gateway's 503 where the session cannot be checked
 */
export async function fetchWithRefresh(input, init) {
  const request = new Request(input, init)
  // A body can be sent only once.
  const again = request.clone()
  const response = await fetch(request)
  if (!isRefusedByGateway(response)) return response
  return (await refreshSession()) ?? fetch(again)
}

let underWay = null

/**
 * Sees to it that the access token is good. One tab at a time does, since all tabs share the cookies, and each refresh
 * ends the access token of the one before.
 *
 * @returns null where the session is good now, else the gateway's refusal (401), or its fault (503)
 */
export async function refreshSession() {
  underWay ??= inTurn(refreshUnlessGood).finally(() => {
    underWay = null
  })
  return (await underWay)?.clone() ?? null
}

async function refreshUnlessGood() {
  // Another tab may have refreshed while this one waited.
  const session = await ask(SESSION_URL, 'GET')
  if (session.ok) return null
  if (session.status !== 401) return session
  const refreshed = await ask(REFRESH_URL, 'POST')
  return refreshed.ok ? null : refreshed
}

/** A backend may answer 401 for reasons of its own. */
function isRefusedByGateway({ status, headers }) {
  return status === 401 && (headers.get('WWW-Authenticate') ?? '').startsWith('Cookie realm="gateway"')
}

/** Browsers have Web Locks on pages from https: and localhost. Elsewhere only the requests of one page wait for each other. */
function inTurn(task) {
  return navigator.locks === undefined ? task() : navigator.locks.request(LOCK, task)
}

function ask(url, method) {
  return fetch(url, { method, signal: AbortSignal.timeout(TIMEOUT_MS) })
}
