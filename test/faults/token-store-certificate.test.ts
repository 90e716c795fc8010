import { chownSync, copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway } from '../support/gateway.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

const server = await startPostgres()
const url = await server.createDatabase()
const authority = createAuthority(t, 'database authority')
const { certFile, keyFile } = authority.issue('database', ['IP:127.0.0.1'])
const folder = mkdtempSync(join(tmpdir(), 'gateway-tls-'))
const [cert, key] = [join(folder, 'server.pem'), join(folder, 'server.key')]
copyFileSync(certFile, cert)
copyFileSync(keyFile, key)
const { uid, gid } = statSync(server.cluster)
for (const path of [folder, cert, key]) chownSync(path, uid, gid)
t.teardown(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

const routing = {
  upstreams: { app: { targets: ['http://127.0.0.1:1'] } },
  routes: [{ path: '/', upstream: 'app' }],
}
const start = (env: Readonly<Record<string, string>> = {}) =>
  startGateway({ databaseUrl: `${url}?sslmode=verify-full`, routing, env })

t.test(
  'for a database certificate of an untrusted authority the log names the setting that trusts it',
  async (t) => {
    const admin = postgres(server.url, { max: 1, onnotice: () => {} })
    await admin.unsafe(`alter system set ssl_cert_file = '${cert}'`)
    await admin.unsafe(`alter system set ssl_key_file = '${key}'`)
    await admin.unsafe(`alter system set ssl = on`)
    await admin`select pg_reload_conf()`
    await admin.end()
    const gateway = await start()
    t.teardown(() => gateway.stop())
    const admins = async () => (await fetch(`http://127.0.0.1:${gateway.adminPort}/readyz`)).text()
    await until(async () => /NODE_EXTRA_CA_CERTS to a PEM file/.test(await admins()))
    t.match(await gateway.line(({ msg }) => msg === 'the token store is unavailable'), {
      level: 'error',
      code: /CERT|VERIFY/,
      cause: /NODE_EXTRA_CA_CERTS/,
    })
    const outside = await fetch(`${gateway.url}/-/readyz`)
    t.same(await outside.json(), { status: 'not ready', reasons: ['token_store'] })
  },
)

t.test('with the setting that the log names the gateway becomes ready', async (t) => {
  const gateway = await start({ NODE_EXTRA_CA_CERTS: authority.certFile })
  t.teardown(() => gateway.stop())
  await until(async () => (await fetch(`${gateway.url}/-/readyz`)).status === 200)
})
