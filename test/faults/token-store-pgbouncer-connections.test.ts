import postgres from 'postgres'
import t from 'tap'
import { countConnections } from '../support/connection-count.ts'
import { databaseCertificate, type GatewayKind } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { pgbouncerIsInstalled, pgbouncerKeepsStatements, startPgbouncer } from '../support/pgbouncer.ts'
import { startPostgres } from '../support/postgres.ts'
import { slowFaults } from '../support/slow-faults.ts'

/**
 * Behind PgBouncer, too, a client that disconnects in the middle of a query leaves a waiting backend process: PgBouncer
 * only closes its own connection. The size of its pool is the limit there; it has no more clients than without it.
 */
const POOL_SIZE = 3
/** The roles of look-ups and of sessions. */
const POOLS = 2

const MOST_CLIENTS_OF_ONE_WORKER = 4 + 2
const KINDS: readonly GatewayKind[] = [
  { role: 'pooled_plain', sslmode: 'disable', workers: 2 },
  { role: 'pooled_require', sslmode: 'require', workers: 1 },
  { role: 'pooled_verify', sslmode: 'verify-full', workers: 1, idle: true },
]

if (pgbouncerIsInstalled()) {
  const { tls, trust } = databaseCertificate(t)
  const server = await startPostgres({ settings: ['autovacuum=off'] })
  const pooler = await startPgbouncer(server.port, {
    tls,
    poolSize: POOL_SIZE,
    roles: KINDS.map(({ role }) => role),
  })
  const stage = await startFaultStage(server, {
    kinds: KINDS.map((kind) => ({
      ...kind,
      urlOf: (url: string) => url.replace(`:${server.port}/`, `:${pooler.port}/`),
    })),
    env: { DATABASE_PREPARE: String(pgbouncerKeepsStatements()), ...trust },
    onFailure: () => pooler.close(),
  })
  const admin = postgres(server.url, { max: 1, onnotice: () => {} })
  const pgbouncer = postgres(`postgres://gateway@127.0.0.1:${pooler.port}/pgbouncer`, {
    max: 1,
    fetch_types: false,
    prepare: false,
  })
  t.teardown(async () => {
    await stage.close()
    await pgbouncer.end({ timeout: 1 })
    await admin.end({ timeout: 1 })
    await pooler.close()
    await server.close()
  })

  /** The clients of each role, without those that only send a cancellation. */
  async function noteClients(most: Map<string, number>): Promise<void> {
    const clients = await pgbouncer.unsafe<{ user: string; state: string }[]>('show clients')
    const now = new Map<string, number>()
    for (const { user, state } of clients) if (!/cancel/.test(state)) now.set(user, (now.get(user) ?? 0) + 1)
    for (const [user, count] of now) most.set(user, Math.max(count, most.get(user) ?? 0))
  }

  for (const fault of slowFaults({ server, databaseUrl: stage.databaseUrl, admin, roles: stage.roles })) {
    t.test(`behind PgBouncer no gateway exceeds its connections while ${fault.title}`, async (t) => {
      const count = countConnections(admin, stage.roles)
      const clients = new Map<string, number>()
      const timer = setInterval(() => void noteClients(clients).catch(() => {}), 50)
      try {
        await stage.stands(t, {
          ...fault,
          mends() {
            count.hurry()
            return fault.mends()
          },
        })
      } finally {
        clearInterval(timer)
        await count.stop()
      }
      for (const { role, workers } of KINDS) {
        const rows = count.most.get(role) ?? 0
        t.ok(rows <= POOL_SIZE, `${role} had ${rows} connections at the server`)
        // If all connections are silent and PgBouncer itself answers, each pool tries one more connection, since the
        // address may have been given to another server.
        const bound = workers * (MOST_CLIENTS_OF_ONE_WORKER + (/whole server/.test(fault.title) ? POOLS : 0))
        t.ok((clients.get(role) ?? 0) <= bound, `${role} had ${clients.get(role)} connections at PgBouncer`)
      }
    })
  }
} else {
  t.comment('PgBouncer is not installed here: how many connections it is made to open is not tested')
  t.pass('nothing to test without PgBouncer')
}
