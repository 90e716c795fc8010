import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../../support/certificates.ts'
import { later, onHeads, startTarget, type TargetKind } from '../../support/raw-target.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const transport = testTransport()
const authority = createAuthority(t, 'the test authority')
const KINDS: readonly TargetKind[] = [
  { name: 'TCP', authority: null },
  { name: 'TLS', authority },
]

/** A target that does this with each request, and connections to it. */
async function setUp(t: Test, kind: TargetKind, answer: (socket: Socket, nth: number) => void) {
  const target = await startTarget(t, kind, (socket) => onHeads(socket, (_head, nth) => answer(socket, nth)))
  const connections = connectionsTo(target.options, transport)
  t.teardown(() => connections.close())
  return { target, connections, ask: (request?: TestRequest) => exchange(connections, request) }
}

/** Writes pieces one by one, each read on its own. */
async function writeInPieces(socket: Socket, pieces: readonly string[]): Promise<void> {
  for (const piece of pieces) {
    if (piece !== '') socket.write(piece, 'latin1')
    await later(2)
  }
}

const LENGTH = 'HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello'
const CHUNKS =
  'HTTP/1.1 200 Fine\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n'
const HINTED = `HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n${LENGTH}`
const TO_THE_END = 'HTTP/1.1 200 Fine\r\nX-A: 1\r\n\r\nhello'

for (const kind of KINDS) {
  for (const [framing, bytes] of Object.entries({ LENGTH, CHUNKS, HINTED })) {
    t.test(
      `an answer (${framing}) that comes in two pieces, split at any byte, over ${kind.name}`,
      async (t) => {
        let at = 0
        const { ask, target } = await setUp(t, kind, (socket) => {
          void writeInPieces(socket, [bytes.slice(0, at), bytes.slice(at)])
        })
        for (at = 0; at < bytes.length; at++) {
          const { client, outcome } = ask()
          const got = await outcome
          if (got.kind !== 'answered' || client.body !== 'hello')
            t.fail(`split at ${at}: ${JSON.stringify(got)}`)
          if (client.field('x-a') !== '1' || client.reason !== 'Fine') t.fail(`split at ${at}`)
          if (framing === 'CHUNKS') t.same(client.trailers, [['X-Sum', '5']])
          if (framing === 'HINTED') t.equal(client.informed.length, 1)
        }
        t.equal(target.sockets.length, 1, 'one connection carried them all')
      },
    )

    for (const how of ['ends', 'is reset'] as const) {
      t.test(
        `an answer (${framing}) whose connection ${how} at any byte is cut, over ${kind.name}`,
        async (t) => {
          let at = 0
          const { ask } = await setUp(t, kind, (socket) => {
            void writeInPieces(socket, [bytes.slice(0, at)]).then(() => {
              if (how === 'ends') socket.end()
              else socket.resetAndDestroy()
            })
          })
          for (at = 0; at < bytes.length; at++) {
            const { client, outcome } = ask()
            const got = await outcome
            t.match(got, {
              kind: 'failed',
              code: 'upstream_reset',
              unconnected: false,
              stale: false,
              answerBegan: at > 0,
            })
            if (client.ended) t.fail(`looks whole though it was cut at ${at}`)
          }
        },
      )
    }
  }

  t.test(`an answer that ends with its connection is whole, over ${kind.name}`, async (t) => {
    const { ask } = await setUp(t, kind, (socket) => socket.end(TO_THE_END))
    const { client, outcome } = ask()
    t.same(await outcome, { kind: 'answered', status: 200 })
    t.same([client.body, client.ended], ['hello', true])
  })

  t.test(`an answer that ends with its connection and is reset is cut, over ${kind.name}`, async (t) => {
    const { ask } = await setUp(t, kind, (socket) => {
      socket.write(TO_THE_END, () => setTimeout(() => socket.resetAndDestroy(), 20))
    })
    const { client, outcome } = ask()
    t.match(await outcome, { kind: 'failed', code: 'upstream_reset', answerBegan: true })
    t.notOk(client.ended)
  })

  t.test(
    `a kept connection that is closed before a byte of the answer is stale, over ${kind.name}`,
    async (t) => {
      for (const how of ['end', 'resetAndDestroy'] as const) {
        const { ask } = await setUp(t, kind, (socket, nth) => {
          if (nth === 1) socket.write(LENGTH)
          else socket[how]()
        })
        t.same(await ask().outcome, { kind: 'answered', status: 200 })
        t.match(await ask().outcome, { kind: 'failed', stale: true, answerBegan: false, unconnected: false })
        t.same(await ask().outcome, { kind: 'answered', status: 200 }, 'the next one gets a new connection')
      }
    },
  )

  t.test(
    `a new connection that is closed before a byte of the answer is not stale, over ${kind.name}`,
    async (t) => {
      const { ask } = await setUp(t, kind, (socket) => socket.end())
      t.match(await ask().outcome, {
        kind: 'failed',
        code: 'upstream_reset',
        stale: false,
        answerBegan: false,
      })
    },
  )

  t.test(`a client that reads slowly holds its target back, over ${kind.name}`, async (t) => {
    const size = 20_000_000
    let written = 0
    const { ask } = await setUp(t, kind, (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      const pour = () => {
        while (written < size) {
          written += 100_000
          if (!socket.write(Buffer.alloc(100_000, 'x'))) return void socket.once('drain', pour)
        }
      }
      pour()
    })
    const { client, outcome } = ask()
    client.full = true
    await later(500)
    t.ok(client.body.length < 1_000_000, `${client.body.length} bytes were passed on`)
    t.ok(written < size, 'the target could not write all')
    client.drain()
    t.same(await outcome, { kind: 'answered', status: 200 })
    t.equal(client.body.length, size)
  })
}

