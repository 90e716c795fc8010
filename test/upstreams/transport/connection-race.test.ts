import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Deadlines } from '../../../gateway/core/deadlines.ts'
import type { Address, FoundAddresses } from '../../../gateway/names/address.ts'
import { createAddressHistory } from '../../../gateway/upstreams/transport/address-history.ts'
import { ConnectionRace } from '../../../gateway/upstreams/transport/connection-race.ts'
import { startBlackHole } from '../../support/black-hole.ts'
import { createFakeScheduler } from '../../support/fake-scheduler.ts'
import { until } from '../../support/plain-gateway.ts'

/* Addresses of one port: 127.0.0.1 takes connections, 127.0.0.2 refuses them, 127.0.0.3 answers nothing at all. */

const GOOD = '127.0.0.1'
const REFUSED = '127.0.0.2'
const BLACK_HOLE = '127.0.0.3'

let port = 0
let accepted = 0
t.before(async () => {
  const hole = await startBlackHole(t, { host: BLACK_HOLE, ports: [0] })
  port = hole.ports[0]!
  const server = createServer((socket) => {
    accepted++
    socket.on('error', () => {})
  })
  server.listen(port, GOOD)
  await once(server, 'listening')
  t.teardown(() => server.close())
})

function setUp(t: Test) {
  const scheduler = createFakeScheduler()
  const deadlines = new Deadlines(scheduler)
  const history = createAddressHistory(scheduler.now)
  const opened: Socket[] = []
  const tried: string[] = []
  t.teardown(() => {
    for (const socket of opened) socket.destroy()
  })
  const start = (found: Promise<FoundAddresses>, connectMs = 2000) => {
    const result = Promise.withResolvers<string>()
    const race = new ConnectionRace({
      hostname: 'api.test',
      port,
      connectMs,
      findAddresses: () => found,
      history,
      deadlines,
      open(host) {
        tried.push(host)
        const socket = connect({ host, port })
        opened.push(socket)
        return socket
      },
      onConnected: (socket) => result.resolve(`${socket.remoteAddress}`),
      onFailed: (error) => result.reject(error),
    })
    result.promise.catch(() => {})
    return { race, result: result.promise }
  }
  return {
    scheduler,
    opened,
    tried,
    start,
    race: (addresses: readonly string[], connectMs?: number) => start(found(addresses), connectMs),
    attempts: (count: number) => until(() => tried.length === count),
  }
}

const listed = (addresses: readonly string[]): Address[] =>
  addresses.map((address) => ({ address, family: 4 }))

async function found(
  addresses: readonly string[],
  later: Promise<readonly string[]> | null = null,
): Promise<FoundAddresses> {
  return { addresses: listed(addresses), later: later?.then(listed) ?? null }
}

t.test('an address that refuses is followed by the next one at once', async (t) => {
  const { race, tried } = setUp(t)
  t.equal(await race([REFUSED, GOOD]).result, GOOD)
  t.same(tried, [REFUSED, GOOD])
})

t.test('an address that does not answer is followed by the next one after 200 ms', async (t) => {
  const { race, tried, scheduler, attempts, opened } = setUp(t)
  const { result } = race([BLACK_HOLE, GOOD])
  await attempts(1)
  await scheduler.advance(199)
  t.same(tried, [BLACK_HOLE])
  await scheduler.advance(1)
  t.equal(await result, GOOD)
  t.ok(opened[0]!.destroyed, 'the attempt that lost is given up')
  t.equal(opened[1]!.listenerCount('error'), 0, "the events of the other are its user's")
})

t.test('where there is less time than 400 ms, the next address has half of it', async (t) => {
  const { race, tried, scheduler, attempts } = setUp(t)
  const { result } = race([BLACK_HOLE, GOOD], 100)
  await attempts(1)
  await scheduler.advance(49)
  t.same(tried, [BLACK_HOLE])
  await scheduler.advance(1)
  t.equal(await result, GOOD)
})

