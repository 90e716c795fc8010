import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket, connect as tcpConnect } from 'node:net'
import { connect as tlsConnect, createServer as tlsServer } from 'node:tls'
import type { Test } from 'tap'
import type { InboundRequest, InboundResponse } from '../../gateway/exchange/inbound.ts'
import { createWire } from '../../gateway/http1/wire.ts'
import type { Arrival, Unparsed } from '../../gateway/pipeline/gateway.ts'
import { createConnectionRegistry } from '../../gateway/server/connection-registry.ts'
import { createHttp1Server } from '../../gateway/server/http1/http1-server.ts'
import { createAuthority } from '../support/certificates.ts'
import { createFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.ts'
import { act, type Manner, refuse, type Seen, turn } from './manners.ts'

/** What a client does on one connection, and what is done with its exchanges. */
export interface Plan {
  readonly pieces: readonly Buffer[]
  /** For one exchange after the other, again and again. */
  readonly manners: readonly Manner[]
  /**
   * Once nothing happens any more, the client `ends` its side, or `waits` for the time limits; it `leaves` by a reset
   * after some of the pieces.
   */
  readonly ending: 'ends' | 'waits' | 'leaves'
  readonly leavesAfter: number
}

export interface ClientRig {
  readonly clock: FakeScheduler
  /** Sends all pieces, and waits until nothing happens any more. */
  visit(plan: Plan): Promise<Visit>
}

/** Longer than all time limits of a connection together. */
const ALL_LIMITS_MS = 1_000_000

/** Turns without an event after which nothing more will happen by itself. */
const QUIET_TURNS = 25

/** HTTP/1.1 connections of clients over real sockets, with the test in the gateway's place and a clock of its own. */
export async function startClientRig(t: Test, transport: 'tcp' | 'tls'): Promise<ClientRig> {
  const clock = createFakeScheduler()
  const visits = new Map<number, Visit>()
  const visitOf = (socket: { readonly remotePort?: number | undefined }) => visits.get(socket.remotePort!)!
  const gateway = {
    async handle(request: InboundRequest, response: InboundResponse, arrival: Arrival = {}) {
      visitOf(request.socket).take(request, response, arrival)
    },
    recordUnparsed: (unparsed: Unparsed) => visitOf(unparsed.socket).takeUnparsed(unparsed),
  }
  const http1 = createHttp1Server(gateway, createConnectionRegistry(), {
    wire: createWire(),
    scheduler: clock,
    wallClock: () => 0,
    requestId: randomUUID,
    hsts: null,
    maxHeaderBytes: 16_384,
    headersTimeoutMs: 10_000,
    requestTimeoutMs: 60_000,
    keepAliveTimeoutMs: 65_000,
  })
  const clients = new Set<Socket>()
  const served = new Map<number, Socket>()
  const serve = (socket: Socket) => {
    const port = socket.remotePort!
    served.set(port, socket)
    socket.once('close', () => served.delete(port))
    http1.serve(socket)
  }
  const certificate = transport === 'tcp' ? null : createAuthority(t, 'a test').issue('a', ['DNS:a'])
  const server =
    certificate === null
      ? createServer({ allowHalfOpen: true, noDelay: true }, serve)
      : tlsServer({ ...certificate, ALPNProtocols: ['http/1.1'] }, serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of [...served.values(), ...clients]) socket.destroy()
  })
  const { port } = server.address() as AddressInfo

  return {
    clock,
    async visit(plan) {
      const socket = await connectTo(port, transport)
      const { localPort } = socket
      clients.add(socket)
      socket.once('close', () => clients.delete(socket))
      const visit = new Visit(plan, socket, () => served.has(localPort!))
      visits.set(localPort!, visit)
      // Of a connection that is reset before it was accepted nobody knows whose it was.
      while (!served.has(localPort!)) await turn()
      await visit.send()
      return visit
    },
  }
}

