import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { ask } from '../support/http-client.ts'
import { startHttp2Backend } from '../support/http2-backend.ts'
import { nginxIsInstalled, startNginx } from '../support/nginx.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { startRawBackend } from '../support/raw-backend.ts'

/*
 * The attack: a client sends requests and goes away, again and again. Each costs a reset on a connection that the target
 * shares with other clients. Servers end a connection with too many of them (rapid reset, CVE-2023-44487).
 */

const CANCELLED = 1000
const AT_ONCE = 50

/** How long a target takes to answer the other client, so that its requests are under way among the resets. */
const ANSWER_MS = 20

interface Requests {
  /** Requests of the attacker that the target has got. */
  readonly slow: () => number
}

/** Leaves `CANCELLED` requests as soon as the target has got them, beside a client whose requests are all answered. */
async function attack(t: Test, url: string, { slow }: Requests): Promise<void> {
  const gateway = await plainGateway(t, { targets: [url], upstream: { protocol: 'http2' } })
  let isOver = false
  const others = Promise.all(
    ['GET', 'POST'].map(async (method) => {
      const statuses = new Map<number, number>()
      while (!isOver) {
        const body = method === 'POST' ? `${'x'.repeat(1000)}\r\n\r\n` : ''
        const { status } = await ask({ url: `${gateway.url}/steady`, method, body })
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
      return statuses
    }),
  )
  for (let cancelled = 0; cancelled < CANCELLED; cancelled += AT_ONCE) {
    const sockets = Array.from({ length: AT_ONCE }, () => connect(gateway.port, '127.0.0.1'))
    for (const socket of sockets) socket.write('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    await until(() => slow() >= cancelled + AT_ONCE, 5_000, 2)
    for (const socket of sockets) socket.destroy()
    await until(async () => (await gateway.metric('gateway_requests_in_flight')) <= 2, 20_000, 2)
  }
  isOver = true
  for (const statuses of await others) {
    t.same([...statuses.keys()], [200])
    t.ok(statuses.get(200)! >= 10, `${statuses.get(200)} requests were made meanwhile`)
  }
}

t.test('attack: 1,000 cancelled requests end no exchange of others at a target with a limit', async (t) => {
  let slow = 0
  const backend = await startHttp2Backend(
    t,
    (stream, path) => {
      if (path === '/slow') slow++
      else
        setTimeout(() => {
          if (stream.destroyed) return
          stream.respond({ ':status': 200 })
          stream.end('ok')
        }, ANSWER_MS)
    },
    {},
    { streamResetBurst: 100, streamResetRate: 1 },
  )
  await attack(t, backend.url, { slow: () => slow })
})

t.test(
  'attack: 1,000 cancelled requests end no exchange of others at nginx',
  { skip: nginxIsInstalled() ? false : 'nginx is not installed' },
  async (t) => {
    const backend = await startRawBackend(({ head, socket }) => {
      if (!head.startsWith('GET /slow'))
        setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), ANSWER_MS)
    })
    t.teardown(() => backend.close())
    const nginx = await startNginx(t, backend.port, [])
    const slow = () => backend.requests.filter((head) => head.startsWith('GET /slow')).length
    await attack(t, nginx.url, { slow })
  },
)
