import { once } from 'node:events'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { get, type IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { SWITCHED } from '../support/handshake.ts'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { NO_DATABASE, plainGateway, plainRouting, until } from '../support/plain-gateway.ts'
import { type RawRequest, startRawBackend } from '../support/raw-backend.ts'

const SUCCESS = 'gateway_config_reloads_total{result="success"}'
const FAILURE = 'gateway_config_reloads_total{result="failure"}'

async function backend(t: Test, name: string, answer?: (request: RawRequest) => void) {
  const text = `HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`
  const started = await startRawBackend(answer ?? (({ socket }) => void socket.write(text)))
  t.teardown(() => started.close())
  return started
}

async function answers(gateway: TestGateway, body: string): Promise<void> {
  await until(async () => (await ask({ url: gateway.url })).body === body)
}

const text = (url: string) => JSON.stringify(plainRouting([url]))

t.test('a routing file that is written, renamed over, or a swapped symlink is reloaded', async (t) => {
  const a = await backend(t, 'a')
  const b = await backend(t, 'b')
  const folder = await mkdtemp(join(tmpdir(), 'gateway-file-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  // As Kubernetes mounts a ConfigMap: the file is a link into ..data, which is a link to a folder.
  const version = async (name: string, url: string) => {
    await mkdir(join(folder, name))
    await writeFile(join(folder, name, 'upstreams.json'), text(url))
    await symlink(name, join(folder, `..data_${name}`))
    await rename(join(folder, `..data_${name}`), join(folder, '..data'))
  }
  await version('..1', a.url)
  const file = join(folder, 'upstreams.json')
  await symlink('..data/upstreams.json', file)
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: {},
    env: { UPSTREAMS_FILE: file, ACCESS_LOG: 'off' },
  })
  t.teardown(() => gateway.stop())
  await answers(gateway, 'a')
  await version('..2', b.url)
  await answers(gateway, 'b')
  await rm(join(folder, '..1'), { recursive: true })
  await writeFile(file, text(a.url))
  await answers(gateway, 'a')
  await writeFile(join(folder, 'next.json'), text(b.url))
  await rename(join(folder, 'next.json'), file)
  await answers(gateway, 'b')
  t.equal(await gateway.metric(SUCCESS), 3)
})

t.test('SIGHUP reloads an unchanged routing file', async (t) => {
  const a = await backend(t, 'a')
  const gateway = await plainGateway(t, { targets: [a.url] })
  const before = await gateway.metric(SUCCESS)
  gateway.signal('SIGHUP')
  await until(async () => (await gateway.metric(SUCCESS)) === before + 1)
  t.equal((await ask({ url: gateway.url })).body, 'a')
})

t.test('a bad routing file is logged with all its problems, and the old one stays in force', async (t) => {
  const a = await backend(t, 'a')
  const gateway = await plainGateway(t, { targets: [a.url] })
  await writeFile(
    gateway.upstreamsFile,
    '{\n  "upstreams": { "api": { "targets": [], "retriez": 1 } },\n  "routes": [{ "path": "x", "upstream": "no" }]\n}',
  )
  const { problems } = await gateway.line(({ problems }) => Array.isArray(problems))
  const told = problems as string[]
  const at = (line: number, column: number) => `${gateway.upstreamsFile}:${line}:${column}`
  t.ok(told.some((problem) => problem.startsWith(at(2, 38)) && problem.includes('/upstreams/api/targets')))
  t.ok(
    told.some((problem) => problem.startsWith(at(2, 42)) && problem.includes('retriez')),
    told.join('\n'),
  )
  t.ok(
    told.some((problem) => problem.startsWith(at(3, 24))),
    told.join('\n'),
  )
  t.equal((await ask({ url: gateway.url })).body, 'a')
  t.equal(await gateway.metric(FAILURE), 1)
  t.equal(await gateway.metric('gateway_config_last_reload_successful'), 0)
  await rm(gateway.upstreamsFile)
  await until(async () => (await gateway.metric(FAILURE)) === 2)
  t.equal((await ask({ url: gateway.url })).body, 'a')
  await writeFile(gateway.upstreamsFile, text(a.url))
  await until(async () => (await gateway.metric('gateway_config_last_reload_successful')) === 1)
})

t.test(
  'a reload keeps the connections of targets that stay, and closes those of removed ones when idle',
  async (t) => {
    const a = await backend(t, 'a')
    const b = await backend(t, 'b')
    const gateway = await plainGateway(t, { targets: [a.url, b.url] })
    const agent = keepAliveAgent(1)
    t.teardown(() => agent.destroy())
    for (let n = 0; n < 4; n++) await ask({ url: gateway.url, agent })
    t.same([a.connections, b.connections], [1, 1])
    await writeFile(gateway.upstreamsFile, text(a.url))
    await until(async () => (await gateway.metric(SUCCESS)) === 1)
    for (let n = 0; n < 4; n++) t.equal((await ask({ url: gateway.url, agent })).body, 'a')
    t.equal(a.connections, 1)
    await until(() => b.open.size === 0, 15_000)
    t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${b.url}"}`), 0)
  },
)

t.test('open streams continue when their target is removed from the routing file', async (t) => {
  const a = await backend(t, 'a')
  const streams = await backend(t, 'b', ({ socket, head }) => {
    socket.write(
      /upgrade: websocket/i.test(head)
        ? SWITCHED
        : 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
    )
  })
  const gateway = await plainGateway(t, { targets: [streams.url] })
  const events = await new Promise<IncomingMessage>((resolve, reject) => {
    get(gateway.url, resolve).once('error', reject)
  })
  const socket = connect(gateway.port, '127.0.0.1')
  t.teardown(() => {
    socket.destroy()
    events.destroy()
  })
  socket.write(
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  )
  await once(socket, 'data')
  await writeFile(gateway.upstreamsFile, text(a.url))
  await until(async () => (await gateway.metric(SUCCESS)) === 1)
  const [sse, ws] = [...streams.open]
  // Later than the connections of a removed target are closed.
  for (let n = 0; n < 22; n++) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const arrived = [once(events, 'data'), once(socket, 'data')]
    sse!.write('7\r\ndata: x\r\n')
    ws!.write('frame')
    await Promise.all(arrived)
  }
  t.pass('both were alive 11 seconds later')
})

