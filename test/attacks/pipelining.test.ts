import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { until } from '../support/plain-gateway.ts'
import type { Respond } from '../support/upstream.ts'
import { answerAll, shot, startRange } from './support.ts'

/*
 * The attack: requests without end behind one that is slow, by clients that need no token for it. A server that reads
 * and forwards them all holds them in memory, and takes every place of a target for one connection.
 */

const PLACES = 4
const CONNECTIONS = 150
const PIPELINED = 4500
/** What 150 connections may hold, with what sockets of Node cost by themselves. */
const MAX_GROWTH_MIB = 80
const MAX_ANSWER_MS = 2000

const range = await startRange(t, {
  upstream: { maxConnections: PLACES },
  env: { ACCESS_LOG: 'off' },
})

/** Answers all but what is asked of `/slow`. */
const holdSlow: Respond = (request, socket) => {
  if (!request.target.startsWith('/public/slow')) answerAll(request, socket)
}

const heard = () => range.upstream.requests.filter(({ target }) => target.startsWith('/public/slow')).length

async function attacker(bytes: string): Promise<Socket> {
  const socket = connect(range.port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(bytes)
  return socket
}

/** Resident memory without pages of files, in MiB. */
async function memory(): Promise<number> {
  const status = await readFile(`/proc/${range.gateway.pid}/status`, 'utf8')
  return Number(/RssAnon:\s+(\d+)/.exec(status)![1]) / 1024
}

/** Of a client whose bytes wait in its socket the leaving does not show before its request has ended. */
function endAttack(sockets: readonly Socket[]): Promise<void> {
  for (const socket of sockets) socket.destroy()
  return until(async () => {
    for (const { socket } of range.upstream.connections) socket.destroy()
    return (await range.gateway.metric('gateway_requests_in_flight')) === 0
  })
}

t.beforeEach(() => range.upstream.respond(holdSlow))

t.test('57 kB of requests pipelined on one connection take one place of the target', async (t) => {
  const one = shot('request', '/public/slow', [])
  const before = heard()
  const socket = await attacker(one.repeat(Math.ceil(57_000 / one.length)))
  await until(() => heard() === before + 1)
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal(heard(), before + 1)
  t.equal(await range.gateway.metric('gateway_requests_in_flight'), 1)
  for (let n = 0; n < 3; n++) {
    const since = performance.now()
    t.equal((await range.ask(shot('request', '/public', []))).responses[0]?.status, 200)
    t.ok(performance.now() - since < MAX_ANSWER_MS, 'others are served as ever')
  }
  await endAttack([socket])
})

t.test(
  '150 connections that pipeline 4,500 requests each behind a slow one do not fill the memory',
  async (t) => {
    await range.ask(shot('request', '/public', []))
    const before = await memory()
    const requests = shot('request', '/public/slow', []).repeat(PIPELINED)
    const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => attacker(requests)))
    await until(async () => (await range.gateway.metric('gateway_requests_in_flight')) === CONNECTIONS)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    t.equal(await range.gateway.metric('gateway_requests_in_flight'), CONNECTIONS, 'one each')
    const growth = (await memory()) - before
    t.ok(growth < MAX_GROWTH_MIB, `${Math.round(growth)} MiB more`)
    const since = performance.now()
    const { responses } = await range.ask(shot('request', '/required', []))
    t.equal(responses[0]?.status, 401)
    t.ok(performance.now() - since < MAX_ANSWER_MS, 'others are answered as ever')
    for (const socket of sockets) socket.destroy()
  },
)