async function connectTo(port: number, transport: 'tcp' | 'tls'): Promise<Socket> {
  const to = { port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true }
  const socket = transport === 'tcp' ? tcpConnect(to) : tlsConnect({ ...to, rejectUnauthorized: false })
  await once(socket, transport === 'tcp' ? 'connect' : 'secureConnect')
  return socket
}

/** One connection of a client. */
export class Visit {
  readonly plan: Plan
  readonly seen: Seen[] = []
  readonly unparsed: Unparsed[] = []
  /** What went wrong meanwhile. */
  readonly faults: string[] = []
  /** Bytes that the client got. */
  got = Buffer.alloc(0)
  /** The client has left before it was done. */
  left = false
  /** The client's connection was broken. */
  reset = false
  readonly #socket: Socket
  readonly #isOpen: () => boolean
  #events = 0

  constructor(plan: Plan, socket: Socket, isOpen: () => boolean) {
    this.plan = plan
    this.#socket = socket
    this.#isOpen = isOpen
    socket.on('error', () => {
      this.reset = true
    })
    socket.on('data', (chunk: Buffer) => {
      this.got = Buffer.concat([this.got, chunk])
      this.#events++
    })
  }

  take(request: InboundRequest, response: InboundResponse, arrival: Arrival): void {
    const nth = this.seen.length
    const { manners, ending } = this.plan
    const planned = manners[nth % manners.length]!
    const seen: Seen = {
      nth,
      request,
      response,
      arrival,
      // Who waits for the time limits would wait for ever.
      manner: planned === 'never' && ending === 'waits' ? 'late' : planned,
      body: '',
      bodyEnd: 'none',
      closed: 0,
      sent: null,
      tunnelled: null,
      onChange: () => void this.#events++,
    }
    if (this.seen.some(({ closed }) => closed === 0)) this.faults.push('two exchanges at a time')
    if (this.unparsed.length > 0) this.faults.push('an exchange behind a refusal')
    this.seen.push(seen)
    this.#events++
    response.setOwner({
      onClose: () => {
        seen.closed++
        this.#events++
      },
      onUnreadable: (code) => refuse(seen, code === 'request_timeout' ? 408 : 400),
    })
    act(seen)
  }

  takeUnparsed(unparsed: Unparsed): void {
    this.unparsed.push(unparsed)
    this.#events++
  }

  async send(): Promise<void> {
    const { pieces, ending, leavesAfter } = this.plan
    for (const [n, piece] of pieces.entries()) {
      if (ending === 'leaves' && n >= leavesAfter) break
      if (this.#socket.destroyed || !this.#socket.writable) break
      this.#socket.write(piece)
      // Each is read by itself.
      await turn()
      await turn()
    }
    if (ending === 'leaves') {
      this.left = true
      if ('encrypted' in this.#socket) this.#socket.destroy()
      else this.#socket.resetAndDestroy()
    }
    await this.#quiet()
  }

  /** Ends the client's side where the plan has it so. */
  async end(): Promise<void> {
    if (this.plan.ending === 'ends') this.#socket.end()
    await this.#quiet()
  }

  /** Resolves once the server's side has closed, or after a while. */
  async closed(): Promise<void> {
    const late = performance.now() + 5000
    while (this.#isOpen() && performance.now() < late) await turn()
    if (this.#isOpen()) this.faults.push('the connection does not end')
    await this.#quiet()
    this.#socket.destroy()
  }

  async #quiet(): Promise<void> {
    let before = -1
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      await turn()
      if (this.#events !== before) turns = 0
      before = this.#events
    }
  }
}

/** Makes all visits at once; their connections have closed when it resolves. */
export async function makeVisits(rig: ClientRig, plans: readonly Plan[]): Promise<readonly Visit[]> {
  const visits = await Promise.all(plans.map((plan) => rig.visit(plan)))
  await Promise.all(visits.map((visit) => visit.end()))
  // Some limits follow each other.
  for (let n = 0; n < 4; n++) {
    await rig.clock.advance(ALL_LIMITS_MS)
    for (let turns = 0; turns < QUIET_TURNS; turns++) await turn()
  }
  await Promise.all(visits.map((visit) => visit.closed()))
  return visits
}
