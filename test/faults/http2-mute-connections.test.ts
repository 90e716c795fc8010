import t, { type Test } from 'tap'
import { startFreezingRelay } from '../support/freezing-relay.ts'
import { ask } from '../support/http-client.ts'
import { startHttp2Backend } from '../support/http2-backend.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { openConnection } from '../support/raw-http.ts'

/** A gateway before a target of HTTP/2 whose connections can be made mute. */
async function setUp(t: Test, upstream: Record<string, unknown>) {
  let checks = 0
  const { port } = await startHttp2Backend(t, (stream, path) => {
    if (path === '/healthz') checks++
    stream.respond({ ':status': 200 })
    if (path === '/events') stream.write('data: first\n\n')
    else stream.end('ok')
  })
  const relay = await startFreezingRelay(port)
  t.teardown(() => relay.close())
  const url = `http://127.0.0.1:${relay.port}`
  const gateway = await plainGateway(t, { targets: [url], upstream: { protocol: 'http2', ...upstream } })
  return {
    gateway,
    relay,
    checks: () => checks,
    up: `gateway_upstream_target_up{upstream="api",target="${url}"}`,
  }
}

t.test('after one 504 of a mute connection the next requests go by another one', async (t) => {
  const { gateway, relay } = await setUp(t, { timeouts: { response: '1s' } })
  t.equal((await ask({ url: gateway.url })).status, 200)
  relay.freeze()
  t.equal((await ask({ url: gateway.url, method: 'POST', body: 'x' })).status, 504)
  for (let n = 0; n < 5; n++)
    t.equal((await ask({ url: gateway.url, method: 'POST', body: 'x' })).status, 200)
  t.equal(relay.connections, 2)
})

t.test('a GET on a mute connection is answered by another one, long before its limit', async (t) => {
  const { gateway, relay } = await setUp(t, { timeouts: { response: '5m' } })
  t.equal((await ask({ url: gateway.url })).status, 200)
  relay.freeze()
  t.equal((await ask({ url: gateway.url })).status, 200)
  t.equal(relay.connections, 2)
})

t.test('a POST on a mute connection is answered with 504, long before its limit', async (t) => {
  const { gateway, relay } = await setUp(t, { timeouts: { response: '5m' } })
  t.equal((await ask({ url: gateway.url })).status, 200)
  relay.freeze()
  const answer = await ask({ url: gateway.url, method: 'POST', body: 'x' })
  t.same([answer.status, JSON.parse(answer.body).code], [504, 'upstream_timeout'])
})

t.test('an event stream on a mute connection is broken off, so that its client can come again', async (t) => {
  const { gateway, relay } = await setUp(t, { timeouts: { idle: '5m' } })
  const connection = await openConnection(gateway.port)
  connection.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
  await connection.sees('first')
  relay.freeze()
  await connection.closed
  t.equal((await ask({ url: gateway.url })).status, 200)
})

t.test('health checks have connections of their own, each a new one', async (t) => {
  const { gateway, relay, checks, up } = await setUp(t, {
    timeouts: { response: '200ms' },
    health: { path: '/healthz', interval: '100ms', timeout: '2s', unhealthyAfter: 1 },
  })
  t.equal((await ask({ url: gateway.url })).status, 200)
  for (let n = 0; n < 3; n++) {
    const before = checks()
    relay.freeze()
    await until(() => checks() > before + 2)
  }
  t.equal(await gateway.metric(up), 1)
  t.same(
    gateway.lines.filter(({ msg }) => msg === 'the target is down'),
    [],
  )
})
