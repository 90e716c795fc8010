import { once } from 'node:events'
import { createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createHealthProbe } from '../../../gateway/upstreams/transport/health-probe.ts'
import { createAuthority } from '../../support/certificates.ts'
import { until } from '../../support/plain-gateway.ts'
import { onHeads, startTarget, type TargetKind } from '../../support/raw-target.ts'
import { testTransport } from '../../support/target-client.ts'

const transport = testTransport()
const LONG_MS = 10_000
const KINDS: readonly TargetKind[] = [
  { name: 'TCP', authority: null },
  { name: 'TLS', authority: createAuthority(t, 'checks') },
]

async function setUpHttp1(t: Test, kind: TargetKind, answer: (socket: Socket) => void) {
  const target = await startTarget(t, kind, (socket) => onHeads(socket, () => answer(socket)))
  const probe = createHealthProbe({ ...target.options, http2: false }, transport)
  t.teardown(() => probe.close())
  return {
    target,
    check: (timeoutMs = LONG_MS) => probe.check('/healthz', timeoutMs),
    open: () => target.sockets.filter((socket) => !socket.destroyed).length,
    close: () => probe.close(),
  }
}

async function setUpHttp2(t: Test, onStream: (stream: ServerHttp2Stream) => void) {
  const server = createHttp2Server()
  const sessions: { destroyed: boolean; destroy(): void }[] = []
  server.on('session', (session) => {
    session.on('error', () => {})
    sessions.push(session)
  })
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    onStream(stream as ServerHttp2Stream)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const probe = createHealthProbe({ url, http2: true, tls: null }, transport)
  t.teardown(() => {
    probe.close()
    for (const session of sessions) session.destroy()
    server.close()
  })
  return {
    sessions,
    check: (timeoutMs = LONG_MS) => probe.check('/healthz', timeoutMs),
    open: () => sessions.filter(({ destroyed }) => !destroyed).length,
  }
}

/** Writes again and again, as fast as the other side takes it. */
function flood(socket: Socket): void {
  const bytes = Buffer.alloc(65_536, 'x')
  const write = () => {
    while (!socket.destroyed && socket.write(bytes));
  }
  socket.on('drain', write)
  write()
}

const ENDLESS: Readonly<Record<string, (socket: Socket, head: string) => void>> = {
  'does not begin': (socket, head) => socket.write(`${head}Content-Length: 5\r\n\r\n`),
  'stops amid its length, behind a head that comes with it': (socket, head) =>
    socket.write(`${head}Content-Length: 5\r\n\r\nhe`),
  'stops amid its chunks': (socket, head) =>
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`),
  'lasts until the connection ends': (socket, head) => socket.write(`${head}\r\nhello`),
  floods: (socket, head) => {
    socket.write(`${head}\r\nhello`)
    flood(socket)
  },
}

for (const kind of KINDS) {
  for (const [what, write] of Object.entries(ENDLESS)) {
    t.test(
      `a status counts though its body ${what}, and ends its connection, over ${kind.name}`,
      async (t) => {
        let status = '200 OK'
        const { check, open, target } = await setUpHttp1(t, kind, (socket) =>
          write(socket, `HTTP/1.1 ${status}\r\n`),
        )
        t.equal(await check(), null)
        await until(() => open() === 0)
        t.equal(await check(), null)
        status = '503 Unavailable'
        t.equal(await check(), 'the check was answered with 503')
        await until(() => open() === 0)
        t.equal(target.sockets.length, 3, 'each check has a connection of its own')
      },
    )
  }

  t.test(`informational answers in front of the status are passed over, over ${kind.name}`, async (t) => {
    const { check } = await setUpHttp1(t, kind, (socket) =>
      socket.write(
        'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n' +
          'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
      ),
    )
    t.equal(await check(), null)
  })

  t.test(`a target that answers nothing fails the check at its limit, over ${kind.name}`, async (t) => {
    const { check, open, target } = await setUpHttp1(t, kind, () => {})
    t.equal(await check(300), 'no answer to the check within 300 ms')
    await until(() => target.sockets.length === 1 && open() === 0)
  })
}

t.test('informational answers put off no limit, and are no status', async (t) => {
  const { check, open } = await setUpHttp1(t, KINDS[0]!, (socket) => {
    const timer = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 50)
    socket.once('close', () => clearInterval(timer))
  })
  t.equal(await check(300), 'no answer to the check within 300 ms')
  await until(() => open() === 0)
})

t.test('a check whose name is not resolved ends at its limit', async (t) => {
  const unresolved = testTransport(() => new Promise(() => {}))
  const probe = createHealthProbe({ url: 'http://api.test', http2: false, tls: null }, unresolved)
  // Neither a limit nor a look-up that is awaited keeps a process alive.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  t.equal(await probe.check('/', 50), 'no answer to the check within 50 ms')
})

t.test(
  'a probe that is closed ends the connection of the check under way, which has no result',
  async (t) => {
    const { check, open, close } = await setUpHttp1(t, KINDS[0]!, () => {})
    void check().then(() => t.fail('a result'))
    await until(() => open() === 1)
    close()
    await until(() => open() === 0)
  },
)

t.test('over HTTP/2 a status counts though its stream does not end', async (t) => {
  let status = 200
  const { check, open, sessions } = await setUpHttp2(t, (stream) => {
    stream.respond({ ':status': status })
    stream.write('hello')
  })
  t.equal(await check(), null)
  await until(() => open() === 0)
  t.equal(await check(), null)
  status = 503
  t.equal(await check(), 'the check was answered with 503')
  await until(() => open() === 0)
  t.equal(sessions.length, 3, 'each check has a connection of its own')
})

t.test('over HTTP/2 informational answers in front of the status are passed over', async (t) => {
  const { check } = await setUpHttp2(t, (stream) => {
    stream.additionalHeaders({ ':status': 102 })
    stream.additionalHeaders({ ':status': 103, link: '</a.css>' })
    stream.respond({ ':status': 204 }, { endStream: true })
  })
  t.equal(await check(), null)
})

t.test('over HTTP/2 a connection that is mute fails one check, and is closed', async (t) => {
  const http2 = createHttp2Server((_request, response) => response.end())
  const mute: Socket[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    if (mute.length === 0) mute.push(socket.resume())
    else http2.emit('connection', socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const probe = createHealthProbe({ url, http2: true, tls: null }, transport)
  t.equal(await probe.check('/', 300), 'no answer to the check within 300 ms')
  t.equal(await probe.check('/', LONG_MS), null)
  await until(() => mute[0]!.destroyed)
})
