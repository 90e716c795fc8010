import { chownSync, copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { systemScheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase } from '../../gateway/database/database.ts'
import { createAuthority } from '../support/certificates.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

const DEADLINE_MS = 5000
const ENCRYPTED = {
  text: 'select ssl, pg_backend_pid() from pg_stat_ssl where pid = pg_backend_pid()',
  parameters: [],
}

const server = await startPostgres()
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
const authority = createAuthority(t, 'database authority')
t.teardown(async () => {
  await admin.end({ timeout: 1 })
  await server.close()
})

/** Gives the server a certificate for these names. */
async function certify(t: Test, names: readonly string[]): Promise<void> {
  const { certFile, keyFile } = authority.issue(names.join(' '), names)
  const folder = mkdtempSync(join(tmpdir(), 'gateway-tls-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const { uid, gid } = statSync(server.cluster)
  const [cert, key] = [join(folder, 'server.pem'), join(folder, 'server.key')]
  copyFileSync(certFile, cert)
  copyFileSync(keyFile, key)
  for (const path of [folder, cert, key]) chownSync(path, uid, gid)
  await admin.unsafe(`alter system set ssl_cert_file = '${cert}'`)
  await admin.unsafe(`alter system set ssl_key_file = '${key}'`)
  await admin.unsafe(`alter system set ssl = on`)
  await admin`select pg_reload_conf()`
  await until(async () => {
    const probe = postgres(server.url, { max: 1, ssl: 'require', onnotice: () => {} })
    return probe`select 1`.then(Boolean, () => false).finally(() => probe.end())
  })
}

function open(t: Test, sslmode: string, host = '127.0.0.1') {
  const url = `postgres://gateway@${host}:${server.port}/postgres?sslmode=${sslmode}`
  const database = createDatabase({ url, connections: 1, prepare: true, scheduler: systemScheduler })
  t.teardown(() => database.close())
  return database
}

const encrypted = async (database: ReturnType<typeof open>) =>
  (await database.query(ENCRYPTED, DEADLINE_MS))[0]?.[0]

t.test(
  'sslmode=require against a server without TLS fails, and does not fall back to plain text',
  async (t) => {
    await t.rejects(encrypted(open(t, 'require')), { name: 'DatabaseError' })
    t.equal(await encrypted(open(t, 'prefer')), false)
    t.equal(await encrypted(open(t, 'disable')), false)
  },
)

t.test('with TLS at the server', async (t) => {
  await certify(t, ['IP:127.0.0.1'])

  await t.test(
    'sslmode=require and prefer encrypt, disable does not, and a new connection is encrypted again',
    async (t) => {
      t.equal(await encrypted(open(t, 'prefer')), true)
      t.equal(await encrypted(open(t, 'disable')), false)
      const database = open(t, 'require')
      const [[, before]] = (await database.query(ENCRYPTED, DEADLINE_MS)) as [[boolean, number]]
      await admin`select pg_terminate_backend(${before})`
      await until(() => encrypted(database).catch(() => false) as Promise<boolean>)
    },
  )

  await t.test('sslmode=verify-full refuses a certificate of an unknown authority', (t) =>
    t.rejects(encrypted(open(t, 'verify-full')), { code: /SELF_SIGNED|UNABLE_TO_VERIFY/ }),
  )

  const trusted = getCACertificates('default')
  setDefaultCACertificates([...trusted, authority.cert.toString()])
  t.teardown(() => setDefaultCACertificates(trusted))

  await t.test('sslmode=verify-full accepts a certificate for the address in the URL', async (t) => {
    t.equal(await encrypted(open(t, 'verify-full')), true)
  })

  await t.test('sslmode=verify-full refuses a certificate for another name', async (t) => {
    await t.rejects(encrypted(open(t, 'verify-full', 'localhost')), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
    await certify(t, ['DNS:localhost'])
    t.equal(await encrypted(open(t, 'verify-full', 'localhost')), true)
    t.equal(await encrypted(open(t, 'verify-ca')), true, 'verify-ca does not check the name')
    await t.rejects(encrypted(open(t, 'verify-full')), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  })
})
