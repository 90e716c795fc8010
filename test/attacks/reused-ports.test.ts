import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { until } from '../support/plain-gateway.ts'
import { allOf, balanced, VERSION1 } from '../support/proxy-protocol.ts'
import { freePort } from '../support/raw-backend.ts'
import { request, type Stage, startStage } from '../support/stage.ts'
import { answerOk } from '../support/upstream.ts'

/** The client that `VERSION1` names is no trusted proxy; the balancer is, and so is this client of it. */
const TRUSTED_CLIENT = 'PROXY TCP4 198.51.100.7 10.0.0.1 1 80\r\n'
const ENV = { TRUSTED_PROXIES: '127.0.0.1,198.51.100.7', PROXY_PROTOCOL: 'on' }
const MANY = Buffer.alloc(32 * 1024 * 1024)
const SPOOF = 'X-Forwarded-For: 192.0.2.66'

const { certFile, keyFile } = createAuthority(t, 'the edge').issue('app', ['DNS:app.example.com'])

for (const [transport, env] of [
  ['tcp', ENV],
  ['tls', { ...ENV, TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile }],
] as const) {
  const open = async (stage: Stage, header: string, localPort: number) => {
    const socket = await balanced(stage.gateway.port, header, '127.0.0.1', localPort)
    if (transport === 'tcp') return { carrier: socket, socket }
    const secure = connectTls({ socket, servername: 'app.example.com', rejectUnauthorized: false })
    secure.on('error', () => {})
    await once(secure, 'secureConnect')
    return { carrier: socket, socket: secure }
  }

  t.test(`over ${transport}`, async (t) => {
    const stage = await startStage({ env })
    t.teardown(() => stage.close())
    t.afterEach(() => stage.upstream.respond(answerOk))

    const openConnections = () => stage.gateway.metric('gateway_client_connections')
    const forwardedFor = () => stage.upstream.requests.at(-1)!.all('x-forwarded-for')

    /** A client whose connection breaks, which the gateway cannot notice: its upload waits for the backend. */
    async function leaveUnnoticed(header: string, localPort: number): Promise<{ backend: Socket }> {
      const { promise, resolve } = Promise.withResolvers<Socket>()
      stage.upstream.respond((_request, socket) => {
        socket.pause()
        resolve(socket)
      }, 'head')
      const { carrier, socket } = await open(stage, header, localPort)
      socket.write(request('POST /', [`Content-Length: ${MANY.length}`]))
      socket.write(MANY)
      const backend = await promise
      stage.upstream.respond(answerOk)
      await untilStuck(socket)
      carrier.resetAndDestroy()
      return { backend }
    }

    await t.test(
      'a balancer’s own connection from a source port used again does not get the client before',
      async (t) => {
        const port = await freePort()
        await leaveUnnoticed(TRUSTED_CLIENT, port)
        const { socket } = await open(stage, 'PROXY UNKNOWN\r\n', port)
        socket.write(request('GET /own', ['Connection: close']))
        t.match(await allOf(socket), /^HTTP\/1\.1 200 /)
        t.same(forwardedFor(), ['127.0.0.1'])
      },
    )

    await t.test(
      'a client on a source port used again keeps its own address when the connection before is noticed to have ended',
      async (t) => {
        const port = await freePort()
        const { backend } = await leaveUnnoticed(TRUSTED_CLIENT, port)
        const { socket } = await open(stage, VERSION1, port)
        const before = await openConnections()
        backend.destroy()
        await until(async () => (await openConnections()) < before)
        socket.write(request('GET /next', [SPOOF, 'Connection: close']))
        t.match(await allOf(socket), /^HTTP\/1\.1 200 /)
        t.same(forwardedFor(), ['203.0.113.9'])
      },
    )
  })
}

/** Resolves once nothing more is taken. */
async function untilStuck(socket: Socket): Promise<void> {
  for (let before = -1; ; ) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    const left = socket.writableLength
    if (left > 0 && left === before) return
    before = left
  }
}
