import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import type { NameRecord } from '../support/name-server.ts'
import { KINDS, type NamedTarget, SUCCESS, startNamedTargets } from '../support/named-targets.ts'
import { NO_DATABASE, plainRouting, until } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'
import { startResolverStage, whyNoDnsmasq } from '../support/resolver-stage.ts'

/* A resolver (dnsmasq) that has no more answers for a name whose addresses it has given before. */

const reason = whyNoDnsmasq()
const unlessThere = reason === null ? '' : ` (NOT TESTED HERE: ${reason})`
const NAME = 'api.test'
const KNOWN: NameRecord = { addresses: ['127.0.0.1'], ttl: 1 }
const FAULTS: Readonly<Record<string, NameRecord>> = {
  'does not answer': { silent: 'all' },
  'does not answer for IPv4': { silent: 'A' },
  'answers SERVFAIL': { code: 'SERVFAIL' },
  'answers REFUSED': { code: 'REFUSED' },
}
/** Longer than a look-up takes at most, with the pause behind it. */
const FAULT_MS = 13_000
const USUAL_MS = 1000

const TARGETS = KINDS.map((kind): NamedTarget => ({ kind, name: NAME, port: 0 }))

for (const [fault, record] of Object.entries(FAULTS)) {
  t.test(`the addresses of a target stay in use where the resolver ${fault}${unlessThere}`, async (t) => {
    if (reason !== null) {
      t.pass(reason)
      return
    }
    const { gateway, stage, visit } = await startNamedTargets(t, {
      records: { [NAME]: KNOWN },
      targets: TARGETS,
    })
    const visitAll = async () => {
      for (const target of TARGETS) {
        const { status, ms } = await visit(target)
        t.equal(status, SUCCESS[target.kind], target.kind)
        t.ok(ms < USUAL_MS, `in its usual time, not ${Math.round(ms)} ms`)
      }
    }
    await visitAll()
    stage.server.records.set(NAME, record)
    const end = performance.now() + FAULT_MS
    while (performance.now() < end) {
      await visitAll()
      await new Promise((resolve) => setTimeout(resolve, 250))
    }
    t.notOk(
      gateway.lines.some(({ msg }) => msg === 'the target is down'),
      'its checks go on as well',
    )
    stage.server.records.set(NAME, KNOWN)
    await gateway.line(({ msg, name }) => msg === 'name resolved again' && name === NAME)
  })
}

t.test(
  `requests, handshakes and checks that need a name at the same time share one look-up${unlessThere}`,
  async (t) => {
    if (reason !== null) {
      t.pass(reason)
      return
    }
    const { stage, visit } = await startNamedTargets(t, {
      records: { [NAME]: { silent: 'all' } },
      targets: TARGETS,
    })
    // Its server ends a connection of HTTP/2 behind the first answer.
    const repeated = TARGETS.filter(({ kind }) => kind !== 'http2')
    const visits = [...TARGETS, ...Array.from({ length: 20 }, () => repeated).flat()].map(visit)
    await until(() => stage.server.questions.length > 0)
    stage.server.records.set(NAME, KNOWN)
    for (const { status } of await Promise.all(visits)) t.ok(status < 300, `${status}`)
    const asked = stage.server.asked(`${NAME} A`)
    t.ok(asked < 6, `${asked} questions, those that are repeated included`)
  },
)

t.test(`each worker knows the addresses before its first request needs them${unlessThere}`, async (t) => {
  if (reason !== null) {
    t.pass(reason)
    return
  }
  const backend = await startRawBackend(({ socket }) => void socket.write(OK))
  const stage = await startResolverStage(t, { records: { [NAME]: KNOWN } })
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    program: stage.program,
    env: { ACCESS_LOG: 'off', WORKERS: '2' },
    routing: plainRouting([`http://${NAME}:${backend.port}`], { retries: 0 }),
  })
  t.teardown(async () => {
    await gateway.stop()
    await backend.close()
  })
  await until(() => stage.server.asked(`${NAME} A`) >= 2)
  stage.server.records.set(NAME, { silent: 'all' })
  for (let n = 0; n < 20; n++) {
    const began = performance.now()
    t.equal((await ask({ url: gateway.url })).status, 200)
    t.ok(performance.now() - began < USUAL_MS, 'in its usual time')
  }
})