const PLAIN = KINDS[0]!

t.test('what forbids another exchange on a connection', async (t) => {
  for (const [what, bytes, reused] of [
    ['an answer with a length', LENGTH, true],
    ['an answer in chunks', CHUNKS, true],
    ['Connection: close', `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, false],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', false],
    [
      'HTTP/1.0 that keeps it',
      'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n',
      true,
    ],
    ['Keep-Alive: timeout=0', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 0\r\n\r\n', false],
    ['Keep-Alive: timeout=5', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n', true],
    ['bytes behind the answer', `${LENGTH}x`, false],
    ['a 204 with a length', 'HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n', false],
    ['a 204', 'HTTP/1.1 204 No\r\n\r\n', true],
    ['a 304 with a length', 'HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n', true],
  ] as const) {
    const { ask, target } = await setUp(t, PLAIN, (socket) => socket.write(bytes))
    for (let n = 0; n < 2; n++) t.equal((await ask().outcome).kind, 'answered', what)
    t.equal(target.sockets.length, reused ? 1 : 2, what)
  }
})

t.test(
  'an answer to HEAD has no body, whatever its head says, and leaves the connection usable',
  async (t) => {
    for (const fields of ['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', '']) {
      const { ask, target } = await setUp(t, PLAIN, (socket) =>
        socket.write(`HTTP/1.1 200 OK\r\n${fields}\r\n`),
      )
      for (let n = 0; n < 2; n++) {
        const { client, outcome } = ask({ method: 'HEAD' })
        t.same(await outcome, { kind: 'answered', status: 200 })
        t.equal(client.body, '')
      }
      t.equal(target.sockets.length, 1)
    }
  },
)

t.test('204, 304 and 1xx carry no Content-Length of their own', async (t) => {
  for (const status of [204, 304]) {
    const { ask } = await setUp(t, PLAIN, (socket) =>
      socket.write(
        `HTTP/1.1 103 Hints\r\nContent-Length: 0\r\n\r\nHTTP/1.1 ${status} X\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n`,
      ),
    )
    const { client, outcome } = ask()
    t.same(await outcome, { kind: 'answered', status })
    t.same([client.field('content-length'), client.field('x-a')], [null, '1'])
    t.notMatch(client.informed[0]![1].join(), /content-length/i)
  }
})

t.test('white space around a value is none of it', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) =>
    socket.write('HTTP/1.1 200 OK\r\nX-A: \t 1 \t \r\nContent-Length: 2 \r\n\r\nok'),
  )
  const { client, outcome } = ask()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.same([client.field('x-a'), client.field('content-length'), client.body], ['1', '2', 'ok'])
})

t.test('a 100 that nobody asked for is passed over', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) =>
    socket.write(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${LENGTH}`),
  )
  const { client, outcome } = ask()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.same([client.informed, client.body], [[], 'hello'])
})

const MANY_FIELDS = 'a:\r\n'.repeat(15_000)
for (const [what, bytes] of Object.entries({
  'two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok',
  'a length and chunks':
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a coding other than chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok',
  'a coding before chunked': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'a status above 599': 'HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n',
  'a status below 100': 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n',
  'a 101 that nobody asked for': 'HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n',
  'a head of 70 KiB': `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(70_000)}\r\nContent-Length: 0\r\n\r\n`,
  '15,000 empty fields': `HTTP/1.1 200 OK\r\n${MANY_FIELDS}Content-Length: 0\r\n\r\n`,
  '15,000 empty fields in a 103': `HTTP/1.1 103 Hints\r\n${MANY_FIELDS}\r\n${LENGTH}`,
  '15,000 empty trailers': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${MANY_FIELDS}\r\n`,
  'trailers of 70 KiB': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: ${'a'.repeat(70_000)}\r\n\r\n`,
  '33 informational answers': 'HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n'.repeat(33) + LENGTH,
})) {
  t.test(`${what}: upstream_invalid, at once, and the connection is closed`, async (t) => {
    const closed: Promise<unknown>[] = []
    const { ask } = await setUp(t, PLAIN, (socket) => {
      closed.push(new Promise((resolve) => socket.once('close', resolve)))
      socket.write(bytes)
    })
    const startedAt = performance.now()
    const { client, outcome } = ask()
    t.match(await outcome, { kind: 'failed', code: 'upstream_invalid', answerBegan: true })
    t.ok(performance.now() - startedAt < 500, 'the event loop was not held up')
    t.notOk(client.ended)
    await Promise.all(closed)
  })
}

t.test('32 informational answers pass', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) =>
    socket.write('HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n'.repeat(32) + LENGTH),
  )
  const { client, outcome } = ask()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(client.informed.length, 32)
})

