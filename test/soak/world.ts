import postgres from 'postgres'
import { schemaSql } from '../../gateway/cli/schema.ts'
import { readSettings } from '../../gateway/settings/settings.ts'
import { createFleet, type Fleet } from '../support/fleet.ts'
import { type Balancer, haproxyIsInstalled, startHaproxy } from '../support/haproxy.ts'
import { ask } from '../support/http-client.ts'
import { type LoginBackend, startLoginBackend } from '../support/login-backend.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { startRoundRobin } from '../support/round-robin.ts'

export const INSTANCES = 3
const CHANNEL = 'token_revoked'
const ACCESS_TTL_S = 20
const REFRESH_TTL_S = 7200

export interface World {
  readonly pg: TestPostgres
  readonly sql: postgres.Sql
  readonly fleet: Fleet
  readonly backend: LoginBackend
  /** The balancer's. */
  readonly origin: string
  close(): Promise<void>
}

export async function createWorld(): Promise<World> {
  const pg = await startPostgres()
  const databaseUrl = await pg.createDatabase()
  const admin = postgres(databaseUrl, { max: 1, onnotice: () => {} })
  const sql = postgres(databaseUrl, { max: 6, onnotice: () => {}, backoff: () => 0.1 })
  const read = readSettings({ REVOCATION_CHANNEL: CHANNEL, SESSION_ENDPOINTS: 'on' })
  if (!read.ok) throw new Error(read.problems.join('; '))
  await admin.unsafe(schemaSql(read.settings))
  await admin.end()
  const backend = await startLoginBackend({ sql, accessTtlS: ACCESS_TTL_S, refreshTtlS: REFRESH_TTL_S })
  const fleet = await createFleet(INSTANCES, {
    databaseUrl,
    routing: {
      upstreams: { app: { targets: [backend.url], maxConnections: 1000, timeouts: { idle: '1h' } } },
      routes: [
        { path: '/', upstream: 'app' },
        { path: '/login', upstream: 'app', auth: 'none' },
      ],
    },
    env: {
      ACCESS_LOG: 'off',
      SESSION_ENDPOINTS: 'on',
      ACCESS_TOKEN_TTL_S: String(ACCESS_TTL_S),
      REFRESH_TOKEN_TTL_S: String(REFRESH_TTL_S),
      REVOCATION_CHANNEL: CHANNEL,
      STREAM_RECHECK_MS: '2000',
      DRAIN_DELAY_MS: '800',
      DRAIN_TIMEOUT_MS: '1000',
    },
  })
  await Promise.all(Array.from({ length: INSTANCES }, (_, slot) => fleet.start(slot)))
  const balancer = await balance(fleet)
  return {
    pg,
    sql,
    fleet,
    backend,
    origin: `http://127.0.0.1:${balancer.port}`,
    async close() {
      await balancer.close()
      await fleet.stop()
      backend.close()
      await sql.end({ timeout: 1 })
      await pg.close()
    },
  }
}

async function balance(fleet: Fleet): Promise<Balancer> {
  const balancer = haproxyIsInstalled() ? await startHaproxy(fleet.slots) : await fallback(fleet)
  const url = `http://127.0.0.1:${balancer.port}/-/healthz`
  await until(() =>
    ask({ url }).then(
      ({ status }) => status === 200,
      () => false,
    ),
  )
  return balancer
}

async function fallback(fleet: Fleet): Promise<Balancer> {
  const balancer = await startRoundRobin()
  balancer.set(fleet.slots)
  return balancer
}
