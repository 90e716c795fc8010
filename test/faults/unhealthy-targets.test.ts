import t, { type Test } from 'tap'
import { ask, keepAliveAgent, many } from '../support/http-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { freePort, OK, type RawRequest, startRawBackend } from '../support/raw-backend.ts'
import { openConnection } from '../support/raw-http.ts'

async function backend(t: Test, answer: (request: RawRequest) => void, port = 0) {
  const started = await startRawBackend(answer, { port })
  t.teardown(() => started.close())
  return started
}

const ok = ({ socket }: RawRequest) => void socket.write(OK)
const UP = (url: string) => `gateway_upstream_target_up{upstream="api",target="${url}"}`

t.test('a target that fails its health checks gets no requests until it passes', async (t) => {
  let well = false
  const status = () => (well ? OK : 'HTTP/1.1 503 Sick\r\nContent-Length: 0\r\n\r\n')
  const sick = await backend(t, ({ socket, head }) => {
    socket.write(head.startsWith('GET /healthz ') ? status() : OK)
  })
  const good = await backend(t, ok)
  const gateway = await plainGateway(t, {
    targets: [sick.url, good.url],
    upstream: {
      health: { path: '/healthz', interval: '100ms', timeout: '1s', healthyAfter: 2, unhealthyAfter: 2 },
    },
  })
  const down = await gateway.line(({ msg }) => msg === 'the target is down')
  t.match(down, { upstream: 'api', target: sick.url, reason: 'the check was answered with 503' })
  t.equal(await gateway.metric(UP(sick.url)), 0)
  t.equal(await gateway.metric(UP(good.url)), 1)
  for (let n = 0; n < 10; n++) t.equal((await ask({ url: `${gateway.url}/app` })).status, 200)
  t.notOk(sick.requests.some((head) => head.includes('/app')))
  well = true
  const up = await gateway.line(({ msg }) => msg === 'the target is up')
  t.match(up, { upstream: 'api', target: sick.url, reason: '2 good checks in a row' })
  t.equal(await gateway.metric(UP(sick.url)), 1)
})

t.test('a target that does not answer a health check in time, or is not there, is down', async (t) => {
  const hung = await backend(t, () => {})
  const absent = `http://127.0.0.1:${await freePort()}`
  const gateway = await plainGateway(t, {
    targets: [hung.url, absent],
    upstream: { health: { path: '/', interval: '100ms', timeout: '200ms', unhealthyAfter: 1 } },
  })
  const one = await gateway.line(({ target, msg }) => target === hung.url && msg === 'the target is down')
  t.match(one.reason, /no answer to the check within 200 ms/)
  const two = await gateway.line(({ target, msg }) => target === absent && msg === 'the target is down')
  t.match(two.reason, /ECONNREFUSED/)
  const answer = await ask({ url: gateway.url })
  t.equal(answer.status, 503)
  t.equal(JSON.parse(answer.body).code, 'upstream_unavailable')
  t.ok(Number(answer.headers['retry-after']) > 0)
})

const FAILURES: Record<string, (request: RawRequest) => void> = {
  'resets connections': ({ socket }) => void socket.resetAndDestroy(),
  'answers nothing in time': () => {},
  'answers 502': ({ socket }) => void socket.write('HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n'),
  'answers 503': ({ socket }) => void socket.write('HTTP/1.1 503 Bad\r\nContent-Length: 0\r\n\r\n'),
  'answers 504': ({ socket }) => void socket.write('HTTP/1.1 504 Bad\r\nContent-Length: 0\r\n\r\n'),
}

for (const [name, fails] of Object.entries(FAILURES)) {
  t.test(`outlier ejection: a target that ${name} is ejected, and reinstated later`, async (t) => {
    const bad = await backend(t, fails)
    const good = await backend(t, ok)
    const gateway = await plainGateway(t, {
      targets: [bad.url, good.url],
      upstream: {
        retries: 0,
        timeouts: { response: '400ms' },
        ejection: { consecutiveFailures: 3, duration: '1s', maxPercent: 50 },
      },
    })
    const statuses: number[] = []
    for (let n = 0; n < 12; n++) statuses.push((await ask({ url: gateway.url })).status)
    t.equal(statuses.filter((status) => status >= 500).length, 3, `${statuses}`)
    const ejections = `gateway_upstream_ejections_total{upstream="api",target="${bad.url}"}`
    t.equal(await gateway.metric(ejections), 1)
    const down = await gateway.line(({ msg }) => msg === 'the target is down')
    t.match(down, { upstream: 'api', target: bad.url, reason: /3 failures in a row/ })
    await gateway.line(({ msg }) => msg === 'the target is up')
    t.equal(await gateway.metric(UP(bad.url)), 1)
  })
}

