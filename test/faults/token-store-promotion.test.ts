import postgres from 'postgres'
import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { startHoldingRelay } from '../support/holding-relay.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

/**
 * The attack: a lagging standby is promoted in the middle of a statement. The snapshot of the statement is from Bind,
 * before the revocation; `pg_is_in_recovery()` is evaluated at Execute, when the server is the primary.
 */
t.test('attack: a promotion between Bind and Execute admits no revoked token', async (t) => {
  const primary = await startPostgres()
  t.teardown(() => primary.close())
  const standby = await startStandby(primary)
  t.teardown(() => standby.close())
  const upstream = await startRecordingUpstream()
  t.teardown(() => upstream.close())
  const databaseUrl = await primary.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const { id } = await insertToken(sql)
  const cookieOf = async (jti: string) =>
    `auth_token=${await signToken({ claims: { jti, exp: inSeconds(600) } })}`
  const [revoked, good] = [await cookieOf(id), await cookieOf((await insertToken(sql)).id)]
  const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
  await until(async () => (await follower`select from "Token"`.catch(() => [])).length === 2)

  // The first lock holds the look-up of the token, the second the first statement of a connection.
  const relays = await Promise.all([startHoldingRelay(standby.port), startHoldingRelay(standby.port)])
  const gateways = await Promise.all(
    relays.map((relay) =>
      startGateway({
        databaseUrl: databaseUrl.replace(`:${primary.port}/`, `:${relay.port}/`),
        routing: {
          upstreams: { app: { targets: [upstream.url] } },
          routes: [{ path: '/', upstream: 'app' }],
        },
        env: { LOOKUP_TIMEOUT_MS: '20000' },
      }),
    ),
  )
  t.teardown(async () => {
    await Promise.all(gateways.map((gateway) => gateway.stop()))
    for (const relay of relays) relay.close()
    await Promise.all([sql.end({ timeout: 1 }), follower.end({ timeout: 1 })])
  })
  const send = async (n: number, cookie: string) =>
    (await ask({ url: gateways[n]!.url, headers: { cookie } })).status
  t.same(await Promise.all([send(0, good), send(1, good)]), [503, 503], 'a standby admits nobody')

  await follower`select pg_wal_replay_pause()`
  await sql`update "Token" set status = 'REVOKED' where id = ${id}`
  const [at] = await sql`select pg_current_wal_flush_lsn()::text as lsn`
  await until(async () => {
    const [row] = await follower`select pg_last_wal_receive_lsn() >= ${at!.lsn}::pg_lsn as received`
    return row!.received
  })
  t.equal((await follower`select status from "Token" where id = ${id}`)[0]!.status, 'ACTIVE', 'it lags')

  relays[0].hold((bind) => bind.includes(id))
  relays[1].hold(() => true)
  const answers = [send(0, revoked), send(1, revoked)]
  // A gateway that only asks a standby whether it is one has answered by now.
  await Promise.all(relays.map((relay, n) => Promise.race([relay.held, answers[n]])))
  await follower`select pg_promote()`
  for (const relay of relays) relay.release()

  for (const [n, answer] of answers.entries()) t.not(await answer, 200, `gateway ${n}`)
  for (const n of [0, 1]) {
    await until(async () => (await send(n, good)) === 200)
    t.equal(await send(n, revoked), 401)
  }
})
