import t from 'tap'
import { ask } from '../support/http-client.ts'
import { plainGateway } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'

for (const [accessLog, probes] of [
  ['on', []],
  ['all', ['/-/healthz', '/-/readyz', '/-/readyz?from=balancer']],
] as const) {
  t.test(`ACCESS_LOG=${accessLog}: probes have ${probes.length === 0 ? 'no' : 'their'} lines`, async (t) => {
    const backend = await startRawBackend(({ socket }) => void socket.write(OK))
    t.teardown(() => backend.close())
    const gateway = await plainGateway(t, { targets: [backend.url], env: { ACCESS_LOG: accessLog } })
    const paths = ['/-/healthz', '/-/readyz', '/-/readyz?from=balancer', '/-/session', '/-/other', '/last']
    for (const path of paths) await ask({ url: `${gateway.url}${path}` })
    await gateway.line(({ path }) => path === '/last')
    t.same(
      gateway.lines.filter(({ msg }) => msg === 'request').map(({ path }) => path),
      [...probes, '/-/session', '/-/other', '/last'],
    )
    t.equal(await gateway.metric('gateway_requests_total{route="none",status="200"}'), 1, 'they are counted')
  })
}
