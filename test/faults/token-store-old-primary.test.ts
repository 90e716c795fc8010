import postgres from 'postgres'
import t, { type Test } from 'tap'
import { fillDatabase } from '../support/fault-data.ts'
import {
  databaseCertificate,
  type FaultGateway,
  type GatewayKind,
  startFaultGateways,
  startUserBackend,
} from '../support/fault-gateways.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby, TOKEN_DDL } from '../support/postgres.ts'
import { startSwitchingRelay } from '../support/switching-relay.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/**
 * The attack: a primary freezes, its standby is promoted, a token is revoked there, and the old primary wakes. It
 * still believes that it is the primary, and its row is still ACTIVE. Idle connections of the gateway lead to it.
 */
const REVOKED = 40
const LOCKED_MS = 300
/** It takes less than 5 s on an idle machine; in a test run other files use the same cores. */
const RECOVERS_WITHIN_MS = 15_000
const { tls, trust } = databaseCertificate(t)
const agent = keepAliveAgent(128)
const backend = await startUserBackend()
t.teardown(() => {
  agent.destroy()
  backend.close()
})

async function startScene(t: Test) {
  const primary = await startPostgres({ tls })
  t.teardown(() => primary.close())
  const standby = await startStandby(primary, { tls })
  t.teardown(() => standby.close())
  const relay = await startSwitchingRelay(primary.port)
  t.teardown(() => relay.close())
  const here = `:${primary.port}/`
  const both = (url: string) => url.replace(here, `:${primary.port},127.0.0.1:${standby.port}/`)
  const oneAddress = (url: string) => url.replace(here, `:${relay.port}/`)
  const kinds: readonly GatewayKind[] = [
    { role: 'both_4', sslmode: 'disable', workers: 1, urlOf: both },
    { role: 'both_40', sslmode: 'require', workers: 1, urlOf: both, env: { DATABASE_POOL_SIZE: '40' } },
    { role: 'one_4', sslmode: 'verify-full', workers: 1, urlOf: oneAddress },
    { role: 'one_40', sslmode: 'disable', workers: 1, urlOf: oneAddress, env: { DATABASE_POOL_SIZE: '40' } },
  ]
  const sql = postgres(primary.url, { max: 1, onnotice: () => {} })
  await sql.unsafe(TOKEN_DDL)
  await fillDatabase(
    primary.url,
    kinds.map(({ role }) => role),
  )
  const newCookie = async () => {
    const { id } = await insertToken(sql)
    return `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}`
  }
  const good = await newCookie()
  await sql`update "Token" set "userId" = 'good'`
  const revoked = await Promise.all(Array.from({ length: REVOKED }, newCookie))
  await sql.end()
  const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
  t.teardown(() => follower.end({ timeout: 1 }))
  await until(async () => {
    const [row] = await follower`select count(*)::int as count from "Token" where "userId" = 'alice'`
    return row!.count === REVOKED
  })
  const env = { LOOKUP_TIMEOUT_MS: '1000', ...trust }
  const options = { databaseUrl: primary.url, target: backend.url, env }
  const gateways = await startFaultGateways(kinds, options, () => {})
  t.teardown(() => Promise.all(gateways.map((gateway) => gateway.stop())))
  const status = async (gateway: FaultGateway, cookie = good) =>
    (await ask({ url: gateway.url, agent, headers: { cookie } })).status
  await Promise.all(gateways.map((gateway) => until(async () => (await status(gateway)) === 200)))
  await openConnections(t, primary.url, () => gateways.map((gateway) => status(gateway)))
  return { primary, relay, standby, follower, gateways, status, revoked }
}

/** While the table is locked each request needs another connection. Afterwards these are idle. */
async function openConnections(
  t: Test,
  databaseUrl: string,
  askAll: () => readonly Promise<number>[],
): Promise<void> {
  const locker = postgres(databaseUrl, { max: 2, onnotice: () => {} })
  const asked: Promise<number>[] = []
  for (let n = 0; n < 3; n++) {
    await locker.begin(async (tx) => {
      await tx`lock table "Token" in access exclusive mode`
      // Shorter than the deadline, after which the connections would be closed.
      const end = performance.now() + LOCKED_MS
      while (performance.now() < end) {
        asked.push(...askAll())
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })
    await Promise.all(asked.splice(0))
  }
  const rows = await locker`
    select usename as role, count(*)::int as count from pg_stat_activity
    where application_name = 'poweron-gateway' group by usename`
  t.comment(`idle: ${rows.map(({ role, count }) => `${role} ${count}`).join(', ')}`)
  await locker.end()
}

type Scene = Awaited<ReturnType<typeof startScene>>

/** @returns the time at which it was done */
async function failOver({ primary, relay, standby, follower, gateways, status }: Scene): Promise<number> {
  primary.freeze()
  await Promise.all(gateways.map((gateway) => until(async () => (await status(gateway)) === 503)))
  await follower`select pg_promote()`
  relay.switchTo(standby.port)
  return performance.now()
}

const revoke = ({ follower }: Scene) =>
  follower`update "Token" set status = 'REVOKED' where "userId" = 'alice'`

/** Sends every revoked token to every gateway, in the first seconds after the old primary wakes. */
async function admissions({ gateways, status, revoked }: Scene): Promise<string[]> {
  const admitted: string[] = []
  const end = performance.now() + 1500
  do {
    for (const gateway of gateways) {
      const all = await Promise.all(revoked.map((cookie) => status(gateway, cookie)))
      const count = all.filter((each) => each === 200).length
      if (count > 0) admitted.push(`${count} of ${REVOKED} by ${gateway.kind.role}`)
    }
  } while (performance.now() < end)
  return admitted
}

t.test('attack: an old primary that wakes admits no token that was revoked meanwhile', async (t) => {
  const scene = await startScene(t)
  await failOver(scene)
  await revoke(scene)
  scene.primary.thaw()
  t.same(await admissions(scene), [])
  for (const gateway of scene.gateways) gateway.checkProcesses(t)
})

t.test('with many idle connections the gateway follows the new primary within seconds', async (t) => {
  const scene = await startScene(t)
  const promoted = await failOver(scene)
  await Promise.all(
    scene.gateways.map(async (gateway) => {
      await until(async () => (await scene.status(gateway)) === 200, 30_000)
      const ms = Math.round(performance.now() - promoted)
      t.ok(ms < RECOVERS_WITHIN_MS, `${gateway.kind.role} was good after ${ms} ms`)
    }),
  )
  await revoke(scene)
  scene.primary.thaw()
  t.same(await admissions(scene), [], 'and an old primary that wakes later admits nobody')
  for (const gateway of scene.gateways) {
    await until(async () => (await scene.status(gateway)) === 200, RECOVERS_WITHIN_MS)
    gateway.checkProcesses(t)
  }
})
