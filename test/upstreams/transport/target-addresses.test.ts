import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import t, { type Test } from 'tap'
import { SILENT_LOG } from '../../../gateway/core/log.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import type { Address } from '../../../gateway/names/address.ts'
import { createAddressCache } from '../../../gateway/names/address-cache.ts'
import { startBlackHole } from '../../support/black-hole.ts'
import { createAuthority } from '../../support/certificates.ts'
import { connectionsTo, exchange, testTransport } from '../../support/target-client.ts'

const [BLACK_HOLE, ANOTHER] = ['127.0.0.3', '127.0.0.4'] as const
const testAuthority = createAuthority(t, 'addresses')

/** A transport that finds these addresses for every name. */
function transportTo(...addresses: readonly string[]) {
  const found = addresses.map((address): Address => ({ address, family: 4 }))
  return testTransport(async () => ({ addresses: found, later: null }))
}

async function listen(t: Test, host: string, port: number) {
  const server = createServer((_req, res) => res.end(host))
  server.listen(port, host)
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  return (server.address() as { port: number }).port
}

t.test('connections to a name are spread over its addresses; one that is dead is passed over', async (t) => {
  const port = await listen(t, '127.0.0.1', 0)
  await listen(t, '127.0.0.2', port)
  const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.3']
  const book = createAddressCache({
    scheduler: systemScheduler,
    log: SILENT_LOG,
    resolve: async () => ({
      kind: 'found',
      answers: { 4: { kind: 'addresses', addresses, ttlMs: 30_000 }, 6: { kind: 'none', nameExists: true } },
      late: null,
    }),
  })
  const transport = testTransport(book.find)
  const connections = connectionsTo({ url: `http://api.internal:${port}` }, transport)
  t.teardown(() => connections.close())
  const seen = new Set<string>()
  for (let n = 0; n < 6; n++) {
    const { client, outcome } = exchange(connections, {}, { fresh: true })
    t.same(await outcome, { kind: 'answered', status: 200 })
    seen.add(client.body)
  }
  t.same([...seen].sort(), ['127.0.0.1', '127.0.0.2'])
})

t.test('over TLS too an address that does not answer is passed over', async (t) => {
  const hole = await startBlackHole(t, { host: BLACK_HOLE, ports: [0] })
  const own = testAuthority.issue('api.internal', ['DNS:api.internal'])
  const server = createHttpsServer({ cert: own.cert, key: own.key }, (_req, res) => res.end('ok'))
  server.listen(hole.ports[0], '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close().closeAllConnections())
  const connections = connectionsTo(
    {
      url: `https://api.internal:${hole.ports[0]}`,
      tls: { caFile: testAuthority.certFile },
      connectMs: 10_000,
    },
    transportTo(BLACK_HOLE, '127.0.0.1'),
  )
  t.teardown(() => connections.close())
  const { client, outcome } = exchange(connections)
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(client.body, 'ok')
})

for (const http2 of [false, true]) {
  t.test(
    `the connect time-out is that of all addresses together, over HTTP/${http2 ? 2 : 1.1}: upstream_timeout`,
    async (t) => {
      const { ports } = await startBlackHole(t, { host: BLACK_HOLE, ports: [0] })
      await startBlackHole(t, { host: ANOTHER, ports })
      const connections = connectionsTo(
        { url: `http://api.internal:${ports[0]}`, http2, connectMs: 500 },
        transportTo(BLACK_HOLE, ANOTHER),
      )
      const began = performance.now()
      t.match(await exchange(connections).outcome, { code: 'upstream_timeout', unconnected: true })
      t.ok(performance.now() - began >= 499, 'not before')
      await connections.close()
    },
  )
}
