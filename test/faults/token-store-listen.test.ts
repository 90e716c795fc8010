import { once } from 'node:events'
import postgres from 'postgres'
import t from 'tap'
import { WebSocket } from 'ws'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { fillDatabase } from '../support/fault-data.ts'
import { databaseCertificate, type FaultGateway, startFaultGateways } from '../support/fault-gateways.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby } from '../support/postgres.ts'
import { startSwitchingRelay } from '../support/switching-relay.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/** The connection that LISTENs is always idle, so no deadline of a look-up shows that its server is silent. */
const CHANNEL = 'Auth.Revoked'
/** A silent server is noticed within five seconds; a busy machine needs longer. */
const HEARD_WITHIN_MS = 15_000
const { tls, trust } = databaseCertificate(t)
const primary = await startPostgres({ tls })
const standby = await startStandby(primary, { tls })
const relay = await startSwitchingRelay(primary.port)
const databaseUrl = await primary.createDatabase()
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const urlOf = (url: string) => url.replace(`:${primary.port}/`, `:${relay.port}/`)
const kinds = [
  { role: 'app_plain', sslmode: 'disable', workers: 2, urlOf },
  { role: 'app_verify', sslmode: 'verify-full', workers: 1, urlOf },
] as const
await fillDatabase(
  databaseUrl,
  kinds.map(({ role }) => role),
)
async function closeServers(): Promise<void> {
  await echo.close()
  relay.close()
  await standby.close()
  await primary.close()
}

const gateways = await startFaultGateways(
  kinds,
  {
    databaseUrl,
    target: echo.url,
    env: { LOOKUP_TIMEOUT_MS: '2000', REVOCATION_CHANNEL: CHANNEL, STREAM_RECHECK_MS: '0', ...trust },
  },
  closeServers,
)
t.teardown(async () => {
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  await closeServers()
})

interface Stream {
  readonly id: string
  readonly socket: WebSocket
}

const isClosed = ({ socket }: Stream) => socket.readyState === WebSocket.CLOSED

async function openStream(sql: postgres.Sql, gateway: FaultGateway): Promise<Stream> {
  const { id } = await insertToken(sql)
  const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}`
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, { headers: { cookie } })
  socket.on('error', () => {})
  await once(socket, 'open')
  return { id, socket }
}

/** Notifies repeatedly until all gateways have received it, since the test cannot see when each of them listens. */
async function notifyUntilClosed(sql: postgres.Sql, streams: readonly Stream[]): Promise<void> {
  await until(async () => {
    for (const { id } of streams) await sql`select pg_notify(${CHANNEL}, ${id})`
    return streams.every(isClosed)
  })
}

t.test('a channel with capitals and a dot in its name works', async (t) => {
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  t.teardown(() => sql.end({ timeout: 1 }))
  const streams = await Promise.all(gateways.map((gateway) => openStream(sql, gateway)))
  await notifyUntilClosed(sql, streams)
})

t.test(
  'after a silent server is replaced, missed revocations are looked up, and notifications arrive again',
  async (t) => {
    const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
    const missed = await Promise.all(
      gateways.flatMap((gateway) => [1, 2].map(() => openStream(sql, gateway))),
    )
    const kept = await Promise.all(gateways.flatMap((gateway) => [1, 2].map(() => openStream(sql, gateway))))
    const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
    t.teardown(() => Promise.all([sql.end({ timeout: 0 }), follower.end({ timeout: 1 })]))
    const ids = [...missed, ...kept].map(({ id }) => id)
    await until(
      async () => (await follower`select from "Token" where id in ${follower(ids)}`).length === ids.length,
    )
    primary.freeze()
    await follower`select pg_promote()`
    relay.switchTo(standby.port)
    const switched = performance.now()
    await follower`update "Token" set status = 'REVOKED' where id in ${follower(missed.map(({ id }) => id))}`
    await until(() => missed.every(isClosed), 30_000)
    const ms = Math.round(performance.now() - switched)
    t.ok(ms < HEARD_WITHIN_MS, `after ${ms} ms`)
    t.notOk(kept.some(isClosed), 'a fault closes nothing else')
    await notifyUntilClosed(follower, kept)
    for (const gateway of gateways) gateway.checkProcesses(t)
  },
)