t.test('informational answers without end are ended by their number and by their size', async (t) => {
  for (const hint of ['HTTP/1.1 103 H\r\n\r\n', `HTTP/1.1 103 H\r\nX-A: ${'a'.repeat(60_000)}\r\n\r\n`]) {
    const { ask } = await setUp(t, PLAIN, (socket) => {
      const pour = () => {
        while (!socket.destroyed) if (!socket.write(hint)) return void socket.once('drain', pour)
      }
      pour()
    })
    const { client, outcome } = ask()
    t.match(await outcome, { kind: 'failed', code: 'upstream_invalid' })
    t.ok(client.informed.length <= 32)
  }
})

t.test('a head of 60 KiB passes', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) =>
    socket.write(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(60_000)}\r\nContent-Length: 2\r\n\r\nok`),
  )
  const { client, outcome } = ask()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(client.field('x-a')?.length, 60_000)
})

t.test('426 keeps its Upgrade field', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) =>
    socket.write('HTTP/1.1 426 No\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n'),
  )
  const { client, outcome } = ask()
  t.same(await outcome, { kind: 'answered', status: 426 })
  t.equal(client.field('upgrade'), 'websocket')
})

t.test('a client that leaves ends the exchange with the target at once', async (t) => {
  const { ask, target } = await setUp(t, PLAIN, () => {})
  const { client, outcome } = ask()
  await later(50)
  client.leave()
  t.same(await outcome, { kind: 'client-gone' })
  const [socket] = target.sockets
  if (!socket!.destroyed) await new Promise((resolve) => socket!.once('close', resolve))
})

t.test('a head that the client cannot be given is a fault of the target, and no exception', async (t) => {
  const { ask } = await setUp(t, PLAIN, (socket) => socket.write(LENGTH))
  const { client, outcome } = ask()
  client.onHead = () => {
    throw new Error('not writable')
  }
  t.match(await outcome, { kind: 'failed', code: 'upstream_invalid' })
})
