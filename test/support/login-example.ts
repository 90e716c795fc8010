import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import type { Test } from 'tap'
import { createAuthority } from './certificates.ts'
import { startGateway, type TestGateway } from './gateway.ts'
import { startPostgres } from './postgres.ts'
import { inRepository, readText } from './repository.ts'
import { TEST_SECRET } from './tokens.ts'

/** The example of docs/login.md as a person would run it, with TLS, and a page of another site. */
export interface LoginExample {
  readonly gateway: TestGateway
  /** `https://app.example.test:…`; `on('api')` is the same of another host of the domain. */
  readonly app: string
  on(name: string): string
  /** Another site, whose page is a link to the address behind `?to=`. */
  readonly otherSite: string
  readonly backend: string
  readonly sql: postgres.Sql
  /** Ends the access tokens of all sessions, as time does. */
  expireAccessTokens(): Promise<void>
  stopDatabase(): Promise<void>
  startDatabase(): Promise<void>
}

/** For Chromium: the names of the example are this machine. */
export const EXAMPLE_HOSTS = '--host-resolver-rules=MAP *.example.test 127.0.0.1, MAP other.test 127.0.0.1'

/** The settings that docs/login.md names. */
export const LOGIN_SETTINGS = { SESSION_ENDPOINTS: 'on', COOKIE_SAME_SITE: 'lax', COOKIE_PERSISTENT: 'on' }

/** It ends with the test. */
export async function startLoginExample(
  t: Test,
  env: Readonly<Record<string, string>> = {},
): Promise<LoginExample> {
  const pg = await startPostgres()
  t.teardown(() => pg.close())
  const databaseUrl = await pg.createDatabase()
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  t.teardown(() => sql.end({ timeout: 1 }))
  const backend = await startBackend(t, databaseUrl, env)
  const authority = createAuthority(t, 'the example authority')
  const certificate = authority.issue('example.test', ['DNS:*.example.test', 'DNS:other.test'])
  const routing = JSON.parse(readText('docs/login/upstreams.json'))
  routing.upstreams.app.targets = [backend]
  const gateway = await startGateway({
    databaseUrl,
    routing,
    env: {
      ...LOGIN_SETTINGS,
      TLS_CERT_FILE: certificate.certFile,
      TLS_KEY_FILE: certificate.keyFile,
      ...env,
    },
  })
  t.teardown(() => gateway.stop())
  const on = (name: string) => `https://${name}.example.test:${gateway.port}`
  return {
    gateway,
    app: on('app'),
    on,
    otherSite: await startOtherSite(t, certificate),
    backend,
    sql,
    async expireAccessTokens() {
      await sql`UPDATE "Token" SET "expiresAt" = now() WHERE "expiresAt" < now() + interval '1 day'`
    },
    stopDatabase: () => pg.stop('immediate'),
    startDatabase: () => pg.start(),
  }
}

async function startBackend(
  t: Test,
  databaseUrl: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-login-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const secretFile = join(folder, 'jwt')
  writeFileSync(secretFile, `${TEST_SECRET}\n`)
  const child = spawn(process.execPath, [inRepository('docs/login/login.mjs')], {
    env: { ...env, DATABASE_URL: databaseUrl, JWT_SECRET_FILE: secretFile, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(async () => {
    child.kill()
    await once(child, 'exit')
  })
  const [line] = await once(child.stdout, 'data')
  return `http://127.0.0.1:${/^listening on (\d+)/.exec(String(line))?.[1]}`
}

async function startOtherSite(t: Test, { cert, key }: { cert: Buffer; key: Buffer }): Promise<string> {
  const server = createServer({ cert, key }, (req, res) => {
    const to = new URL(req.url ?? '/', 'http://other').searchParams.get('to')
    res.writeHead(200, { 'Content-Type': 'text/html' }).end(`<a href="${to}">a link</a>`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => void server.close().closeAllConnections())
  return `https://other.test:${(server.address() as AddressInfo).port}`
}
