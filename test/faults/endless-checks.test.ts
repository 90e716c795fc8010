import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import t, { type Test } from 'tap'
import { ask } from '../support/http-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'

/* Targets of Node's own servers, whose answers to health checks are good and never end. */

interface EndlessAnswer {
  write(chunk: string): void
  end(chunk: string): void
  on(event: 'close', listener: () => void): void
}

let asked = 0

function answer({ url }: { readonly url?: string | undefined }, response: EndlessAnswer): void {
  if (url !== '/healthz') {
    response.end('ok')
    return
  }
  asked++
  response.write('well so far\n')
  const timer = setInterval(() => response.write('well so far\n'), 20)
  response.on('close', () => clearInterval(timer))
}

async function listen(t: Test, http2: boolean) {
  const server = http2 ? createHttp2Server(answer) : createServer(answer)
  const open = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of open) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, open }
}

for (const [name, http2] of [
  ['HTTP/1.1', false],
  ['HTTP/2', true],
] as const) {
  t.test(
    `a target whose checks are answered without an end over ${name} is up, and checked on`,
    async (t) => {
      const { url, open } = await listen(t, http2)
      const gateway = await plainGateway(t, {
        targets: [url],
        upstream: {
          ...(http2 ? { protocol: 'http2' } : {}),
          health: { path: '/healthz', interval: '50ms', timeout: '2s', unhealthyAfter: 1 },
        },
      })
      asked = 0
      await until(() => asked >= 20)
      t.equal((await ask({ url: gateway.url })).status, 200)
      t.equal(await gateway.metric(`gateway_upstream_target_up{upstream="api",target="${url}"}`), 1)
      t.notOk(gateway.lines.some(({ msg }) => msg === 'the target is down'))
      await until(() => open.size <= 2)
      t.pass('no connections are left behind but those of a check and of the request')
    },
  )
}
