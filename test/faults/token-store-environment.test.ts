import postgres from 'postgres'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, TOKEN_DDL } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import { startRecordingUpstream } from '../support/upstream.ts'

/** DATABASE_URL alone defines which server the gateway uses, and which certificates it trusts. */
const authority = createAuthority(t, 'trusted authority')
const stranger = createAuthority(t, 'strange authority')
const NAMES = ['IP:127.0.0.1']
const server = await startPostgres({ tls: authority.issue('database', NAMES) })
const impostor = await startPostgres({ tls: stranger.issue('impostor', NAMES) })
const misnamed = await startPostgres({ tls: authority.issue('misnamed', ['DNS:elsewhere.example']) })
const upstream = await startRecordingUpstream()
t.teardown(async () => {
  await upstream.close()
  await Promise.all([server.close(), impostor.close(), misnamed.close()])
})
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
t.teardown(() => admin.end({ timeout: 1 }))
// A URL without a database means the database with the name of the user, as in libpq.
await admin.unsafe('create database gateway')
let tokenId = ''
for (const url of [
  server.url,
  `postgres://gateway@127.0.0.1:${server.port}/gateway`,
  impostor.url,
  misnamed.url,
]) {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  await sql.unsafe(TOKEN_DDL)
  tokenId = (await insertToken(sql, tokenId === '' ? {} : { id: tokenId })).id
  await sql.end()
}
const cookie = `auth_token=${await signToken({ claims: { jti: tokenId, exp: inSeconds(600) } })}`
const trust = { NODE_EXTRA_CA_CERTS: authority.certFile }
const status = async ({ url }: TestGateway) => (await ask({ url, headers: { cookie } })).status

function start(databaseUrl: string, env: Readonly<Record<string, string>>): Promise<TestGateway> {
  return startGateway({
    databaseUrl,
    routing: { upstreams: { app: { targets: [upstream.url] } }, routes: [{ path: '/', upstream: 'app' }] },
    env: { LOOKUP_TIMEOUT_MS: '1000', REVOCATION_CHANNEL: 'revoked', SESSION_ENDPOINTS: 'on', ...env },
  })
}

const MISLEADING = {
  PGHOST: '127.0.0.9',
  PGHOSTADDR: '127.0.0.9',
  PGPORT: '1',
  PGUSER: 'nobody',
  PGUSERNAME: 'nobody',
  PGPASSWORD: 'wrong',
  PGPASS: 'wrong',
  PGDATABASE: 'nowhere',
  PGTARGETSESSIONATTRS: 'standby',
  PGSSLMODE: 'disable',
  PGOPTIONS: '-c default_transaction_read_only=on',
  PGAPPNAME: 'another',
  PGSERVICE: 'another',
  PGPASSFILE: '/nowhere',
  PGTZ: 'Asia/Tokyo',
  PGCLIENTENCODING: 'LATIN1',
  PGCONNECT_TIMEOUT: '0',
  PGMAX_LIFETIME: '1',
  PGIDLE_TIMEOUT: '1',
  PGBACKOFF: 'false',
  PGMAX: '50',
  PGPREPARE: 'false',
  PGSSL: 'false',
}

t.test('variables of libpq in the environment change nothing', async (t) => {
  const gateway = await start(`${server.url}?sslmode=verify-full`, { ...trust, ...MISLEADING })
  t.teardown(() => gateway.stop())
  await until(async () => (await status(gateway)) === 200)
  const names = async () =>
    (
      await admin`
        select distinct application_name as name, usename as role, datname as database, ssl
        from pg_stat_activity join pg_stat_ssl using (pid)
        where backend_type = 'client backend' and pid <> pg_backend_pid() order by 1`
    ).map((row) => ({ ...row }))
  await until(async () => (await names()).length >= 2)
  const same = { role: 'gateway', database: 'postgres', ssl: true }
  for (const row of await names()) t.match(row, { name: /^poweron-gateway/, ...same })
  t.equal(await status(gateway), 200)
})

for (const [what, url] of [
  ['a database', `postgres://gateway@127.0.0.1:${server.port}`],
  ['a password', `postgres://gateway@127.0.0.1:${server.port}/postgres`],
] as const) {
  t.test(`a URL without ${what} means the same with any variables of libpq`, async (t) => {
    const outcomes: unknown[] = []
    for (const env of [{}, MISLEADING]) {
      const gateway = await start(url, env).catch((error: Error) =>
        error.message.replace(/\d{4}-\S+Z/g, 'TIME'),
      )
      if (typeof gateway === 'string') {
        outcomes.push(gateway)
        continue
      }
      t.teardown(() => gateway.stop())
      await until(async () => (await status(gateway)) === 200, 3000).catch(() => {})
      outcomes.push(await status(gateway))
    }
    t.equal(outcomes[1], outcomes[0])
  })
}

for (const [sslmode, whom, port] of [
  ['verify-full', 'an authority that nobody trusts', impostor.port],
  ['verify-ca', 'an authority that nobody trusts', impostor.port],
  ['verify-full', "another server's name", misnamed.port],
] as const) {
  t.test(`NODE_TLS_REJECT_UNAUTHORIZED=0 does not let sslmode=${sslmode} accept ${whom}`, async (t) => {
    const gateway = await start(`postgres://gateway@127.0.0.1:${port}/postgres?sslmode=${sslmode}`, {
      ...trust,
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
    })
    t.teardown(() => gateway.stop())
    for (let n = 0; n < 5; n++) t.equal(await status(gateway), 503)
    t.equal((await ask({ url: `${gateway.url}/-/readyz` })).status, 503)
    const [there] = [impostor, misnamed].filter((each) => each.port === port)
    const sql = postgres(there!.url, { max: 1, onnotice: () => {} })
    const rows = await sql`select from pg_stat_activity where application_name like 'poweron-gateway%'`
    await sql.end()
    t.equal(rows.length, 0, 'not even the listener has connected')
  })
}
