import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import postgres from 'postgres'
import t from 'tap'
import { Agent, request } from 'undici'
import { createAuthority } from '../support/certificates.ts'
import { startGateway } from '../support/gateway.ts'
import { createNightWatch, type Symptom, statusOf } from '../support/night-watch.ts'
import { NO_DATABASE, plainRouting, until } from '../support/plain-gateway.ts'
import { insertToken, SCRAM_HBA, startPostgres } from '../support/postgres.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'
import { inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'

const authority = createAuthority(t, 'the edge authority')
const pair = authority.issue('edge', ['DNS:localhost'])
const keyFile = join(t.testdir({ key: `${TEST_SECRET}\n` }), 'key')
const server = await startPostgres({ hba: SCRAM_HBA })
const databaseUrl = await server.createDatabase()
const admin = postgres(databaseUrl, { max: 3, onnotice: () => {}, backoff: () => 0.05 })
await admin.unsafe(`create role app login password 'right'; grant select on "Token" to app`)
const { id } = await insertToken(admin)
const cookie = `auth_token=${await signToken({ claims: { jti: id, exp: inSeconds(3600) } })}`
const [stays, dies, sole, hangs] = await Promise.all([
  startRawBackend(({ socket }) => void socket.write(OK)),
  startRawBackend(({ socket }) => void socket.write(OK)),
  startRawBackend(({ socket }) => void socket.write(OK)),
  startRawBackend(() => {}),
])
const gateway = await startGateway({
  databaseUrl: databaseUrl.replace('//gateway@', '//app:right@'),
  routing: {
    upstreams: {
      pair: { targets: [stays.url, dies.url] },
      sole: { targets: [sole.url] },
      hangs: { targets: [hangs.url] },
    },
    routes: [
      { path: '/', upstream: 'pair' },
      { path: '/sole', upstream: 'sole', auth: 'none' },
      { path: '/hangs', upstream: 'hangs', auth: 'none' },
    ],
  },
  env: {
    ACCESS_LOG: 'off',
    JWT_SECRET: '',
    JWT_SECRET_FILE: keyFile,
    LOOKUP_TIMEOUT_MS: '500',
    TLS_CERT_FILE: pair.certFile,
    TLS_KEY_FILE: pair.keyFile,
  },
})
const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })
const visiting = setInterval(() => {
  for (const path of ['/', '/', '/sole']) void visit(path)
}, 250)
t.teardown(async () => {
  clearInterval(visiting)
  await gateway.stop()
  await dispatcher.destroy()
  await admin.end({ timeout: 1 })
  await Promise.all([server.close(), stays.close(), dies.close(), sole.close(), hangs.close()])
})

async function visit(path: string): Promise<number> {
  try {
    const answer = await request(`https://127.0.0.1:${gateway.port}${path}`, {
      dispatcher,
      headers: { cookie },
    })
    await answer.body.dump()
    return answer.statusCode
  } catch {
    return 0
  }
}

const isFound = createNightWatch(gateway, dispatcher)

/** Also a connection that was on its way when the role was changed has to end. */
async function alterRole(change: string): Promise<void> {
  await admin.unsafe(`alter role app ${change}`)
  await until(async () => {
    await admin`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'app'`
    return (await visit('/')) === 503
  })
}

let unlock = () => {}

/**
 * Each of them takes the table away, and is mended before the next one. Their log lines are those of one outage, since
 * they follow each other within seconds; test/faults/token-store-fault-texts.test.ts has each alone.
 */
const DATABASE: readonly Pick<Symptom, 'title' | 'breaks' | 'mends' | 'told'>[] = [
  {
    title: 'the database is stopped',
    breaks: () => server.stop(),
    mends: () => server.start(),
    told: /nothing accepts connections .*start the database server/,
  },
  {
    title: 'the database is frozen',
    breaks: () => server.freeze(),
    mends: () => server.thaw(),
    told: /does not answer at all/,
  },
  {
    title: 'the table is locked',
    breaks: () =>
      void admin.begin(async (sql) => {
        await sql`lock table "Token"`
        await new Promise<void>((resolve) => {
          unlock = resolve
        })
      }),
    mends: () => unlock(),
    told: /is locked .*pg_terminate_backend\(\d+\)/,
  },
  {
    title: 'there are no slots',
    breaks: () => alterRole('connection limit 0'),
    mends: () => admin.unsafe('alter role app connection limit -1'),
    told: /no free connection slot .*raise the limit/,
  },
  {
    title: 'the password is wrong',
    breaks: () => alterRole(`password 'another one'`),
    mends: () => admin.unsafe(`alter role app password 'right'`),
    told: /does not accept the password .*correct the password/,
  },
  {
    title: 'a grant is missing',
    breaks: () => admin.unsafe('revoke select on "Token" from app'),
    mends: () => admin.unsafe('grant select on "Token" to app'),
    told: /may not SELECT the columns .*expected GRANT SELECT/,
  },
]