t.test('100 reloads under the load of 50 connections fail no request', async (t) => {
  const a = await backend(t, 'ok')
  const b = await backend(t, 'ok')
  const c = await backend(t, 'ok')
  const gateway = await plainGateway(t, { targets: [a.url, b.url] })
  const agent = keepAliveAgent(50)
  const seen = new Map<string, number>()
  let loading = true
  const load = Array.from({ length: 50 }, async () => {
    while (loading) {
      const outcome = await ask({ url: gateway.url, agent }).then(
        ({ status, body }) => `${status} ${body}`,
        (error) => String(error),
      )
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    }
  })
  const files = [[a.url, b.url], [b.url, c.url], [c.url], [a.url, b.url, c.url], [a.url]]
  for (let n = 1; n <= 100; n++) {
    await writeFile(gateway.upstreamsFile, JSON.stringify(plainRouting(files[n % files.length]!)))
    gateway.signal('SIGHUP')
    await until(async () => (await gateway.metric(SUCCESS)) >= n)
  }
  loading = false
  await Promise.all(load)
  agent.destroy()
  t.same([...seen.keys()], ['200 ok'])
  t.ok(seen.get('200 ok')! > 1000, `${seen.get('200 ok')} requests`)
})

t.test('a renewed certificate file of a target is used from the next reload on', async (t) => {
  const [old, renewed] = [createAuthority(t, 'the old authority'), createAuthority(t, 'the new authority')]
  const { cert, key } = renewed.issue('api.internal', ['DNS:api.internal'])
  const server = createServer({ cert, key }, (_req, res) => res.end('ok'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const caFile = join(await mkdtemp(join(tmpdir(), 'gateway-ca-')), 'ca.pem')
  t.teardown(() => rm(dirname(caFile), { recursive: true }))
  await writeFile(caFile, old.cert)
  const gateway = await plainGateway(t, {
    targets: [`https://127.0.0.1:${(server.address() as { port: number }).port}`],
    upstream: { tls: { caFile, serverName: 'api.internal' } },
  })
  t.equal((await ask({ url: gateway.url })).status, 502)
  await writeFile(caFile, renewed.cert)
  gateway.signal('SIGHUP')
  await until(async () => (await gateway.metric(SUCCESS)) === 1)
  t.equal((await ask({ url: gateway.url })).status, 200)
})
