import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE, plainGateway, plainRouting, until } from '../support/plain-gateway.ts'
import { rawRequest } from '../support/raw-http.ts'

/*
 * The attack: somebody between the gateway and a target answers in its place, with another certificate.
 * NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment, set for another program, would make Node accept it.
 */

const UNVERIFIED = { NODE_TLS_REJECT_UNAUTHORIZED: '0' }

async function startImpostor(t: Test, http2: boolean) {
  const { cert, key } = createAuthority(t, 'the impostor').issue('127.0.0.1', ['IP:127.0.0.1'])
  const reached: string[] = []
  const server = http2
    ? createSecureServer({ cert, key, allowHTTP1: true })
    : (createServer({ cert, key }) as unknown as ReturnType<typeof createSecureServer>)
  server.on('request', (req, res) => {
    reached.push(req.url)
    res.end('stolen')
  })
  ;(server as unknown as Server).on('upgrade', (req, socket) => {
    reached.push(req.url ?? '')
    socket.destroy()
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, reached }
}

for (const protocol of ['http1', 'http2'] as const) {
  t.test(`a request to a target with an untrusted certificate: 502, ${protocol}`, async (t) => {
    const { url, reached } = await startImpostor(t, protocol === 'http2')
    const gateway = await plainGateway(t, { targets: [url], upstream: { protocol }, env: UNVERIFIED })
    const answer = await ask({ url: gateway.url, headers: { Cookie: 'session=secret' } })
    t.equal(answer.status, 502)
    t.equal(JSON.parse(answer.body).code, 'upstream_unreachable')
    t.same(reached, [])
  })

  t.test(`a health check of a target with an untrusted certificate fails, ${protocol}`, async (t) => {
    const { url, reached } = await startImpostor(t, protocol === 'http2')
    const health = { path: '/healthz', interval: '50ms', timeout: '1s', unhealthyAfter: 1 }
    const gateway = await plainGateway(t, { targets: [url], upstream: { protocol, health }, env: UNVERIFIED })
    const up = `gateway_upstream_target_up{upstream="api",target="${url}"}`
    await until(async () => (await gateway.metric(up)) === 0)
    t.same(reached, [])
  })
}

t.test('a WebSocket handshake with a target with an untrusted certificate: 502', async (t) => {
  const { url, reached } = await startImpostor(t, false)
  const gateway = await plainGateway(t, { targets: [url], env: UNVERIFIED })
  const { responses } = await rawRequest(
    gateway.port,
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  )
  t.equal(responses[0]?.status, 502)
  t.same(reached, [])
})

t.test('keys are not taken from a JWKS URL with an untrusted certificate', async (t) => {
  const { url, reached } = await startImpostor(t, false)
  const gateway = await startGateway({
    databaseUrl: NO_DATABASE,
    routing: plainRouting(['http://127.0.0.1:1']),
    env: { ...UNVERIFIED, JWT_SECRET: '', JWT_JWKS_URL: `${url}/jwks.json` },
  })
  t.teardown(() => gateway.stop())
  const line = await gateway.line(({ msg }) => msg === 'the key set cannot be fetched')
  t.match(JSON.stringify(line.err), /unable to verify|self.signed|UNABLE_TO_VERIFY/i)
  t.same(reached, [])
})
