import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { type ConnectionCount, countConnections } from '../support/connection-count.ts'
import { COVERING_KINDS, databaseCertificate } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { ask } from '../support/http-client.ts'
import { startOtherApplication } from '../support/other-application.ts'
import { startPostgres } from '../support/postgres.ts'
import { slowFaults } from '../support/slow-faults.ts'

/**
 * Other applications share the database, so each worker has a fixed maximum of connections, on the server's side too.
 * A deadline that only closes the socket would leave the backend process waiting: 4 connections then became 95 of 100
 * within 30 s, and no other application could connect.
 */
const MOST = { 'poweron-gateway': 4, 'poweron-gateway-sessions': 2, 'poweron-gateway-listen': 1 }
const MOST_OF_ONE_WORKER = 7
const KINDS = [...COVERING_KINDS, { role: 'app_idle', sslmode: 'require', workers: 1, idle: true } as const]
const WORKERS = KINDS.reduce((sum, { workers }) => sum + workers, 0)
const OTHERS = 4

const { tls, trust } = databaseCertificate(t)
const server = await startPostgres({
  tls,
  settings: [
    // Exactly as many as the gateways may have, and some for the test itself.
    `max_connections=${WORKERS * MOST_OF_ONE_WORKER + OTHERS + 3}`,
    'superuser_reserved_connections=3',
    'autovacuum=off',
  ],
})
const stage = await startFaultStage(server, {
  kinds: KINDS,
  env: { REVOCATION_CHANNEL: 'revoked', ...trust },
})
const admin = postgres(server.url, { max: 1, onnotice: () => {} })
await admin.unsafe('create role other login')
const other = startOtherApplication(server.url.replace('//gateway@', '//other@'))
let probing = true
const probes = Promise.all(
  stage.gateways.map(async ({ url }) => {
    while (probing) {
      await ask({ url: `${url}/-/readyz` }).catch(() => {})
      await delay(100)
    }
  }),
)
t.teardown(async () => {
  probing = false
  await Promise.all([probes, other.close()])
  await stage.close()
  await admin.end({ timeout: 1 })
  await server.close()
})

function isBounded(t: Test, { most, samples }: ConnectionCount): void {
  t.ok(samples > 20, `${samples} samples`)
  for (const { role, workers } of KINDS) {
    t.ok((most.get(role) ?? 0) <= workers * MOST_OF_ONE_WORKER, `${role} had ${most.get(role)} connections`)
    for (const [name, bound] of Object.entries(MOST)) {
      const count = most.get(`${role} ${name}`) ?? 0
      t.ok(count <= workers * bound, `${role} had ${count} connections as ${name}`)
    }
  }
  const known = new Set(Object.keys(MOST))
  const names = [...most.keys()].flatMap((key) => key.split(' ').slice(1))
  t.same(
    names.filter((name) => !known.has(name)),
    [],
    'every connection has one of the three application names',
  )
}

for (const fault of slowFaults({ server, databaseUrl: stage.databaseUrl, admin, roles: stage.roles })) {
  t.test(`while ${fault.title} the server has no more connections of a gateway than its bound`, async (t) => {
    const count = countConnections(admin, stage.roles)
    const refusedBefore = other.refusals.length
    const connectedBefore = other.connections
    if (fault.silences) await other.pause()
    await stage.stands(t, {
      ...fault,
      mends() {
        // Connections that waited in the server appear within the first moments.
        count.hurry()
        return fault.mends()
      },
    })
    other.goOn()
    await delay(fault.silences ? 2000 : 0)
    await count.stop()
    isBounded(t, count)
    t.same(other.refusals.slice(refusedBefore), [], 'another application got every connection')
    t.ok(other.connections > connectedBefore)
  })
}
