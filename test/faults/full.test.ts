import { connect } from 'node:net'
import t from 'tap'
import { ask } from '../support/http-client.ts'
import { statusOf } from '../support/night-watch.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { startRawBackend } from '../support/raw-backend.ts'

t.test('an upstream and a listener that are full are told, with how full they are', async (t) => {
  const backend = await startRawBackend(() => {})
  t.teardown(() => backend.close())
  const gateway = await plainGateway(t, {
    targets: [backend.url],
    upstream: { maxConnections: 1, maxPending: 2 },
    env: { MAX_CONNECTIONS: '5' },
  })
  const url = `${gateway.url}/`
  const found = (section: string) => async () =>
    (await statusOf(gateway)).problems.find((problem) => problem.section === section) ?? null

  const waiting = Array.from({ length: 3 }, () => ask({ url }).catch(() => null))
  await until(async () => (await statusOf(gateway)).upstreams[0]?.pending === 2)
  t.match(await found('upstream_overloaded')(), { severity: 'amber', what: 'api is nearly full' })
  t.equal(await gateway.metric('gateway_upstream_pending{upstream="api"}'), 2)

  t.equal((await ask({ url })).status, 503)
  t.equal(await gateway.metric('gateway_upstream_overloaded_total{upstream="api"}'), 1)
  await until(async () => (await found('upstream_overloaded')())?.severity === 'red')
  t.match(await found('upstream_overloaded')(), {
    what: 'api is full',
    detail: /^1 requests .* 2 requests wait for a connection, of at most 2/,
  })

  const idle = [1, 2].map(() => connect(gateway.port, '127.0.0.1').on('error', () => {}))
  await until(async () => (await found('GatewayConnectionsRefused')())?.severity === 'amber')
  t.equal((await ask({ url })).status, 503)
  await until(async () => (await found('GatewayConnectionsRefused')())?.severity === 'red')
  t.match(await found('GatewayConnectionsRefused')(), { detail: /^1 in the last minute; 5 of 5 connections/ })
  for (const socket of idle) socket.destroy()
  await gateway.stop()
  await Promise.all(waiting)
})
