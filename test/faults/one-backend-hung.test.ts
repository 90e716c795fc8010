import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { NO_DATABASE, until } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'

t.test('a backend that hangs does not delay or displace requests to another', async (t) => {
  const hung = await startRawBackend(() => {})
  const good = await startRawBackend(({ socket }) => void socket.write(OK))
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: {
      upstreams: {
        hung: { targets: [hung.url], maxConnections: 50, maxPending: 50 },
        good: { targets: [good.url] },
      },
      routes: [
        { path: '/hung', upstream: 'hung', auth: 'none' },
        { path: '/good', upstream: 'good', auth: 'none' },
      ],
    },
    env: { ACCESS_LOG: 'off' },
  })
  const controller = new AbortController()
  const asked: Promise<unknown>[] = []
  t.teardown(async () => {
    controller.abort()
    await Promise.all(asked)
    await gateway.stop()
    await Promise.all([hung.close(), good.close()])
  })

  const agent = keepAliveAgent(1)
  const median = async () => {
    const times: number[] = []
    for (let n = 0; n < 300; n++) {
      const startedAt = performance.now()
      const { status } = await ask({ url: `${gateway.url}/good`, agent })
      times.push(performance.now() - startedAt)
      if (status !== 200) throw new Error(`answered with ${status}`)
    }
    return times.sort((a, b) => a - b)[150]!
  }
  await median()
  const before = await median()
  for (let n = 0; n < 300; n++) {
    asked.push(fetch(`${gateway.url}/hung`, { signal: controller.signal }).catch(() => {}))
  }
  const refused = 'gateway_requests_total{route="/hung",status="503"}'
  await until(async () => (await gateway.metric(refused)) === 200)
  const during = await median()
  agent.destroy()
  t.ok(during < before * 3 + 2, `median ${before.toFixed(2)} ms before, ${during.toFixed(2)} ms during`)
})
