import postgres from 'postgres'
import t, { type Test } from 'tap'
import { createBrowser, type Trip } from '../support/browser.ts'
import { createFleet, type Disruption, type Fleet } from '../support/fleet.ts'
import { haproxyIsInstalled, startHaproxy } from '../support/haproxy.ts'
import { ask } from '../support/http-client.ts'
import { startLoginBackend } from '../support/login-backend.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'
import { startRoundRobin } from '../support/round-robin.ts'
import { createSessionUser, failed } from '../support/session-user.ts'

const USERS = 100
const PAUSE_MS = 300
const ACCESS_TTL_S = 4
/** Logins are spread over this time, so that refreshes are spread as well. */
const ARRIVE_MS = 1500
const REFRESH_TTL_S = 3600
const HAPROXY = haproxyIsInstalled()
/** The fallback balancer checks each instance from time to time, and retries nothing. */
const NOTICED_AFTER_MS = HAPROXY ? 20 : 1500

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function stage(t: Test) {
  const pg = await startPostgres()
  const databaseUrl = await pg.createDatabase()
  const sql = postgres(databaseUrl, { max: 4, onnotice: () => {} })
  const backend = await startLoginBackend({ sql, accessTtlS: ACCESS_TTL_S, refreshTtlS: REFRESH_TTL_S })
  const fleet = await createFleet(4, {
    databaseUrl,
    routing: {
      upstreams: { app: { targets: [backend.url] } },
      routes: [
        { path: '/', upstream: 'app' },
        { path: '/login', upstream: 'app', auth: 'none' },
      ],
    },
    env: {
      ACCESS_LOG: 'off',
      SESSION_ENDPOINTS: 'on',
      ACCESS_TOKEN_TTL_S: String(ACCESS_TTL_S),
      REFRESH_TOKEN_TTL_S: String(REFRESH_TTL_S),
      // Longer than the freeze, or requests whose look-up the frozen instance had not sent would rightly get 503.
      LOOKUP_TIMEOUT_MS: '5000',
      DRAIN_DELAY_MS: '800',
      DRAIN_TIMEOUT_MS: '3000',
    },
  })
  t.teardown(async () => {
    await fleet.stop()
    backend.close()
    await sql.end({ timeout: 1 })
    await pg.close()
  })
  await Promise.all([0, 1, 2].map((slot) => fleet.start(slot)))
  const balancer = await balance(t, fleet)
  return { fleet, origin: `http://127.0.0.1:${balancer}` }
}

/** @returns the balancer's port, once it answers */
async function balance(t: Test, fleet: Fleet): Promise<number> {
  if (!HAPROXY) {
    t.comment(
      'HAProxy is not installed here; a balancer of connections, which retries nothing, stands for it',
    )
    const fallback = await startRoundRobin()
    fallback.set(fleet.slots)
    t.teardown(() => fallback.close())
    await until(() => answers(fallback.port))
    return fallback.port
  }
  const haproxy = await startHaproxy(fleet.slots)
  t.teardown(() => haproxy.close())
  await until(() => answers(haproxy.port))
  return haproxy.port
}

function answers(port: number): Promise<boolean> {
  return ask({ url: `http://127.0.0.1:${port}/-/healthz` }).then(
    ({ status }) => status === 200,
    () => false,
  )
}

/** The events that happen to instances. */
async function disturb(fleet: Fleet): Promise<number | NodeJS.Signals> {
  await pause(ARRIVE_MS + 500)
  await fleet.kill(0)
  await pause(300)
  await Promise.all([fleet.start(0), fleet.start(3)])
  await pause(300)
  const code = await fleet.leave(1)
  await fleet.start(1)
  await pause(300)
  fleet.freeze(2)
  await pause(2000)
  fleet.thaw(2)
  await pause(300)
  await fleet.kill(3)
  await pause(700)
  return code
}

/** The request was under way when an instance was killed, or while one was frozen. */
function wasDisturbed(trip: Trip, disruptions: readonly Disruption[]): boolean {
  return disruptions.some(({ from, to }) => trip.began <= to + NOTICED_AFTER_MS && trip.ended >= from)
}

t.test(
  'a hundred users keep their sessions while instances are killed, added, restarted and frozen',
  async (t) => {
    const { fleet, origin } = await stage(t)
    const trips: Trip[] = []
    const problems: string[] = []
    let working = true
    const users = Array.from({ length: USERS }, (_, n) => {
      const browser = createBrowser(`user-${n}`, origin, (trip) => void trips.push(trip))
      t.teardown(() => browser.close())
      return createSessionUser({ browser, random: Math.random, onProblem: (each) => problems.push(each) })
    })
    const lives = users.map(async (user) => {
      await pause(Math.random() * ARRIVE_MS)
      while (working) {
        await user.step()
        await pause(PAUSE_MS * (0.5 + Math.random()))
      }
      await user.prove()
    })
    const exitCode = await disturb(fleet)
    working = false
    await Promise.all(lives)

    const lost = trips.filter(failed)
    const count = (path: string) => trips.filter((trip) => trip.path === path).length
    t.comment(
      `${trips.length} requests, ${count('/-/refresh')} refreshes, ${count('/-/logout')} logouts; without a good answer: ` +
        `${lost.length} ${JSON.stringify(lost.map(({ method, path, status, error }) => `${method} ${path} ${status || error}`))}`,
    )
    t.same(problems, [], 'no session was lost, and no answer was a refusal that was not deserved')
    t.same(
      lost.filter((trip) => !wasDisturbed(trip, fleet.disruptions)),
      [],
      'failed is only what was under way on an instance that was killed or frozen',
    )
    if (HAPROXY)
      t.same(
        lost.filter(({ method }) => method === 'GET'),
        [],
        'what only reads was sent again',
      )
    t.equal(exitCode, 0, 'the instance that was told to leave left in order')
    t.ok(count('/-/refresh') > USERS, 'sessions were refreshed')
    t.ok(count('/-/logout') > 0, 'some logged out')
    t.ok(trips.length > 2000, `${trips.length} requests`)
  },
)
