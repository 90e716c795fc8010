import { randomUUID } from 'node:crypto'
import { Agent } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { openConnection, webSocketHandshake } from '../../bench/open-streams.ts'
import { ask } from '../support/http-client.ts'
import { insertToken } from '../support/postgres.ts'
import type { MarkedRequest, RevocationEvent } from '../support/promise-history.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import type { StreamEnd } from './history.ts'
import { INSTANCES, type World } from './world.ts'

const TOKENS = 60
const CLIENTS = 12
const CLIENT_PAUSE_MS = 40
const REVOKE_EVERY_MS = 100
const STREAMS_EACH = 20
const TIMEOUT_MS = 8000

interface PoolToken {
  readonly id: string
  readonly jwt: string
  revokedAt: number | null
  /** The connection to the database broke, so that it is unknown whether the token is revoked. */
  unsure: boolean
}

export interface Traffic {
  readonly requests: readonly MarkedRequest[]
  readonly revocations: readonly RevocationEvent[]
  readonly streamEnds: readonly StreamEnd[]
  readonly streamsOpened: number
  /** Resolves once all have ended by themselves. */
  readonly done: Promise<unknown>
}

export interface TrafficOptions {
  readonly running: () => boolean
  /** Records revocations of some tokens that were not revoked; the checker has to find them. */
  readonly plant: boolean
}

/** Requests straight to each instance, revocations between them, and open streams. */
export async function createTraffic(world: World, { running, plant }: TrafficOptions): Promise<Traffic> {
  const requests: MarkedRequest[] = []
  const revocations: RevocationEvent[] = []
  const streamEnds: StreamEnd[] = []
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  let streamsOpened = 0
  const pool = await Promise.all(Array.from({ length: TOKENS }, () => newToken(world)))
  const any = () => pool[Math.floor(Math.random() * TOKENS)]!

  async function send(slot: number, { id, jwt }: PoolToken): Promise<void> {
    const mark = randomUUID()
    requests.push({ tokenId: id, began: performance.now(), mark })
    await ask({
      url: `http://127.0.0.1:${world.fleet.slots[slot]!.port}/api`,
      agent,
      headers: { cookie: `auth_token=${jwt}`, 'x-mark': mark },
      onRequest: (request) => void request.setTimeout(TIMEOUT_MS, () => request.destroy()),
    }).catch(() => {})
  }

  async function client(seed: number): Promise<void> {
    for (let n = seed; running(); n++) {
      await send(n % INSTANCES, any())
      await delay(CLIENT_PAUSE_MS)
    }
  }

  async function revoker(): Promise<void> {
    for (let n = 0; running(); n++) {
      await delay(REVOKE_EVERY_MS)
      const at = Math.floor(Math.random() * TOKENS)
      const token = pool[at]!
      try {
        if (!(plant && n % 10 === 0))
          await world.sql`update "Token" set status = 'REVOKED' where id = ${token.id}`
        token.revokedAt = performance.now()
        revocations.push({ tokenId: token.id, returned: token.revokedAt })
      } catch {
        token.unsure = true
      }
      // Sent at once, to every instance, because a cache would be wrong at this moment.
      for (let slot = 0; slot < INSTANCES; slot++) void send(slot, token)
      pool[at] = await newToken(world)
    }
  }

  async function stream(slot: number, n: number): Promise<void> {
    while (running()) {
      const token = any()
      const { port } = world.fleet.slots[slot]!
      const mark = randomUUID()
      const opening =
        n % 2 === 0
          ? { port, bytes: eventsRequest(token.jwt, mark), expected: ' 200 ' }
          : { port, bytes: webSocketHandshake('/ws', token.jwt, mark), expected: ' 101 ' }
      requests.push({ tokenId: token.id, began: performance.now(), mark })
      const socket = await openConnection(opening).catch(() => null)
      if (socket === null) {
        await delay(300)
        continue
      }
      streamsOpened++
      socket.resume()
      const stopped = setInterval(() => running() || socket.destroy(), 500)
      await new Promise((resolve) => socket.once('close', resolve))
      clearInterval(stopped)
      const endedAt = performance.now()
      // A notice can arrive before the answer to the update that caused it; on a busy machine long before.
      for (let waited = 0; token.revokedAt === null && waited < 1000; waited += 50) await delay(50)
      if (running() && !token.unsure) streamEnds.push({ revokedAt: token.revokedAt, endedAt })
    }
  }

  const done = Promise.all([
    revoker(),
    ...Array.from({ length: CLIENTS }, (_, n) => client(n)),
    ...Array.from({ length: INSTANCES * STREAMS_EACH }, (_, n) => stream(n % INSTANCES, n)),
  ]).finally(() => agent.destroy())
  return {
    requests,
    revocations,
    streamEnds,
    get streamsOpened() {
      return streamsOpened
    },
    done,
  }
}

async function newToken(world: World): Promise<PoolToken> {
  for (;;) {
    try {
      const { id } = await insertToken(world.sql)
      const jwt = await signToken({ claims: { jti: id, exp: inSeconds(3600) } })
      return { id, jwt, revokedAt: null, unsure: false }
    } catch {
      await delay(100)
    }
  }
}

function eventsRequest(jwt: string, mark: string): string {
  return `GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Mark: ${mark}\r\nCookie: auth_token=${jwt}\r\n\r\n`
}
