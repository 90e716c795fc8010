import t, { type Test } from 'tap'
import { type FalseServer, startFalseServer } from '../support/false-server.ts'
import { COVERING_KINDS, databaseCertificate, type GatewayKind } from '../support/fault-gateways.ts'
import { startFaultStage } from '../support/fault-stage.ts'
import { CLOSINGS, GARBAGE, type Misbehaviour, STAGES } from '../support/misbehaviours.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

/**
 * A server that closes connections at each stage of their setup, and one that sends wrong bytes there, as a balancer,
 * another service on the port or a broken server would. No gateway process ends, no request is admitted meanwhile, and
 * all recover when the real server is back. Each gateway has its own false server, so that each sees every case.
 */
const { tls, trust } = databaseCertificate(t)
const server = await startPostgres({ tls })
const fronts = new Map<GatewayKind, FalseServer>()
for (const kind of COVERING_KINDS) fronts.set(kind, await startFalseServer(server.port, tls))
const stage = await startFaultStage(server, {
  kinds: COVERING_KINDS.map((kind) => ({
    ...kind,
    urlOf: (url: string) => url.replace(`:${server.port}/`, `:${fronts.get(kind)!.port}/`),
  })),
  env: { LOOKUP_TIMEOUT_MS: '500', REVOCATION_CHANNEL: 'revoked', ...trust },
})
t.teardown(async () => {
  await stage.close()
  for (const front of fronts.values()) front.close()
  await server.close()
})

/** A gateway without TLS sends no SSLRequest, so it meets the stages before TLS, or only the first one. */
function reachable(kind: GatewayKind, all: readonly Misbehaviour[]): readonly Misbehaviour[] {
  if (kind.sslmode !== 'disable') return all
  const some = all.filter(({ stage }) => !/TLS/.test(stage))
  return some.length > 0 ? some : CLOSINGS.filter(({ stage }) => stage === 'accepted')
}

async function meetsAll(t: Test, all: readonly Misbehaviour[]): Promise<void> {
  let broken = Number.POSITIVE_INFINITY
  let mended = Number.POSITIVE_INFINITY
  const seen = await stage.stands(t, {
    recoversWithinMs: 40_000,
    async breaks() {
      for (const [kind, front] of fronts) front.misbehave(reachable(kind, all))
      broken = performance.now()
      await until(
        () => [...fronts].every(([kind, front]) => front.met.size === reachable(kind, all).length),
        30_000,
      )
    },
    mends() {
      mended = performance.now()
      for (const front of fronts.values()) front.misbehave([])
    },
  })
  const admitted = seen.filter(
    ({ began, ms, outcome }) => outcome === 'good' && began > broken && began + ms < mended,
  )
  t.same(admitted, [], 'a server that is none admits nobody')
}

t.test('a server that closes connections at every stage of their setup admits nobody', (t) =>
  meetsAll(t, CLOSINGS),
)

for (const moment of STAGES) {
  const all = GARBAGE.filter(({ stage }) => stage === moment)
  t.test(`a server that sends wrong bytes to a client that it has ${moment} admits nobody`, (t) =>
    meetsAll(t, all),
  )
}
