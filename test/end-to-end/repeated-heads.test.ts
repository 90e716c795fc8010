import t from 'tap'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { NO_DATABASE } from '../support/plain-gateway.ts'
import { startRawBackend } from '../support/raw-backend.ts'
import { rawRequest } from '../support/raw-http.ts'

/** Every answer has the same bytes as the one before: nothing in it, such as `Date`, changes. */
const HEAD =
  'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\n'

const backend = await startRawBackend(({ head, socket }) =>
  socket.write(head.startsWith('HEAD ') ? HEAD : `${HEAD}ok`),
)
const gateway = await startGateway({
  databaseUrl: NO_DATABASE,
  routing: {
    upstreams: { app: { targets: [backend.url], maxConnections: 1 } },
    routes: [
      { path: '/plain', upstream: 'app', auth: 'none' },
      { path: '/set', upstream: 'app', auth: 'none', responseHeaders: { set: { 'X-Route': 'set' } } },
      { path: '/removed', upstream: 'app', auth: 'none', responseHeaders: { remove: ['Set-Cookie'] } },
      { path: '/anonymous', upstream: 'app', auth: 'none', responseHeaders: { remove: ['X-Request-Id'] } },
    ],
  },
  env: { ACCESS_LOG: 'off' },
})
t.teardown(async () => {
  await gateway.stop()
  await backend.close()
})

const paths = ['/plain', '/set', '/removed', '/anonymous', '/plain', '/plain', '/set', '/set', '/removed']

t.test('answers with the same head get what their own routes say, on one connection', async (t) => {
  for (const path of [...paths, ...paths]) {
    const { status, body, headers } = await ask({ url: gateway.url + path })
    t.same(
      [status, body, headers['x-route'], headers['set-cookie'], typeof headers['x-request-id']],
      [
        200,
        'ok',
        path === '/set' ? 'set' : undefined,
        path === '/removed' ? undefined : ['theirs=1'],
        path === '/anonymous' ? 'undefined' : 'string',
      ],
      path,
    )
  }
  t.equal(backend.connections, 1)
})

t.test('each answer has the id of its own request', async (t) => {
  const ids = new Set<unknown>()
  for (let n = 0; n < 20; n++) ids.add((await ask({ url: `${gateway.url}/plain` })).headers['x-request-id'])
  t.equal(ids.size, 20)
  t.equal(backend.connections, 1)
})

t.test('HEAD and GET in turn, and HTTP/1.0, get the same head and their own body', async (t) => {
  for (let n = 0; n < 6; n++) {
    const method = n % 2 === 0 ? 'GET' : 'HEAD'
    const { headers, body } = await ask({ url: `${gateway.url}/plain`, method })
    t.same([headers['content-length'], body], ['2', method === 'GET' ? 'ok' : ''])
    const { raw } = await rawRequest(gateway.port, 'GET /plain HTTP/1.0\r\nHost: a\r\n\r\n')
    t.match(raw.toString('latin1'), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s)
  }
  t.equal(backend.connections, 1)
})
