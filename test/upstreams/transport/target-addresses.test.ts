import { once } from 'node:events'
import { createServer } from 'node:http'
import t, { type Test } from 'tap'
import { SILENT_LOG } from '../../../gateway/core/log.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { createAddressCache } from '../../../gateway/names/address-cache.ts'
import { connectionsTo, exchange, testTransport } from '../../support/target-client.ts'

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
