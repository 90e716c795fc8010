import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../../support/certificates.ts'
import { later, onHeads, startTarget, type TargetKind } from '../../support/raw-target.ts'
import { connectionsTo, exchange, type TestRequest, testTransport } from '../../support/target-client.ts'

const transport = testTransport()
const KINDS: readonly TargetKind[] = [
  { name: 'TCP', authority: null },
  { name: 'TLS', authority: createAuthority(t, 'the test authority') },
]

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'

/** Each test has limits of its own length, so that none is held up by the others' load. */
async function setUp(t: Test, kind: TargetKind, limits: object, onConnection: (socket: Socket) => void) {
  const target = await startTarget(t, kind, onConnection)
  const connections = connectionsTo({ ...target.options, ...limits }, transport)
  t.teardown(() => connections.close())
  return { target, ask: (request?: TestRequest) => exchange(connections, request) }
}

/**
 * Exact within 50 ms below 5 s. The machine may have so much else to do that this process stands still, so of a few
 * attempts one has to be exact.
 *
 * @param measure makes one attempt. @returns how long it took
 */
async function isExact(t: Test, limitMs: number, measure: () => Promise<number>): Promise<void> {
  const took: number[] = []
  const exact = (ms: number) => ms >= limitMs - 2 && ms < limitMs + 50
  while (took.length < 5 && !took.some(exact)) took.push(await measure())
  t.ok(took.some(exact), `${took.map((ms) => ms.toFixed(1)).join(', ')} ms of ${limitMs}`)
}

const TIMED_OUT = { kind: 'failed', code: 'upstream_timeout' }

for (const kind of KINDS) {
  for (const limitMs of [100, 730, 2050]) {
    t.test(`an answer that does not come is over after ${limitMs} ms, over ${kind.name}`, async (t) => {
      let sentAt = 0
      const { ask } = await setUp(t, kind, { responseMs: limitMs }, (socket) =>
        onHeads(socket, () => {
          sentAt = performance.now()
        }),
      )
      await isExact(t, limitMs, async () => {
        t.match(await ask().outcome, { ...TIMED_OUT, answerBegan: false, stale: false, unconnected: false })
        return performance.now() - sentAt
      })
    })
  }

  t.test(`1xx and parts of a head put the limit of an answer not off, over ${kind.name}`, async (t) => {
    for (const piece of ['HTTP/1.1 103 H\r\nLink: a\r\n\r\n', 'X']) {
      let sentAt = 0
      const { ask } = await setUp(t, kind, { responseMs: 400 }, (socket) =>
        onHeads(socket, () => {
          sentAt = performance.now()
          if (piece === 'X') socket.write('HTTP/1.1 200 OK\r\n')
          const drip = setInterval(() => socket.write(piece), 50)
          socket.once('close', () => clearInterval(drip))
        }),
      )
      await isExact(t, 400, async () => {
        t.match(await ask().outcome, { ...TIMED_OUT, answerBegan: true })
        return performance.now() - sentAt
      })
    }
  })

  t.test(`an answer that stands still is over after its limit, over ${kind.name}`, async (t) => {
    let sentAt = 0
    const { ask } = await setUp(t, kind, { idleMs: 300 }, (socket) =>
      onHeads(socket, () => {
        socket.write(`${HEAD}part`)
        // Each part begins it anew.
        setTimeout(() => {
          sentAt = performance.now()
          socket.write('part')
        }, 200)
      }),
    )
    await isExact(t, 300, async () => {
      const { client, outcome } = ask()
      t.match(await outcome, { ...TIMED_OUT, answerBegan: true })
      t.equal(client.body, 'partpart')
      t.notOk(client.ended)
      return performance.now() - sentAt
    })
  })
}

const PLAIN = KINDS[0]!

t.test('the time that a client takes to read is none of its target', async (t) => {
  const { ask } = await setUp(t, PLAIN, { idleMs: 200 }, (socket) =>
    onHeads(socket, () =>
      socket.write(HEAD + 'x'.repeat(50), () => setTimeout(() => socket.write('x'.repeat(50)), 500)),
    ),
  )
  const { client, outcome } = ask()
  client.full = true
  await later(600)
  client.drain()
  t.same(await outcome, { kind: 'answered', status: 200 })
  t.equal(client.body.length, 100)
})

t.test('the limit of an answer begins when the request was sent', async (t) => {
  let sentAt = 0
  const { ask } = await setUp(t, PLAIN, { responseMs: 300 }, (socket) =>
    socket.on('data', (data) => {
      if (data.toString('latin1').endsWith('0\r\n\r\n')) sentAt = performance.now()
    }),
  )
  await isExact(t, 300, async () => {
    const { client, outcome } = ask({ body: 'pushed' })
    for (let n = 0; n < 4; n++) {
      await later(150)
      client.push('part')
    }
    client.push(null)
    t.match(await outcome, TIMED_OUT)
    return performance.now() - sentAt
  })
})

t.test('an upload that its target does not take is over after the limit of idleness', async (t) => {
  const { ask } = await setUp(t, PLAIN, { idleMs: 400, responseMs: 10_000 }, (socket) => socket.pause())
  await isExact(t, 400, async () => {
    const { client, outcome } = ask({ body: 'pushed', headers: ['Content-Length', '500000000'] })
    let heldAt = 0
    const feed = setInterval(() => {
      for (let i = 0; i < 50 && client.flowing; i++) {
        client.push(Buffer.alloc(60_000))
        if (!client.flowing) heldAt = performance.now()
      }
    }, 1)
    const got = await outcome
    clearInterval(feed)
    t.match(got, { ...TIMED_OUT, bodyTouched: true, answerBegan: false })
    return performance.now() - heldAt
  })
})

t.test('a connection that does not come about is over after its limit: TLS, names', async (t) => {
  const silent = createServer(() => {})
  silent.listen(0, '127.0.0.1')
  await new Promise((resolve) => silent.once('listening', resolve))
  const accepted: Socket[] = []
  silent.on('connection', (socket) => accepted.push(socket))
  t.teardown(() => {
    for (const each of accepted) each.destroy()
    silent.close()
  })
  const { port } = silent.address() as { port: number }
  const unanswered = testTransport(() => new Promise(() => {}))
  for (const url of [`https://127.0.0.1:${port}`, 'http://nobody.internal:80', 'https://nobody.internal']) {
    for (const connectMs of [150, 1200]) {
      const connections = connectionsTo({ url, connectMs }, unanswered)
      await isExact(t, connectMs, async () => {
        const startedAt = performance.now()
        t.match(await exchange(connections).outcome, { ...TIMED_OUT, unconnected: true }, url)
        return performance.now() - startedAt
      })
    }
  }
})
