import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { createAuthority } from '../../support/certificates.ts'
import { later, onHeads, startTarget, type TargetKind } from '../../support/raw-target.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const transport = testTransport()
const PLAIN: TargetKind = { name: 'TCP', authority: null }
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const ANSWERED = { kind: 'answered', status: 200 }

async function setUp(t: Test, answer: (socket: Socket, nth: number) => void, kind = PLAIN) {
  const target = await startTarget(t, kind, (socket) => onHeads(socket, (_head, nth) => answer(socket, nth)))
  const connections = connectionsTo(target.options, transport)
  t.teardown(() => connections.close())
  return {
    target,
    connections,
    ask: (request?: TestRequest) => exchange(connections, request).outcome,
    askAfresh: () => exchange(connections, {}, { fresh: true }).outcome,
  }
}

function closed(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => (socket.destroyed ? resolve(null) : socket.once('close', resolve)))
}

t.test(
  'exchanges at the same time have connections of their own, and the one used last is taken first',
  async (t) => {
    const held: Socket[] = []
    const served: number[] = []
    const { ask, target } = await setUp(t, (socket) => {
      served.push(target.sockets.indexOf(socket))
      held.push(socket)
      if (held.length > 2) socket.write(OK)
    })
    const both = [ask(), ask()]
    while (held.length < 2) await later(5)
    held[0]!.write(OK)
    t.same(await Promise.race(both), ANSWERED)
    await later(10)
    held[1]!.write(OK)
    await Promise.all(both)
    const last = target.sockets.indexOf(held[1]!)
    for (let n = 0; n < 3; n++) t.same(await ask(), ANSWERED)
    t.same(served.slice(2), [last, last, last])
    t.equal(target.sockets.length, 2)
  },
)

t.test('a fresh connection is one that has carried nothing, and is kept like any other', async (t) => {
  const { ask, askAfresh, target } = await setUp(t, (socket) => socket.write(OK))
  await ask()
  await askAfresh()
  t.equal(target.sockets.length, 2)
  await ask()
  t.equal(target.sockets.length, 2)
})

t.test('an idle connection that its target ends or writes to is not used again', async (t) => {
  for (const misbehave of [
    (socket: Socket) => socket.end(),
    (socket: Socket) => socket.resetAndDestroy(),
    (socket: Socket) => socket.write('HTTP/1.1 408 Request Timeout\r\n\r\n'),
  ]) {
    const { ask, target } = await setUp(t, (socket) => socket.write(OK))
    t.same(await ask(), ANSWERED)
    await later(10)
    misbehave(target.sockets[0]!)
    await closed(target.sockets[0]!)
    await later(20)
    t.same(await ask(), ANSWERED)
    t.equal(target.sockets.length, 2)
  }
})

t.test('an idle connection is closed before the time that its target gives it', async (t) => {
  for (const [seconds, least, most] of [
    [1, 450, 700],
    [2, 950, 1200],
  ] as const) {
    const { ask, target } = await setUp(t, (socket) =>
      socket.write(`HTTP/1.1 200 OK\r\nKeep-Alive: timeout=${seconds}, max=100\r\nContent-Length: 0\r\n\r\n`),
    )
    await ask()
    const startedAt = performance.now()
    await closed(target.sockets[0]!)
    const took = performance.now() - startedAt
    t.ok(took > least && took < most, `${Math.round(took)} ms of ${seconds} s`)
  }
})

t.test('an idle connection is closed after 4 s where its target gives it no time', async (t) => {
  const { ask, target } = await setUp(t, (socket) => socket.write(OK))
  await ask()
  const startedAt = performance.now()
  await closed(target.sockets[0]!)
  const took = performance.now() - startedAt
  t.ok(took > 3900 && took < 4200, `${Math.round(took)} ms`)
})

t.test('closing lets exchanges finish, and then closes their connections', async (t) => {
  let answer = () => {}
  const { ask, connections, target } = await setUp(t, (socket, nth) => {
    if (nth === 1) socket.write(OK)
    else answer = () => socket.write(OK)
  })
  await ask()
  const slow = ask()
  await later(50)
  let over = false
  const close = connections.close().then(() => {
    over = true
  })
  await later(50)
  t.notOk(over)
  answer()
  t.same(await slow, ANSWERED)
  await close
  await closed(target.sockets[0]!)
})

t.test('TLS: the session of one connection is taken up again by the next', async (t) => {
  const authority = createAuthority(t, 'the test authority')
  const { askAfresh, target } = await setUp(t, (socket) => socket.write(OK), { name: 'TLS', authority })
  for (let n = 0; n < 3; n++) {
    t.same(await askAfresh(), ANSWERED)
    await later(20)
  }
  t.same(
    target.sockets.map((socket) => (socket as TLSSocket).isSessionReused()),
    [false, true, true],
  )
})

t.test('TLS: the session of a target whose certificate is another name is never taken up', async (t) => {
  const authority = createAuthority(t, 'the test authority')
  const target = await startTarget(t, { name: 'TLS', authority }, (socket) =>
    onHeads(socket, () => socket.write(OK)),
  )
  const tls = { caFile: authority.certFile, serverName: 'other.internal' }
  const connections = connectionsTo({ ...target.options, tls }, transport)
  for (let n = 0; n < 3; n++) {
    t.match(await exchange(connections).outcome, {
      kind: 'failed',
      code: 'upstream_unreachable',
      unconnected: true,
    })
  }
})

t.test('one connection carries thousands of exchanges, one after the other', async (t) => {
  const { ask, target } = await setUp(t, (socket) => socket.write(OK))
  for (let n = 0; n < 3000; n++) {
    const got = await ask(n % 3 === 0 ? { body: 'hello', headers: ['Content-Length', '5'] } : {})
    if (got.kind !== 'answered') t.fail(JSON.stringify(got))
  }
  t.equal(target.sockets.length, 1)
})
