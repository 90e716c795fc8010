import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createFetchJson } from '../../../gateway/auth/jwt/fetch-json.ts'
import { spawnGateway } from '../../support/gateway.ts'
import { NO_DATABASE } from '../../support/plain-gateway.ts'

async function listen(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  return (server.address() as AddressInfo).port
}

t.test('the host of the JWKS URL is resolved by the given lookup function', async (t) => {
  const port = await listen(
    t,
    createServer((_req, res) => res.end('{"keys":[]}')),
  )
  const asked: string[] = []
  const fetchJson = createFetchJson({
    lookup: (name, _options, callback) => {
      asked.push(name)
      callback(null, [{ address: '127.0.0.1', family: 4 }])
    },
  })
  t.same(await fetchJson(`http://issuer.test:${port}/jwks.json`, 2000), { keys: [] })
  t.same(asked, ['issuer.test'])
})

t.test('with NODE_USE_ENV_PROXY=1 the key set is fetched through HTTP_PROXY', async (t) => {
  const port = await listen(
    t,
    createServer((_req, res) => res.end('{"keys":[]}')),
  )
  const proxied = Promise.withResolvers<string>()
  const proxy = createServer((req, res) => {
    proxied.resolve(req.url ?? '')
    res.end('{"keys":[]}')
  })
  proxy.on('connect', (req, socket) => {
    proxied.resolve(req.url ?? '')
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      onward.pipe(socket).pipe(onward)
    })
    for (const each of [onward, socket]) each.on('error', () => {})
  })
  const child = spawnGateway(['serve'], {
    NODE_ENV: 'production',
    HOST: '127.0.0.1',
    PORT: '0',
    ADMIN_PORT: '0',
    DATABASE_URL: NO_DATABASE,
    UPSTREAMS_FILE: fileURLToPath(new URL('../../../upstreams.example.json', import.meta.url)),
    JWT_JWKS_URL: `http://issuer.test:${port}/jwks.json`,
    NODE_USE_ENV_PROXY: '1',
    HTTP_PROXY: `http://127.0.0.1:${await listen(t, proxy)}`,
  })
  t.teardown(() => void child.kill())
  t.match(await proxied.promise, `issuer.test:${port}`)
})
