import type { Browser, Trip } from './browser.ts'

/** Somebody who logs in, works, refreshes in time or too late, and logs out. */
export interface SessionUser {
  /** Does the next thing. Never rejects; what went wrong is in `problems`. */
  step(): Promise<void>
  /** Ends with a refresh that has to succeed: the session was not lost. */
  prove(): Promise<void>
}

export interface SessionUserParts {
  readonly browser: Browser
  /** 0 up to 1. */
  readonly random: () => number
  /** Of each answer that was not deserved. */
  readonly onProblem: (problem: string) => void
}

/** Before the token's end, so that what is under way then still has a good one. */
const REFRESH_BEFORE_MS = 700
const TRIES = 100
const BETWEEN_TRIES_MS = 100

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

export function failed(trip: Trip): boolean {
  return trip.status === 0 || trip.status >= 500
}

export function createSessionUser({ browser, random, onProblem }: SessionUserParts): SessionUser {
  let session = ''
  /** A refresh without an answer may have happened; the access token is no more to be relied on. */
  let unsure = false

  const problem = (what: string, { method, path, status, body }: Trip) =>
    onProblem(`${browser.user}: ${what}: ${method} ${path} ${status} ${body}`)

  async function logIn(): Promise<void> {
    const trip = await browser.send('POST', `/login?user=${browser.user}`)
    if (failed(trip)) return
    if (trip.status !== 204) return problem('a login was refused', trip)
    session = sessionOf(browser.cookie)
    unsure = false
  }

  /** From one tab, or from two at the same moment. */
  async function refresh(): Promise<void> {
    const tabs = random() < 0.2 ? 2 : 1
    const trips = await Promise.all(Array.from({ length: tabs }, () => browser.send('POST', '/-/refresh')))
    for (const trip of trips) if (!failed(trip) && trip.status !== 204) problem('the session was lost', trip)
    unsure = !trips.some(({ status }) => status === 204)
    if (!unsure && sessionOf(browser.cookie) !== session) problem('the session is another one', trips[0]!)
    // A refused one will not do better: a browser goes back to the login.
    if (trips.every(({ status }) => status === 401)) browser.clear()
  }

  async function work(): Promise<void> {
    const endsAt = browser.accessEndsAt
    const trip = await browser.send('GET', '/api')
    if (failed(trip)) return
    if (trip.status === 200) {
      const seen = JSON.parse(trip.body) as { user: string; session: string }
      if (seen.user !== browser.user || seen.session !== session) problem('another identity', trip)
    } else if (codeOf(trip) !== 'token_expired' || Date.now() < endsAt) problem('not deserved', trip)
  }

  async function oversleep(): Promise<void> {
    await pause(browser.accessEndsAt - Date.now() + 50)
    const trip = await browser.send('GET', '/api')
    if (!failed(trip) && codeOf(trip) !== 'token_expired') problem('an expired token', trip)
  }

  async function logOut(): Promise<void> {
    const { cookie } = browser
    let unanswered = 0
    for (; unanswered < TRIES; unanswered++) {
      const trip = await browser.send('POST', '/-/logout')
      if (failed(trip)) {
        await pause(BETWEEN_TRIES_MS)
        continue
      }
      if (trip.status !== 204 && unanswered === 0) problem('a logout was refused', trip)
      break
    }
    browser.clear()
    const trip = await browser.send('GET', '/api', { cookie })
    if (!failed(trip) && trip.status !== 401) problem('admitted after the logout', trip)
  }

  return {
    step() {
      if (!browser.signedIn) return logIn()
      if (unsure || browser.accessEndsAt - Date.now() < REFRESH_BEFORE_MS) return refresh()
      const dice = random()
      if (dice < 0.01) return logOut()
      if (dice < 0.02) return oversleep()
      return work()
    },
    async prove() {
      if (!browser.signedIn) return
      for (let tries = 0; tries < TRIES; tries++) {
        await refresh()
        if (!unsure) return
        await pause(BETWEEN_TRIES_MS)
      }
      onProblem(`${browser.user}: no refresh succeeded in ${TRIES} tries`)
    },
  }
}

function sessionOf(cookie: string): string {
  const token = /(?:^|; )auth_token=([^;]*)/.exec(cookie)?.[1]
  if (token === undefined) return ''
  return JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).sessionId
}

function codeOf({ body }: Trip): string {
  try {
    return (JSON.parse(body) as { code: string }).code
  } catch {
    return ''
  }
}
