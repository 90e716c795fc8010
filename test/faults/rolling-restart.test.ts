import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { plainRouting, until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'
import { freePort, OK, startRawBackend } from '../support/raw-backend.ts'
import { isReady, startRoundRobin } from '../support/round-robin.ts'

const HAPROXY = '/usr/sbin/haproxy'
const RESTARTS = 10

interface Slot {
  readonly port: number
  readonly adminPort: number
}

/** Two instances on fixed ports, as in a deployment. */
async function deployment(t: Test, drainDelayMs: number) {
  const postgres = await startPostgres()
  const databaseUrl = await postgres.createDatabase()
  const backend = await startRawBackend(({ socket }) => void socket.write(OK))
  const slots: Slot[] = []
  for (let n = 0; n < 2; n++) slots.push({ port: await freePort(), adminPort: await freePort() })
  const start = ({ port, adminPort }: Slot) =>
    startGateway({
      databaseUrl,
      routing: plainRouting([backend.url]),
      env: {
        ACCESS_LOG: 'off',
        PORT: String(port),
        ADMIN_PORT: String(adminPort),
        DRAIN_DELAY_MS: String(drainDelayMs),
      },
    })
  const instances: TestGateway[] = [await start(slots[0]!), await start(slots[1]!)]
  t.teardown(async () => {
    await Promise.all(instances.map((instance) => instance.stop()))
    await backend.close()
    await postgres.close()
  })
  await Promise.all(slots.map((slot) => until(() => isReady(slot))))
  return {
    slots,
    /** @returns the exit code of the instance that was stopped */
    async restart(n: number): Promise<number | NodeJS.Signals> {
      instances[n]!.signal('SIGTERM')
      const code = await instances[n]!.exited
      await instances[n]!.stop()
      instances[n] = await start(slots[n]!)
      await until(() => isReady(slots[n]!))
      return code
    },
  }
}

/** Sends requests on kept and on new connections until stopped. @returns how often each outcome occurred */
function load(url: string): () => Promise<ReadonlyMap<string, number>> {
  const agent = keepAliveAgent(10)
  const seen = new Map<string, number>()
  let loading = true
  const lane = async (kept: boolean) => {
    while (loading) {
      const outcome = await ask(kept ? { url, agent } : { url }).then(
        ({ status, body }) => `${status} ${body}`,
        (error) => String(error),
      )
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
      await new Promise((resolve) => setTimeout(resolve, 80))
    }
  }
  const lanes = [true, true, true, true, true, true, true, true, true, true, false, false].map(lane)
  return async () => {
    loading = false
    await Promise.all(lanes)
    agent.destroy()
    return seen
  }
}

interface Balanced {
  readonly url: string
  /** @returns the exit code of the instance that was stopped */
  restart(n: number): Promise<unknown>
  /** Whether the balancer sends to both instances. */
  hasBoth(): boolean | Promise<boolean>
}

async function tenRestarts(t: Test, { url, restart, hasBoth }: Balanced) {
  await until(hasBoth)
  const stop = load(url)
  const codes = new Set<unknown>()
  try {
    for (let n = 0; n < RESTARTS; n++) {
      codes.add(await restart(n % 2))
      await until(hasBoth)
    }
  } finally {
    const seen = await stop()
    t.same([...seen.keys()], ['200 ok'], JSON.stringify([...seen]))
    t.ok((seen.get('200 ok') ?? 0) > 1000, `${seen.get('200 ok')} requests`)
  }
  t.same([...codes], [0])
}

t.test('ten restarts of two instances behind a TCP balancer fail no request', async (t) => {
  const { slots, restart } = await deployment(t, 500)
  const balancer = await startRoundRobin()
  t.teardown(() => balancer.close())
  balancer.set(slots)
  await tenRestarts(t, {
    url: `http://127.0.0.1:${balancer.port}`,
    restart,
    hasBoth: () => balancer.ready.length === 2,
  })
})

t.test('ten restarts of two instances behind HAProxy fail no request', async (t) => {
  if (!existsSync(HAPROXY)) {
    t.pass('HAProxy is not installed here; the balancer above stands for it')
    return
  }
  const { slots, restart } = await deployment(t, 1000)
  const port = await freePort()
  const statePort = await freePort()
  const folder = await mkdtemp(join(tmpdir(), 'gateway-haproxy-'))
  const file = join(folder, 'haproxy.cfg')
  const servers = slots.map(
    (slot, n) => `  server g${n} 127.0.0.1:${slot.port} check port ${slot.adminPort} inter 200 fall 2 rise 1`,
  )
  await writeFile(
    file,
    `global
  maxconn 1000
defaults
  mode http
  timeout connect 2s
  timeout check 1s
  timeout client 30s
  timeout server 30s
  retries 0
frontend in
  bind 127.0.0.1:${port}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk GET /readyz
${servers.join('\n')}
frontend state
  bind 127.0.0.1:${statePort}
  stats enable
  stats uri /
`,
  )
  const haproxy = spawn(HAPROXY, ['-db', '-q', '-f', file], { stdio: 'ignore' })
  t.teardown(async () => {
    const gone = new Promise((resolve) => haproxy.once('exit', resolve))
    haproxy.kill('SIGKILL')
    await gone
    await rm(folder, { recursive: true, force: true })
  })
  await tenRestarts(t, {
    url: `http://127.0.0.1:${port}`,
    restart,
    hasBoth: () =>
      ask({ url: `http://127.0.0.1:${statePort}/;csv` }).then(
        ({ body }) => body.match(/^gateways,g\d,.*,UP,/gm)?.length === 2,
        () => false,
      ),
  })
})
