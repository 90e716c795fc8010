import type { Socket } from 'node:net'
import type { Test } from 'tap'
import type { HttpOutcome } from '../../gateway/upstreams/transport/attempt-outcome.ts'
import type { TargetConnections } from '../../gateway/upstreams/transport/target-connections.ts'
import { createTransport } from '../../gateway/upstreams/transport/transport.ts'
import { createAuthority } from '../support/certificates.ts'
import { createFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.ts'
import { nothingToFind } from '../support/name-server.ts'
import { onHeads, startTarget } from '../support/raw-target.ts'
import { connectionsTo, type Exchange, exchange, type TestClient } from '../support/target-client.ts'
import { turn } from './manners.ts'

/** What a target answers to one request, and what the client does meanwhile. */
export interface AnswerPlan {
  readonly pieces: readonly Buffer[]
  /** What the target does with its connection behind them. */
  readonly ending: 'ends' | 'resets' | 'stays'
  readonly method: 'GET' | 'HEAD' | 'POST'
  /** Whether the client's body is there at once, or only behind the answer; only of POST. */
  readonly upload: 'whole' | 'held'
  /** How the client takes the answer's body; it leaves in the middle of the first piece. */
  readonly client: 'takes' | 'takes slowly' | 'leaves'
}

export interface TargetRig {
  readonly clock: FakeScheduler
  /** Begins the exchange; resolves once nothing happens any more. */
  attempt(plan: AnswerPlan): Promise<Attempted>
}

/** An exchange with a target, and one more on the same connections. */
export interface Attempted {
  readonly plan: AnswerPlan
  readonly client: TestClient
  /** Null where it has not ended. */
  outcome: HttpOutcome | null
  /** Another request came on the same connection. */
  readonly reused: boolean
  /** @returns what is wrong with the answer to another request, or null */
  askAgain(): Promise<string | null>
}

const QUIET_TURNS = 25
const LIMIT_MS = 5000

/** Longer than each time limit of an exchange. */
export const ALL_LIMITS_MS = 20_000

/** A target over real sockets, and connections of the gateway's to it that have a clock of their own. */
export async function startTargetRig(t: Test, kind: 'tcp' | 'tls'): Promise<TargetRig> {
  const clock = createFakeScheduler()
  const transport = createTransport({ findAddresses: nothingToFind, scheduler: clock })
  const running: Running[] = []
  const authority = kind === 'tcp' ? null : createAuthority(t, 'the test authority')
  const target = await startTarget(t, { name: kind, authority }, (socket) => {
    onHeads(socket, (head) => {
      const line = /(?:GET|HEAD|POST) \/(again\/)?(\d+) HTTP/.exec(head)
      // The end of a body looks like that of a head.
      if (line === null) return
      const [, again, nth] = line
      const one = running[Number(nth)]!
      if (again === undefined) {
        void one.answer(socket)
        return
      }
      one.reused = one.socket === socket
      socket.write(`HTTP/1.1 200 OK\r\nX-Again: ${nth}\r\nContent-Length: 5\r\n\r\nagain`)
    })
  })
  const all = new Set<TargetConnections>()
  t.teardown(() => Promise.all([...all].map((connections) => connections.close())))

  return {
    clock,
    async attempt(plan) {
      const limits = { connectMs: LIMIT_MS, responseMs: LIMIT_MS, idleMs: LIMIT_MS }
      const connections = connectionsTo({ ...limits, ...target.options }, transport)
      all.add(connections)
      const one = new Running(plan, connections, running.length)
      running.push(one)
      one.begin()
      await one.quiet()
      return one
    },
  }
}

class Running implements Attempted {
  readonly plan: AnswerPlan
  outcome: HttpOutcome | null = null
  reused = false
  /** The target's side. */
  socket: Socket | null = null
  readonly #connections: TargetConnections
  readonly #nth: number
  #exchange: Exchange | null = null
  #answering = false
  #events = 0

  constructor(plan: AnswerPlan, connections: TargetConnections, nth: number) {
    this.plan = plan
    this.#connections = connections
    this.#nth = nth
  }

  get client(): TestClient {
    return this.#exchange!.client
  }

  begin(): void {
    const { method, upload } = this.plan
    const body = method !== 'POST' ? null : upload === 'held' ? 'pushed' : 'the body'
    this.#answering = true
    this.#exchange = exchange(this.#connections, { method, path: `/${this.#nth}`, body })
    const { client, outcome } = this.#exchange
    client.onHead = () => void this.#events++
    client.onBody = () => this.#onBody()
    void outcome.then((what) => {
      this.outcome = what
      this.#events++
    })
    // Without its body the head waits for a moment, and is written then.
    if (body === 'pushed') client.push('the ')
  }

  /** The target's side. */
  async answer(socket: Socket): Promise<void> {
    const { pieces, ending, upload } = this.plan
    this.socket = socket
    for (const piece of pieces) {
      if (socket.destroyed) break
      socket.write(piece)
      await turn()
      await turn()
      this.#events++
    }
    if (upload === 'held') this.#finishUpload()
    if (ending === 'ends') socket.end()
    else if (ending === 'resets') socket.resetAndDestroy()
    this.#answering = false
  }

  async askAgain(): Promise<string | null> {
    const { client, outcome } = exchange(this.#connections, { path: `/again/${this.#nth}` })
    const { kind } = await outcome
    if (kind !== 'answered') return `the next exchange: ${kind}`
    const right = client.field('x-again') === String(this.#nth) && client.body === 'again'
    return right ? null : `the next exchange got ${JSON.stringify(client.body)}`
  }

  async quiet(): Promise<void> {
    let before = -1
    for (let turns = 0; turns < QUIET_TURNS; turns++) {
      await turn()
      if (this.#events !== before || this.#answering) turns = 0
      before = this.#events
    }
  }

  #onBody(): void {
    const { client } = this
    this.#events++
    if (this.plan.client === 'leaves') client.leave()
    else if (this.plan.client === 'takes slowly') {
      client.full = true
      setImmediate(() => client.drain())
    }
  }

  #finishUpload(): void {
    const { client } = this
    if (client.destroyed || this.plan.method !== 'POST') return
    client.push('body')
    client.push(null)
  }
}
