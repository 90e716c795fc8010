import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import type { Test } from 'tap'
import { startGateway, type TestGateway } from './gateway.ts'
import { type Answer, ask, keepAliveAgent } from './http-client.ts'
import { until } from './plain-gateway.ts'
import { insertToken, type TestPostgres } from './postgres.ts'
import { inSeconds, signToken } from './tokens.ts'

/** A gateway before a database that is to be broken, with users who work and sessions that are refreshed. */
export interface FaultStage {
  readonly gateway: TestGateway
  readonly databaseUrl: string
  /** One request of the nth user. */
  visit(n: number): Promise<Seen>
  /** One refresh of the nth session. */
  refresh(n: number): Promise<Seen>
  isGood(): Promise<boolean>
  isDown(): Promise<boolean>
  /** Requests and refreshes without a pause while `task` runs. @returns what came of each */
  underLoad(task: () => Promise<void>): Promise<Seen[]>
  /**
   * Breaks the database under load and mends it. Holds where there were good answers and 503, and nothing else;
   * where nothing hung, and it recovered by itself with every session alive.
   */
  stands(t: Test, fault: Fault): Promise<Seen[]>
  close(): Promise<void>
}

export interface Fault {
  readonly breaks: () => unknown
  readonly mends: () => unknown
  /** Where it is waited for: in answers and readiness, in answers alone, or nowhere, since it may be over already. */
  readonly shows?: 'everywhere' | 'answers' | 'nowhere'
  readonly recoversWithinMs?: number
}

export interface Seen {
  readonly what: 'visit' | 'refresh'
  readonly outcome: 'good' | '503' | 'wrong'
  readonly ms: number
  readonly detail: string
}

export interface FaultStageOptions {
  /** What the gateway is told, given the database's own URL for the role `app`. */
  readonly urlOf?: (databaseUrl: string) => string
  readonly env?: Readonly<Record<string, string>>
}

const USERS = 20
const SESSIONS = 6
const LANES = 8
export const LOOKUP_TIMEOUT_MS = 500
const REFRESH_PAUSE_MS = 30
/** A look-up's deadline, or a refresh's (five of them), and what a busy machine adds. */
const HANGS_AFTER_MS = { visit: 2500, refresh: 5500 }

