import type { ClientHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createAuthority } from '../support/certificates.ts'
import { ask, PROTOCOLS } from '../support/either-client.ts'
import { askHttp2, http2Client } from '../support/http2-client.ts'
import { plainGateway, until } from '../support/plain-gateway.ts'
import { OK, startRawBackend } from '../support/raw-backend.ts'

/*
 * The attack: one connection of HTTP/2 asks for all that a target can do, with exchanges that do not end. Nothing of
 * that can be taken back, so what others need must not have been given away.
 */

const EVENTS = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n'
const MAX_ANSWER_MS = 2000

const { certFile, keyFile } = createAuthority(t, 'the edge authority').issue('app.example.com', [
  'DNS:app.example.com',
])

/** A gateway before a backend that leaves `/slow` unanswered, `/events` open, and answers the rest at once. */
async function startStage(t: Test, upstream: Readonly<Record<string, unknown>> = {}) {
  const slow: Socket[] = []
  const backend = await startRawBackend(({ head, socket }) => {
    if (head.startsWith('GET /slow')) slow.push(socket)
    else socket.write(head.startsWith('GET /events') ? EVENTS : OK)
  })
  t.teardown(() => backend.close())
  const gateway = await plainGateway(t, {
    targets: [backend.url],
    upstream,
    env: { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile },
  })
  const heard = (path: string) => backend.requests.filter((head) => head.startsWith(`GET ${path} `)).length
  return { port: gateway.port, slow, heard }
}

/** Asks for `path` over and over on one connection. */
async function hog(t: Test, port: number, path: string, count: number) {
  const session = http2Client(t, port)
  await new Promise((resolve) => session.once('remoteSettings', resolve))
  return flood(session, path, count)
}

function flood(session: ClientHttp2Session, path: string, count: number): Promise<number>[] {
  return Array.from({ length: count }, () =>
    askHttp2(session, { ':path': path }).then(
      ({ status }) => status,
      () => 0,
    ),
  )
}

for (const [what, path] of [
  ['128 requests that are not answered', '/slow'],
  ['128 event streams', '/events'],
] as const) {
  t.test(`${what} on one connection leave places of the target for others`, async (t) => {
    const { port, heard } = await startStage(t)
    await hog(t, port, path, 128)
    await until(() => heard(path) >= 100)
    for (const protocol of PROTOCOLS) {
      const since = performance.now()
      t.equal((await ask(t, port, protocol, { path: '/quick' }).answer).status, 200, protocol)
      t.ok(performance.now() - since < MAX_ANSWER_MS, 'at once')
    }
    t.equal(heard(path), 112, 'seven of eight places are the most that one connection gets')
  })
}

t.test('what one connection has waiting does not fill maxPending: another client waits too', async (t) => {
  const { port, slow, heard } = await startStage(t, { maxConnections: 2, maxPending: 16 })
  const statuses = await hog(t, port, '/slow', 40)
  await until(() => heard('/slow') === 1)
  const refused = await Promise.all(statuses.slice(15))
  t.same(new Set(refused), new Set([503]), 'past its share the connection is refused')
  const other = ask(t, port, 'HTTP/1.1', { path: '/slow' })
  await until(() => heard('/slow') === 2)
  const third = ask(t, port, 'HTTP/1.1', { path: '/quick' })
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(heard('/quick'), 0, 'it waits')
  slow.pop()!.write(OK)
  t.equal((await other.answer).status, 200)
  t.equal((await third.answer).status, 200, 'and is served before those that came first')
  t.equal(heard('/slow'), 2)
})
