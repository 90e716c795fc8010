import { once } from 'node:events'
import { createServer } from 'node:http'
import type { LookupFunction } from 'node:net'
import t, { type Test } from 'tap'
import { type Address, createAddressLookup } from '../../gateway/proxy/address-lookup.ts'
import { createTargetConnections } from '../../gateway/proxy/dispatcher.ts'

function setUp(answers: readonly Address[] | Error) {
  const state = { answers, asked: 0, time: 0 }
  const lookup = createAddressLookup({
    now: () => state.time,
    resolve: async () => {
      state.asked++
      if (state.answers instanceof Error) throw state.answers
      return state.answers
    },
  })
  return { state, lookup }
}

function all(lookup: LookupFunction, family: 0 | 4 | 6 = 0): Promise<string> {
  return new Promise((resolve, reject) =>
    lookup('api.internal', { all: true, family }, (error, found) =>
      error ? reject(error) : resolve((found as Address[]).map(({ address }) => address).join(' ')),
    ),
  )
}

const v4 = (address: string) => ({ address, family: 4 })

t.test('each connection begins with the next address, the others follow', async (t) => {
  const { lookup, state } = setUp([v4('10.0.0.1'), v4('10.0.0.2'), v4('10.0.0.3')])
  t.equal(await all(lookup), '10.0.0.1 10.0.0.2 10.0.0.3')
  t.equal(await all(lookup), '10.0.0.2 10.0.0.3 10.0.0.1')
  t.equal(await all(lookup), '10.0.0.3 10.0.0.1 10.0.0.2')
  t.equal(await all(lookup), '10.0.0.1 10.0.0.2 10.0.0.3')
  t.equal(state.asked, 1)
})

t.test('a caller that wants one address gets the next one', async (t) => {
  const { lookup } = setUp([v4('10.0.0.1'), v4('10.0.0.2')])
  const one = () =>
    new Promise((resolve) =>
      lookup('api.internal', {}, (_error, address, family) => resolve([address, family])),
    )
  t.same(await one(), ['10.0.0.1', 4])
  t.same(await one(), ['10.0.0.2', 4])
})

t.test('after 30 seconds the resolver is asked again, by one query for all that wait', async (t) => {
  const { lookup, state } = setUp([v4('10.0.0.1')])
  await all(lookup)
  state.answers = [v4('10.0.0.9')]
  state.time = 29_999
  t.equal(await all(lookup), '10.0.0.1')
  state.time = 30_000
  t.same(await Promise.all([all(lookup), all(lookup), all(lookup)]), ['10.0.0.9', '10.0.0.9', '10.0.0.9'])
  t.equal(state.asked, 2)
})

t.test('a resolver that fails leaves the addresses that were known', async (t) => {
  const { lookup, state } = setUp([v4('10.0.0.1')])
  await all(lookup)
  state.answers = Object.assign(new Error('getaddrinfo EAI_AGAIN'), { code: 'EAI_AGAIN' })
  state.time = 60_000
  t.equal(await all(lookup), '10.0.0.1')
})

t.test('a name that was never known is a fault, and is asked for again the next time', async (t) => {
  const { lookup, state } = setUp(Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' }))
  await t.rejects(all(lookup), { code: 'ENOTFOUND' })
  state.answers = [v4('10.0.0.1')]
  t.equal(await all(lookup), '10.0.0.1')
})

t.test('only addresses of the family that was asked for', async (t) => {
  const { lookup } = setUp([{ address: '::1', family: 6 }, v4('10.0.0.1')])
  t.equal(await all(lookup, 4), '10.0.0.1')
  t.equal(await all(lookup, 6), '::1')
})

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
  const { lookup } = setUp([v4('127.0.0.1'), v4('127.0.0.2'), v4('127.0.0.3')])
  const connections = createTargetConnections({
    url: `http://api.internal:${port}`,
    connectMs: 1000,
    responseMs: 1000,
    idleMs: 1000,
    maxConnections: 8,
    http2: false,
    tls: null,
    lookup,
  })
  t.teardown(() => connections.close())
  const seen = new Set<string>()
  for (let n = 0; n < 6; n++) {
    const body = await new Promise<string>((resolve, reject) => {
      let text = ''
      connections.fresh.dispatcher.dispatch(
        { path: '/', method: 'GET', headers: ['Host', 'a'] },
        {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData(_controller, chunk) {
            text += chunk
          },
          onResponseEnd: () => resolve(text),
          onResponseError: (_controller, error) => reject(error),
        },
      )
    })
    seen.add(body)
  }
  t.same([...seen].sort(), ['127.0.0.1', '127.0.0.2'])
})
