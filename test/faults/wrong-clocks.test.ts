import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import t from 'tap'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { startGateway } from '../support/gateway.ts'
import { type Answer, ask, keepAliveAgent } from '../support/http-client.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/** Instances whose clocks are a minute fast or slow. */
const OFFSETS_S = [-60, 0, 60]
const ACCESS_TTL_S = 900

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const gateways = await Promise.all(
  OFFSETS_S.map((offset) =>
    startGateway({
      databaseUrl,
      routing: { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] },
      env: {
        NODE_OPTIONS: `--import=${clockThatIsWrongBy(offset * 1000)}`,
        JWT_CLOCK_TOLERANCE_S: '60',
        SESSION_ENDPOINTS: 'on',
        ACCESS_TOKEN_TTL_S: String(ACCESS_TTL_S),
        ACCESS_LOG: 'off',
      },
    }),
  ),
)
const agent = keepAliveAgent(8)
t.teardown(async () => {
  agent.destroy()
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await echo.close()
  await sql.end({ timeout: 1 })
  await pg.close()
})

/** A module to preload, which changes the time of day. */
function clockThatIsWrongBy(ms: number): string {
  const source = `const Right = Date
    globalThis.Date = class extends Right {
      constructor(...of) { if (of.length === 0) super(Right.now() + ${ms}); else super(...of) }
      static now() { return Right.now() + ${ms} }
    }`
  return `data:text/javascript,${encodeURIComponent(source)}`
}

const visit = (cookie: string, instance: number, path = '/') =>
  ask({ url: gateways[instance]!.url + path, agent, headers: { cookie } })
const refresh = (cookie: string, instance: number) =>
  ask({ url: `${gateways[instance]!.url}/-/refresh`, method: 'POST', agent, headers: { cookie } })
const codeOf = ({ body }: Answer) => (JSON.parse(body) as { code?: string }).code
const cookiesOf = ({ headers }: Answer) => (headers['set-cookie'] ?? []).map((each) => each.split(';')[0]!)

async function newRefreshCookie() {
  const { id, sessionId } = await insertToken(sql, { sessionId: randomUUID() })
  const claims = { jti: id, sessionId, type: 'refresh', exp: inSeconds(3600) }
  return { sessionId, cookie: `refresh_token=${await signToken({ claims })}` }
}

t.test('setup: the clocks of the instances are wrong', async (t) => {
  for (const [instance, offset] of OFFSETS_S.entries()) {
    const { time } = await gateways[instance]!.line(({ msg }) => msg === 'listening')
    const off = new Date(time as string | number).getTime() / 1000 - offset - inSeconds(0)
    t.ok(Math.abs(off) < 45, `${off}`)
  }
})

t.test("all instances refuse an expired token at the same moment, by the database's clock", async (t) => {
  const endsAt = inSeconds(3) * 1000
  const { id } = await insertToken(sql, { expiresAt: endsAt })
  const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: endsAt / 1000 } })}`
  const seen: { instance: number; began: number; ended: number; status: number; code: string | undefined }[] =
    []
  const watch = async (instance: number) => {
    while (Date.now() < endsAt + 500) {
      const began = Date.now()
      const answer = await visit(cookie, instance)
      seen.push({ instance, began, ended: Date.now(), status: answer.status, code: codeOf(answer) })
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  await Promise.all(OFFSETS_S.map((_, instance) => watch(instance)))
  const early = seen.filter(({ ended }) => ended < endsAt)
  const late = seen.filter(({ began }) => began > endsAt)
  t.same(
    early.filter(({ status }) => status !== 200),
    [],
    'nobody refuses it before',
  )
  t.same(
    late.filter(({ code }) => code !== 'token_expired'),
    [],
    'nobody admits it after',
  )
  for (const each of [early, late]) t.equal(new Set(each.map(({ instance }) => instance)).size, 3)
})

t.test("new tokens expire by the database's clock, and are valid at every instance", async (t) => {
  for (const [maker] of OFFSETS_S.entries()) {
    const [access = ''] = cookiesOf(await refresh((await newRefreshCookie()).cookie, maker))
    const { exp } = JSON.parse(Buffer.from(access.split('.')[1]!, 'base64url').toString())
    t.ok(Math.abs(exp - inSeconds(ACCESS_TTL_S)) < 5, `made by the one that is off by ${OFFSETS_S[maker]} s`)
    const everywhere = await Promise.all(OFFSETS_S.map((_, instance) => visit(access, instance)))
    t.same(
      everywhere.map(({ status }) => status),
      [200, 200, 200],
    )
  }
})

t.test(
  'with another clock a second tab gets the same pair, and a reused token ends the session',
  async (t) => {
    const { cookie, sessionId } = await newRefreshCookie()
    const first = cookiesOf(await refresh(cookie, 0))
    for (const [instance] of OFFSETS_S.entries()) t.same(cookiesOf(await refresh(cookie, instance)), first)
    await sql`update "Token" set "expiresAt" = "expiresAt" - interval '11 seconds' where "sessionId" = ${sessionId}`
    t.equal((await refresh(cookie, 0)).status, 401, 'though the slow one still has the hour of the first use')
    t.equal((await visit(first[0]!, 2)).status, 401)
  },
)