t.test('outlier ejection: refused connections eject a target, answers of 500 and 404 do not', async (t) => {
  const absent = `http://127.0.0.1:${await freePort()}`
  const rude = await backend(t, ({ socket }) => {
    socket.write('HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n')
  })
  const gateway = await plainGateway(t, {
    targets: [absent, rude.url],
    upstream: { ejection: { consecutiveFailures: 3, duration: '1m', maxPercent: 100 } },
  })
  for (let n = 0; n < 20; n++) t.equal((await ask({ url: gateway.url })).status, 500)
  t.equal(await gateway.metric(UP(absent)), 0)
  t.equal(await gateway.metric(UP(rude.url)), 1)
})

t.test('no GET fails when a target dies under load', async (t) => {
  const mortal = await backend(t, ok)
  const good = await backend(t, ok)
  const gateway = await plainGateway(t, {
    targets: [mortal.url, good.url],
    upstream: { ejection: { consecutiveFailures: 3, duration: '1m' } },
  })
  const agent = keepAliveAgent(16)
  t.teardown(() => agent.destroy())
  const statuses = new Map<number, number>()
  await many(3000, 16, async (n) => {
    if (n === 1000) void mortal.close()
    const { status } = await ask({ url: gateway.url, agent })
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  })
  t.same([...statuses], [[200, 3000]])
  t.equal(await gateway.metric(UP(mortal.url)), 0)
})

t.test('above maxConnections and maxPending a request is refused at once with Retry-After', async (t) => {
  const hung = await backend(t, () => {})
  const gateway = await plainGateway(t, {
    targets: [hung.url],
    upstream: { maxConnections: 2, maxPending: 3 },
  })
  const waiting = Array.from({ length: 5 }, () => {
    const controller = new AbortController()
    const asked = fetch(gateway.url, { signal: controller.signal }).catch(() => {})
    t.teardown(() => {
      controller.abort()
      return asked
    })
    return controller
  })
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 5)
  const startedAt = performance.now()
  const answer = await ask({ url: gateway.url })
  t.ok(performance.now() - startedAt < 500)
  t.equal(answer.status, 503)
  t.equal(JSON.parse(answer.body).code, 'upstream_overloaded')
  t.ok(Number(answer.headers['retry-after']) > 0)
  t.equal(hung.connections, 2)
  // Clients that disconnect make room again.
  for (const each of waiting) each.abort()
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 0)
})

t.test('a request without a connection within the response timeout gets 504', async (t) => {
  const hung = await backend(t, ({ socket, head }) => {
    if (head.includes('/events'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n')
    else socket.write(OK)
  })
  const gateway = await plainGateway(t, {
    targets: [hung.url],
    upstream: { maxConnections: 1, maxPending: 1, timeouts: { response: '500ms' } },
  })
  const stream = await openConnection(gateway.port)
  t.teardown(() => stream.destroy())
  stream.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n')
  await stream.sees('text/event-stream')
  for (let n = 0; n < 3; n++) {
    const left = new AbortController()
    const asked = fetch(gateway.url, { signal: left.signal }).catch(() => {})
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 2)
    left.abort()
    await asked
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 1)
  }
  const answer = await ask({ url: gateway.url })
  t.same([answer.status, JSON.parse(answer.body).code], [504, 'upstream_timeout'])
  t.equal(hung.requests.length, 1, 'none of those that waited and left reached the target')
  stream.destroy()
  await until(async () => (await gateway.metric('gateway_requests_in_flight')) === 0)
  t.equal((await ask({ url: gateway.url })).status, 200)
})
