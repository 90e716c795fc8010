import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import t from 'tap'
import { COVERING_KINDS, databaseCertificate } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, startStandby, TOKEN_DDL } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

t.test('with two hosts the gateway finds the primary, and the new one after a failover', async (t) => {
  const [first, second, upstream] = await Promise.all([
    startPostgres(),
    startPostgres(),
    startRecordingUpstream(),
  ])
  t.teardown(() => Promise.all([first.close(), second.close(), upstream.close()]))
  let tokenId = ''
  for (const server of [first, second]) {
    const sql = postgres(server.url, { max: 1, onnotice: () => {} })
    await sql.unsafe(TOKEN_DDL)
    tokenId = (await insertToken(sql, tokenId === '' ? {} : { id: tokenId })).id
    await sql.end()
  }
  const signal = join(first.cluster, 'standby.signal')
  await first.stop()
  await writeFile(signal, '')
  await first.start()
  const gateway = await startGateway({
    databaseUrl: `postgres://gateway@127.0.0.1:${first.port},127.0.0.1:${second.port}/postgres`,
    routing: { upstreams: { main: { targets: [upstream.url] } }, routes: [{ path: '/', upstream: 'main' }] },
    env: { LOOKUP_TIMEOUT_MS: '500' },
  })
  t.teardown(() => gateway.stop())
  const cookie = `auth_token=${await signToken({ claims: { jti: tokenId, exp: inSeconds(600) } })}`
  const status = async () => (await ask({ url: gateway.url, headers: { cookie } })).status
  await until(async () => (await status()) === 200)
  for (let i = 0; i < 20; i++) t.equal(await status(), 200, 'once found, it is kept')

  await second.stop('immediate')
  t.equal(await status(), 503, 'a standby admits nobody')
  await first.stop()
  await rm(signal)
  await first.start()
  const promoted = performance.now()
  await until(async () => (await status()) === 200)
  t.ok(performance.now() - promoted < 2000)
  await until(async () => (await ask({ url: `${gateway.url}/-/readyz` })).status === 200)
})

t.test('after the promotion of a standby the gateway follows, and no session is lost', async (t) => {
  const { tls, trust } = databaseCertificate(t)
  const primary = await startPostgres({ tls })
  t.teardown(() => primary.close())
  const standby = await startStandby(primary, { tls })
  t.teardown(() => standby.close())
  const stage = await startFaultStage(primary, {
    kinds: COVERING_KINDS.map((kind) => ({
      ...kind,
      urlOf: (url: string) => url.replace(`:${primary.port}/`, `:${primary.port},127.0.0.1:${standby.port}/`),
    })),
    env: { REVOCATION_CHANNEL: 'revoked', ...trust },
  })
  t.teardown(() => stage.close())
  const follower = postgres(standby.url, { max: 1, onnotice: () => {} })
  await stage.stands(t, {
    async breaks() {
      await primary.freeze()
      await until(stage.isDown)
      await primary.kill9()
    },
    mends: () => follower`select pg_promote()`,
  })
  await follower.end()
})
