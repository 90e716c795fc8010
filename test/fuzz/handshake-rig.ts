import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'
import { createTransport } from '../../gateway/upstreams/transport/transport.ts'
import type { UpgradeAttempts, UpgradeOutcome } from '../../gateway/upstreams/transport/upgrade-attempts.ts'
import { createUpgradeAttempts } from '../../gateway/upstreams/transport/upgrade-factory.ts'
import { createFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.ts'
import { WEBSOCKET_KEY } from '../support/handshake.ts'
import { nothingToFind } from '../support/name-server.ts'
import { onHeads, startTarget } from '../support/raw-target.ts'
import { TestClient } from '../support/target-client.ts'
import { turn } from './manners.ts'

/** What a target answers to a handshake, and what it does with its connection behind that. */
export interface HandshakePlan {
  readonly pieces: readonly Buffer[]
  readonly ending: 'ends' | 'resets' | 'stays'
}

export interface HandshakeRig {
  readonly clock: FakeScheduler
  /** Begins the attempt; resolves once nothing happens any more. */
  attempt(plan: HandshakePlan): Promise<Handshake>
}

/** What the client sent behind its handshake. */
export const EARLY = 'early frames'

const QUIET_TURNS = 25
const LIMIT_MS = 5000

/** Attempts to switch clients' connections over to a target, over real sockets and with a clock of their own. */
export async function startHandshakeRig(t: Test): Promise<HandshakeRig> {
  const clock = createFakeScheduler()
  const transport = createTransport({ findAddresses: nothingToFind, scheduler: clock })
  const running: Handshake[] = []
  const sockets = await startSocketPairs(t)
  const target = await startTarget(t, { name: 'tcp', authority: null }, (socket) => {
    let nth = -1
    onHeads(socket, (head) => {
      nth = Number(/^GET \/(\d+) /.exec(head)![1])
      void running[nth]!.answer(socket)
    })
    socket.on('data', (chunk: Buffer) => running[nth]?.hear(chunk))
  })
  const limits = { connectMs: LIMIT_MS, responseMs: LIMIT_MS, idleMs: LIMIT_MS, silenceMs: null }
  const attempts = createUpgradeAttempts({ ...limits, ...target.options }, transport)
  return {
    clock,
    async attempt(plan) {
      const { ours, clients } = await sockets.open()
      const one = new Handshake(plan, clients)
      running.push(one)
      one.begin(attempts, ours, running.length - 1)
      await one.quiet()
      return one
    },
  }
}

/** A handshake at a target, for one client. */
export class Handshake {
  readonly plan: HandshakePlan
  readonly client = new TestClient()
  outcome: UpgradeOutcome | null = null
  /** The connection was switched over. */
  opened = false
  /** What the client got on its connection, beside the answers given to `client`. */
  got = ''
  /** What the target got, its head included. */
  heard = ''
  readonly #socket: Socket
  #answering = true
  #events = 0

  constructor(plan: HandshakePlan, socket: Socket) {
    this.plan = plan
    this.#socket = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.got += chunk.toString('latin1')
      this.#events++
    })
  }

  begin(attempts: UpgradeAttempts, socket: Socket, nth: number): void {
    const request = {
      response: this.client,
      record: this.client.record,
      socket,
      head: Buffer.from(EARLY),
      path: `/${nth}`,
      headers: ['Host', 'a', 'Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', WEBSOCKET_KEY],
      responseEdits: null,
    }
    const onOpen = () => {
      this.opened = true
    }
    void attempts.forward(request, onOpen).then((outcome) => {
      this.outcome = outcome
      this.#events++
    })
  }

  /** The target's side. */
  async answer(socket: Socket): Promise<void> {
    const { pieces, ending } = this.plan
    for (const piece of pieces) {
      if (socket.destroyed) break
      socket.write(piece)
      await turn()
      await turn()
      this.#events++
    }
    if (ending === 'ends') socket.end()
    else if (ending === 'resets') socket.resetAndDestroy()
    this.#answering = false
  }

  hear(chunk: Buffer): void {
    this.heard += chunk.toString('latin1')
    this.#events++
  }

  async quiet(): Promise<void> {
    let before = -1
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      await turn()
      if (this.#events !== before || this.#answering) turns = 0
      before = this.#events
    }
  }

  /** The client leaves. */
  async leave(): Promise<void> {
    this.#socket.destroy()
    await this.quiet()
  }
}

/** Connections of which the test has both ends. */
async function startSocketPairs(t: Test) {
  const accepted = new Map<number, Socket>()
  const open = new Set<Socket>()
  const keep = (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    return socket
  }
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    accepted.set(socket.remotePort!, keep(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const to = { port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true }
  t.teardown(() => {
    server.close()
    for (const socket of open) socket.destroy()
  })
  return {
    async open(): Promise<{ readonly ours: Socket; readonly clients: Socket }> {
      const clients = keep(connect(to))
      await once(clients, 'connect')
      const port = clients.localPort!
      while (!accepted.has(port)) await turn()
      const ours = accepted.get(port)!
      accepted.delete(port)
      return { ours, clients }
    },
  }
}