for (const each of DATABASE) {
  t.test(`found within a minute: ${each.title}`, async (t) => {
    await until(async () => (await visit('/')) === 200)
    const from = gateway.lines.length
    await each.breaks()
    await isFound(
      t,
      {
        severity: 'red',
        section: 'GatewayTokenStoreDown',
        metric: ['gateway_token_store_up', 0],
        reason: 'token_store',
        ...each,
      },
      from,
    )
    await each.mends?.()
  })
}

/** They do not touch each other, and happen at once. */
const OTHERS: readonly Symptom[] = [
  {
    title: 'one of two backends is dead, and the other one gets its requests',
    breaks: () => dies.close(),
    severity: 'amber',
    section: 'GatewayUpstreamFailing',
    told: /^1 of 2 targets of pair does not answer/,
    line: /^the target failed$/,
  },
  {
    title: 'the sole backend is dead',
    breaks: () => sole.close(),
    severity: 'red',
    section: 'GatewayUpstreamFailing',
    told: /^sole does not answer/,
    line: /^the target failed$/,
  },
  {
    title: 'a backend is slow',
    breaks() {
      for (let n = 0; n < 3; n++) void visit('/hangs')
    },
    severity: 'amber',
    section: 'GatewayUpstreamSlow',
    told: /^hangs is slow.* wait now/,
  },
  {
    title: 'a certificate does not fit',
    breaks: () => writeFileSync(pair.certFile, authority.cert),
    severity: 'amber',
    section: 'GatewayCertificateRefused',
    told: /cannot be used.*stays in force, until .* UTC.*do not make a usable pair/,
    metric: [`gateway_tls_certificate_file_usable{file="${pair.certFile}"}`, 0],
    line: /^the new certificate is not usable/,
  },
  {
    title: 'the routing file is broken',
    breaks: () => writeFileSync(gateway.upstreamsFile, '{ "upstreams": {} }'),
    severity: 'amber',
    section: 'GatewayConfigReloadFailed',
    told: /Line 1, column 1: /,
    metric: ['gateway_config_last_reload_successful', 0],
    line: /^the routing file is not usable/,
  },
  {
    title: 'the new key is too short',
    breaks: () => writeFileSync(keyFile, 'short\n'),
    severity: 'amber',
    section: 'GatewayKeysNotLoaded',
    told: /has 5 bytes; expected at least 32/,
    metric: ['gateway_keys_last_load_successful', 0],
    line: /^the key file has changed and is not usable/,
  },
]

t.test('found within a minute, all at once', async (t) => {
  await until(async () => (await visit('/')) === 200)
  const from = gateway.lines.length
  await Promise.all(OTHERS.map(({ breaks }) => breaks()))
  for (const symptom of OTHERS) await t.test(symptom.title, (t) => isFound(t, symptom, from))
  await t.test('the key is wrong, though tokens were good a moment ago', async (t) => {
    writeFileSync(keyFile, 'another secret, which signs nothing, but is long\n')
    const told = /^Every token is refused since \d\d:\d\d:\d\d UTC.*most as token_invalid: .*another key/
    await isFound(t, { title: '', breaks() {}, severity: 'red', section: 'GatewayTokensInvalid', told }, from)
  })
})

t.test('found at the start: the certificate has expired', async (t) => {
  const { certFile, keyFile } = authority.issue('expired', ['DNS:localhost'], -1)
  const started = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: plainRouting([stays.url]),
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  t.teardown(() => started.stop())
  t.match(await started.line(({ msg }) => msg.startsWith('the certificate has expired')), { level: 'error' })
  const { problems } = await statusOf(started)
  t.match(
    problems.find(({ section }) => section === 'GatewayCertificateExpired'),
    { severity: 'red', detail: /^It ended on \d+ \w+ \d{4}, \d\d:\d\d UTC/ },
  )
})
