import { once } from 'node:events'
import postgres from 'postgres'
import t from 'tap'
import { WebSocket } from 'ws'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { startEchoUpstream } from '../../gateway/dev/echo-upstream.ts'
import { createRevocationListener } from '../../gateway/streams/revocation-listener.ts'
import { startGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const LISTENER = 'poweron-gateway-listen'
const pg = await startPostgres()
// Without the trigger: a revocation alone sends no notice.
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 1, onnotice: () => {}, backoff: () => 0.1 })
const echo = await startEchoUpstream({ host: '127.0.0.1', port: 0 })
const gateway = await startGateway({
  databaseUrl,
  routing: { upstreams: { echo: { targets: [echo.url] } }, routes: [{ path: '/', upstream: 'echo' }] },
  env: {
    REVOCATION_CHANNEL: 'revoked',
    STREAM_RECHECK_MS: '0',
    STREAM_FAULT_GRACE_MS: '60000',
    ACCESS_LOG: 'off',
  },
})
t.teardown(async () => {
  await gateway.stop()
  await echo.close()
  await sql.end({ timeout: 1 })
  await pg.close()
})

async function openStream() {
  const { id } = await insertToken(sql)
  const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}`
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, { headers: { cookie } })
  await once(socket, 'open')
  const closed = once(socket, 'close')
  return { id, socket, closed }
}

const listeners = async () =>
  (await sql`select pid from pg_stat_activity where application_name = ${LISTENER} and query ilike 'listen%'`)
    .length
const revoke = (id: string) => sql`update "Token" set status = 'REVOKED' where id = ${id}`
const notify = (id: string) => sql`select pg_notify('revoked', ${id})`

await until(async () => (await listeners()) === 1)

t.test(
  'when the listening connection is lost another one listens, and open exchanges are looked up again',
  async (t) => {
    const missed = await openStream()
    const kept = await openStream()
    await revoke(missed.id)
    t.equal(missed.socket.readyState, WebSocket.OPEN, 'the gateway got no notification')
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where application_name = ${LISTENER}`
    await missed.closed
    t.equal(kept.socket.readyState, WebSocket.OPEN)
    await until(async () => (await listeners()) === 1)
    await notify(kept.id)
    await kept.closed
  },
)

t.test('after a longer outage notifications are received again, and no stream was closed', async (t) => {
  const missed = await openStream()
  const kept = await openStream()
  await revoke(missed.id)
  await pg.stop('immediate')
  await until(async () => (await gateway.metric('gateway_token_store_up')) === 0)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(missed.socket.readyState, WebSocket.OPEN, 'a fault closes nothing before its grace is over')
  await pg.start()
  await missed.closed
  t.equal(kept.socket.readyState, WebSocket.OPEN)
  await notify(kept.id)
  await kept.closed
  t.equal(await gateway.metric('gateway_streams_closed_total{reason="fault"}'), 0)
})

t.test('after the database was frozen notifications are received again', async () => {
  const stream = await openStream()
  pg.freeze()
  await until(async () => (await gateway.metric('gateway_token_store_up')) === 0)
  pg.thaw()
  await until(async () => (await gateway.metric('gateway_token_store_up')) === 1)
  await notify(stream.id)
  await stream.closed
})

t.test('after a start without a database each notification is handled once', async (t) => {
  const own = await startPostgres()
  t.teardown(() => own.close())
  await own.stop()
  const received: string[] = []
  let faults = 0
  let listens = 0
  const listener = createRevocationListener({
    databaseUrl: own.url,
    channel: 'revoked',
    scheduler: systemScheduler,
    timeoutMs: 1000,
    onToken: (id) => received.push(id),
    onListening: () => listens++,
    onFault: () => faults++,
  })
  t.teardown(() => listener.close())
  await until(() => faults >= 4)
  await own.start()
  await until(() => listens > 0)
  const admin = postgres(own.url, { max: 1 })
  t.teardown(() => admin.end())
  await admin`select pg_notify('revoked', 'one')`
  await admin`select pg_notify('revoked', 'two')`
  await until(() => received.includes('two'))
  t.same(received, ['one', 'two'])
  t.equal(listens, 1)
})

t.test('notifications are received with every form of DATABASE_URL that look-ups accept', async (t) => {
  const own = await startPostgres({
    settings: [`listen_addresses=127.0.0.1,::1`, `unix_socket_directories=/tmp`],
  })
  t.teardown(() => own.close())
  const admin = postgres(own.url, { max: 1 })
  t.teardown(() => admin.end())
  for (const host of [
    `[::1]:${own.port}`,
    `%2Ftmp:${own.port}`,
    `127.0.0.1:1,[::1]:${own.port}`,
    `127.0.0.1:${own.port}`,
  ]) {
    const received = Promise.withResolvers<string>()
    const listening = Promise.withResolvers<void>()
    const listener = createRevocationListener({
      databaseUrl: `postgres://gateway@${host}/postgres`,
      channel: 'revoked',
      scheduler: systemScheduler,
      timeoutMs: 1000,
      onToken: received.resolve,
      onListening: listening.resolve,
      onFault: () => {},
    })
    await listening.promise
    await admin`select pg_notify('revoked', ${host})`
    t.equal(await received.promise, host)
    await listener.close()
  }
})