export async function startFaultStage(
  server: TestPostgres,
  { urlOf = (url) => url, env = {} }: FaultStageOptions = {},
): Promise<FaultStage> {
  const backend = createServer((req, res) => res.end(String(req.headers['x-user-id'])))
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
  const databaseUrl = await server.createDatabase()
  const { users, sessions } = await fill(databaseUrl)
  const gateway = await startGateway({
    databaseUrl: urlOf(databaseUrl.replace('//gateway@', '//app@')),
    routing: { upstreams: { app: { targets: [target] } }, routes: [{ path: '/', upstream: 'app' }] },
    env: {
      ACCESS_LOG: 'off',
      LOOKUP_TIMEOUT_MS: String(LOOKUP_TIMEOUT_MS),
      SESSION_ENDPOINTS: 'on',
      ...env,
    },
  })
  const agent = keepAliveAgent(64)

  async function send(
    what: Seen['what'],
    isGood: (answer: Answer) => boolean,
    request: { readonly cookie: string },
  ) {
    const began = performance.now()
    const path = what === 'refresh' ? '/-/refresh' : '/'
    const method = what === 'refresh' ? 'POST' : 'GET'
    const answer = await ask({ url: gateway.url + path, method, agent, headers: { cookie: request.cookie } })
    const { status, body, headers } = answer
    const fault =
      status === 503 &&
      headers['retry-after'] !== undefined &&
      headers['set-cookie'] === undefined &&
      body.includes('"token_store_unavailable"')
    const outcome = isGood(answer) ? 'good' : fault ? '503' : 'wrong'
    const seen: Seen = { what, outcome, ms: performance.now() - began, detail: `${what} ${status} ${body}` }
    return { seen, answer }
  }

  async function visit(n: number): Promise<Seen> {
    const { userId, cookie } = users[n % USERS]!
    return (await send('visit', ({ status, body }) => status === 200 && body === userId, { cookie })).seen
  }

  async function refresh(n: number): Promise<Seen> {
    const session = sessions[n % SESSIONS]!
    const isNew = ({ status, headers }: Answer) => status === 204 && headers['set-cookie']?.length === 2
    const { seen, answer } = await send('refresh', isNew, { cookie: session.cookie })
    if (seen.outcome === 'good')
      session.cookie = answer.headers['set-cookie']!.map((each) => each.split(';')[0]).join('; ')
    return seen
  }

  async function underLoad(task: () => Promise<void>): Promise<Seen[]> {
    let running = true
    const seen: Seen[] = []
    const visitors = Array.from({ length: LANES }, async (_, lane) => {
      for (let i = lane; running; i += LANES) seen.push(await visit(i))
    })
    const refreshers = [0, 1].map(async (lane) => {
      for (let i = lane; running; i += 2) {
        seen.push(await refresh(i))
        await new Promise((resolve) => setTimeout(resolve, REFRESH_PAUSE_MS))
      }
    })
    try {
      await task()
    } finally {
      running = false
      await Promise.all([...visitors, ...refreshers])
    }
    return seen
  }

  const isGood = async () => (await visit(0)).outcome === 'good'
  const isDown = async () => (await visit(0)).outcome === '503'
  const readyz = async () => (await ask({ url: `${gateway.url}/-/readyz` })).status

  async function stands(t: Test, { breaks, mends, shows = 'everywhere', recoversWithinMs = 3000 }: Fault) {
    await until(isGood)
    let recoveredIn = Number.POSITIVE_INFINITY
    const seen = await underLoad(async () => {
      await breaks()
      if (shows !== 'nowhere') await until(isDown)
      if (shows === 'everywhere') await until(async () => (await readyz()) === 503)
      await mends()
      const mended = performance.now()
      await until(isGood, 30_000)
      recoveredIn = performance.now() - mended
      await until(async () => (await readyz()) === 200)
    })
    const count = (outcome: Seen['outcome']) => seen.filter((each) => each.outcome === outcome).length
    t.comment(
      `recovered in ${recoveredIn.toFixed(0)} ms; ${count('good')} good answers, ${count('503')} times 503`,
    )
    onlyGoodOr503(t, seen)
    if (shows !== 'nowhere') t.ok(count('503') > 0)
    t.ok(recoveredIn < recoversWithinMs, `recovered after ${Math.round(recoveredIn)} ms`)
    for (let n = 0; n < SESSIONS; n++) t.match(await refresh(n), { outcome: 'good' }, 'no session was lost')
    return seen
  }

  return {
    gateway,
    databaseUrl,
    visit,
    refresh,
    isGood,
    isDown,
    underLoad,
    stands,
    async close() {
      agent.destroy()
      await gateway.stop()
      backend.closeAllConnections()
      backend.close()
    },
  }
}

/** Never a 401, never another's identity, never forwarded unchecked; and nothing hangs. */
export function onlyGoodOr503(t: Test, seen: readonly Seen[]): void {
  t.same(
    seen.filter(({ outcome }) => outcome === 'wrong').map(({ detail }) => detail),
    [],
    'only good answers and 503',
  )
  const late = seen.filter(({ what, ms }) => ms > HANGS_AFTER_MS[what])
  t.same(late, [], 'nothing hangs')
}

/** Users, sessions, and a role of least privilege. */
async function fill(databaseUrl: string) {
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const users = await Promise.all(
    Array.from({ length: USERS }, async (_, i) => {
      const { id, userId } = await insertToken(sql, { userId: `user-${i}` })
      const jwt = await signToken({ claims: { jti: id, exp: inSeconds(3600) } })
      return { userId, cookie: `auth_token=${jwt}` }
    }),
  )
  const sessions = await Promise.all(
    Array.from({ length: SESSIONS }, async () => {
      const { id } = await insertToken(sql, { sessionId: randomUUID() })
      const jwt = await signToken({ claims: { jti: id, type: 'refresh', exp: inSeconds(3600) } })
      return { cookie: `refresh_token=${jwt}` }
    }),
  )
  await sql.unsafe(`
    do $$ begin
      if not exists (select from pg_roles where rolname = 'app') then create role app login; end if;
    end $$;
    grant select, insert, update on "Token" to app`)
  await sql.end()
  return { users, sessions }
}
