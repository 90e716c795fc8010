import { once } from 'node:events'
import { createSecureServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { startGateway } from '../support/gateway.ts'
import { WEBSOCKET_KEY } from '../support/handshake.ts'
import { haproxyIsInstalled, startStrictHaproxy } from '../support/haproxy.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE, until } from '../support/plain-gateway.ts'
import { rawRequest } from '../support/raw-http.ts'

/*
 * A name with a dot at the end is absolute for resolvers. TLS asks for it without the dot (RFC 6066, section 3), and
 * certificates name it so.
 */

const authority = createAuthority(t, 'names')
const own = authority.issue('localhost', ['DNS:localhost'])
const HANDSHAKE =
  'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${WEBSOCKET_KEY}\r\n\r\n`

/** How a target on this port may be given, and the name that TLS is to ask it for. */
const SPELLINGS = [
  { what: 'its URL', target: (port: number) => `https://localhost.:${port}`, serverName: undefined },
  { what: 'serverName', target: (port: number) => `https://127.0.0.1:${port}`, serverName: 'localhost.' },
]

for (const { what, target, serverName } of SPELLINGS) {
  const setUp = async (t: Test, port: number) => {
    const tls = { caFile: authority.certFile, ...(serverName === undefined ? {} : { serverName }) }
    const upstream = { targets: [target(port)], retries: 0, tls }
    const health = { path: '/check', interval: '200ms', timeout: '5s', unhealthyAfter: 1 }
    const gateway = await startGateway({
      databaseUrl: NO_DATABASE,
      env: { ACCESS_LOG: 'off' },
      routing: {
        upstreams: {
          http1: upstream,
          http2: { ...upstream, protocol: 'http2' },
          checked: { ...upstream, health },
        },
        routes: [
          { path: '/', upstream: 'http1', auth: 'none' },
          { path: '/http2', upstream: 'http2', auth: 'none' },
          { path: '/checked', upstream: 'checked', auth: 'none' },
        ],
      },
    })
    t.teardown(() => gateway.stop())
    return gateway
  }

  t.test(
    `a target with a dot at the end of the name in ${what} is asked for it without the dot`,
    async (t) => {
      const asked: [path: string, serverName: unknown][] = []
      const server = createSecureServer(
        { cert: own.cert, key: own.key, allowHTTP1: true },
        (request, response) => {
          asked.push([request.url, (request.socket as TLSSocket & { servername: unknown }).servername])
          response.end()
        },
      )
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      server.on('upgrade', ({ url }, socket) => {
        asked.push([url, socket.servername])
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      })
      t.teardown(() => server.close())
      const gateway = await setUp(t, (server.address() as AddressInfo).port)
      t.equal((await ask({ url: `${gateway.url}/http1` })).status, 200)
      t.equal((await ask({ url: `${gateway.url}/http2` })).status, 200)
      t.equal((await rawRequest(gateway.port, HANDSHAKE)).responses[0]?.status, 200)
      await until(() => asked.some(([path]) => path === '/check'))
      t.same(
        new Map(asked),
        new Map(['/http1', '/http2', '/ws', '/check'].map((path) => [path, 'localhost'])),
      )
    },
  )

  const unlessThere = haproxyIsInstalled() ? '' : ' (NOT TESTED HERE: it needs HAProxy)'
  t.test(`HAProxy with strict-sni takes a name with a dot at the end in ${what}${unlessThere}`, async (t) => {
    if (!haproxyIsInstalled()) {
      t.pass('HAProxy is not installed')
      return
    }
    const haproxy = await startStrictHaproxy(own)
    t.teardown(() => haproxy.close())
    const gateway = await setUp(t, haproxy.port)
    for (const path of ['/http1', '/http2', '/checked'])
      t.equal((await ask({ url: gateway.url + path })).status, 200, path)
    t.equal((await rawRequest(gateway.port, HANDSHAKE)).responses[0]?.status, 200, 'handshake')
    t.notOk(gateway.lines.some(({ msg }) => msg === 'the target is down'))
  })
}
