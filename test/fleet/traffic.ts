import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { ask, keepAliveAgent } from '../support/http-client.ts'
import { TOKEN_DDL } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'
import type { Cluster } from './cluster.ts'
import type { Node } from './node.ts'
import { ROLES, type SetUp } from './set-ups.ts'

/** One request, by the clock of this process. */
export interface Seen {
  readonly setUp: SetUp
  readonly tokenId: string
  readonly began: number
  readonly ended: number
  /** 0 where there was no answer. */
  readonly status: number
}

/** When the COMMIT of a revocation had returned; null where that is not known. */
export type Revocations = ReadonlyMap<string, number | null>

export interface Traffic {
  readonly seen: readonly Seen[]
  readonly revocations: Revocations
  /** Tokens that are never revoked. */
  readonly good: ReadonlySet<string>
  stop(): Promise<void>
}

const GOOD = 10
const REVOKED = 2000
/** How many of the last revoked tokens are asked for again and again. */
const RECENT = 8
const LANES = 2
/** Of each lane; with two of them each set-up gets some 30 requests/s. */
const PAUSE_MS = 60
const REVOKE_EVERY_MS = 250
/** A revocation without an answer by then counts as one of which nothing is known. */
const REVOKE_TIMEOUT_MS = 3000

interface Token {
  readonly id: string
  readonly cookie: string
}

/** Asks all gateways of all set-ups all the time, and revokes one token after the other at the primary. */
export async function startTraffic(
  cluster: Cluster,
  setUps: readonly SetUp[],
  tokens: readonly Token[],
): Promise<Traffic> {
  const agent = keepAliveAgent(64)
  const good = tokens.slice(0, GOOD)
  const toRevoke = tokens.slice(GOOD)
  const revocations = new Map<string, number | null>()
  const recent: Token[] = []
  const seen: Seen[] = []
  let running = true

  async function visit(setUp: SetUp, turn: number): Promise<void> {
    const pool = turn % 2 === 0 || recent.length === 0 ? good : recent
    const token = pool[Math.floor(turn / 2) % pool.length]!
    const { url } = setUp.gateways[turn % setUp.gateways.length]!
    const began = performance.now()
    const status = await ask({ url, agent, headers: { cookie: token.cookie } }).then(
      (answer) => answer.status,
      () => 0,
    )
    seen.push({ setUp, tokenId: token.id, began, ended: performance.now(), status })
  }

  async function revoke(at: Node, { id, cookie }: Token): Promise<void> {
    const sql = postgres(at.url, { max: 1, connect_timeout: 2, fetch_types: false, onnotice: () => {} })
    revocations.set(id, null)
    try {
      const update = sql`update "Token" set status = 'REVOKED' where id = ${id}`
      update.catch(() => {})
      const late = delay(REVOKE_TIMEOUT_MS).then(() => Promise.reject(new Error('late')))
      await Promise.race([update, late])
      revocations.set(id, performance.now())
      recent.push({ id, cookie })
      if (recent.length > RECENT) recent.shift()
    } catch {
      // Whether it was committed is not known, so nothing is concluded from this token.
    } finally {
      void sql.end({ timeout: 0 }).catch(() => {})
    }
  }

  const revoking = (async () => {
    for (let n = 0; running; n++) {
      const leader = await cluster.leader()
      if (leader !== null) await revoke(leader, toRevoke[n % toRevoke.length]!)
      await delay(REVOKE_EVERY_MS)
    }
  })()
  const visiting = setUps.flatMap((setUp) =>
    Array.from({ length: LANES }, async (_, lane) => {
      for (let turn = lane; running; turn += LANES) {
        await visit(setUp, turn)
        await delay(PAUSE_MS)
      }
    }),
  )
  return {
    seen,
    revocations,
    good: new Set(good.map(({ id }) => id)),
    async stop() {
      running = false
      await Promise.all([revoking, ...visiting])
      agent.destroy()
    },
  }
}

/** Makes the table, its roles and its tokens. */
export async function fillTable({ url }: Node): Promise<Token[]> {
  const tokens = await Promise.all(
    Array.from({ length: GOOD + REVOKED }, async () => {
      const id = randomUUID()
      const jwt = await signToken({ claims: { jti: id, exp: inSeconds(3600) } })
      return { id, cookie: `auth_token=${jwt}` }
    }),
  )
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  await sql.unsafe(TOKEN_DDL)
  await sql`
    insert into "Token" select id, 'alice', 'session of ' || id, null, 'ACTIVE', now() + interval '1 hour'
    from unnest(${tokens.map(({ id }) => id)}::text[]) as id`
  for (const role of ROLES) await sql.unsafe(`create role ${role} login; grant select on "Token" to ${role}`)
  await sql.end()
  return tokens
}