t.test('an address that takes long is not given up for one that refuses', async (t) => {
  const slow = await startBlackHole(t, { host: '127.0.0.4', ports: [port] })
  const { race, scheduler, attempts } = setUp(t)
  const { result } = race(['127.0.0.4', REFUSED])
  await attempts(1)
  await scheduler.advance(200)
  await attempts(2)
  slow.open()
  t.equal(await result, '127.0.0.4')
})

t.test('where each address fails, the error has the words of all', async (t) => {
  const { race } = setUp(t)
  await t.rejects(race([REFUSED, '127.0.0.5']).result, {
    code: 'ECONNREFUSED',
    message: /ECONNREFUSED 127\.0\.0\.2:\d+; connect ECONNREFUSED 127\.0\.0\.5:/,
  })
})

t.test('a name without an address fails with the error of its look-up', async (t) => {
  const { start } = setUp(t)
  await t.rejects(start(Promise.reject(new Error('no address'))).result, { message: 'no address' })
})

t.test(
  'addresses that are found later are waited for, and tried, once all others have refused',
  async (t) => {
    const { start, tried, attempts } = setUp(t)
    const later = Promise.withResolvers<readonly string[]>()
    const { result } = start(found([REFUSED], later.promise))
    await attempts(1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    later.resolve([REFUSED, GOOD])
    t.equal(await result, GOOD)
    t.same(tried, [REFUSED, GOOD])
  },
)

t.test('an address that is found later is tried as soon as the one before has had its time', async (t) => {
  const { start, tried, attempts, scheduler } = setUp(t)
  const later = Promise.withResolvers<readonly string[]>()
  const { result } = start(found([BLACK_HOLE], later.promise))
  await attempts(1)
  await scheduler.advance(300)
  t.same(tried, [BLACK_HOLE])
  later.resolve([GOOD])
  t.equal(await result, GOOD)
})

t.test('where nothing new is found later, the connection fails', async (t) => {
  const { start } = setUp(t)
  await t.rejects(start(found([REFUSED], Promise.resolve([REFUSED]))).result, { code: 'ECONNREFUSED' })
})

t.test('further connections begin with the address that took the first one', async (t) => {
  const { race, scheduler, attempts, tried } = setUp(t)
  const first = race([BLACK_HOLE, REFUSED, GOOD])
  await attempts(1)
  await scheduler.advance(200)
  t.equal(await first.result, GOOD)
  tried.length = 0
  t.equal(await race([BLACK_HOLE, REFUSED, GOOD]).result, GOOD)
  t.same(tried, [GOOD])
})

t.test(
  'where the time ends before all addresses were tried, the next connection begins with the others',
  async (t) => {
    const { race, attempts, tried } = setUp(t)
    const first = race([BLACK_HOLE, GOOD])
    await attempts(1)
    first.race.expire()
    tried.length = 0
    t.equal(await race([BLACK_HOLE, GOOD]).result, GOOD)
    t.same(tried, [GOOD])
  },
)

t.test('a target that was down is no reason to prefer one of its addresses', async (t) => {
  const { race, tried } = setUp(t)
  await t.rejects(race([REFUSED, '127.0.0.5']).result)
  tried.length = 0
  t.equal(await race([REFUSED, GOOD]).result, GOOD)
  t.same(tried, [REFUSED, GOOD])
})

t.test('a race that is given up opens nothing more and calls nobody', async (t) => {
  const { start, opened, tried, scheduler } = setUp(t)
  const later = Promise.withResolvers<readonly string[]>()
  const before = accepted
  const { race, result } = start(found([BLACK_HOLE], later.promise))
  void result.then(
    () => t.fail('called'),
    () => t.fail('called'),
  )
  await until(() => tried.length === 1)
  race.close()
  later.resolve([GOOD])
  await scheduler.advance(1000)
  t.ok(opened[0]!.destroyed)
  t.same(tried, [BLACK_HOLE])
  t.equal(accepted, before)
})
