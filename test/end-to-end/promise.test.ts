import { randomUUID } from 'node:crypto'
import { Agent, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import postgres from 'postgres'
import t from 'tap'
import { startDelayingRelay } from '../support/delaying-relay.ts'
import { startGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { type RequestEvent, type RevocationEvent, violations } from '../support/promise-history.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

const TOKENS = 150
const CLIENTS = 32
const INSTANCES = 3

/** Requests at the backend, by the mark that each request carries. */
const arrived = new Map<string, Record<string, string | string[] | undefined>>()
const backend = createServer((req, res) => {
  arrived.set(String(req.headers['x-mark']), req.headers)
  res.end('{}')
})
await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`
const server = await startPostgres()
const databaseUrl = await server.createDatabase()
// The gateways' connections to the database are slower than the revokers'. An answer under way when a revocation
// returns is from before the revocation, and a look-up that joined this query would wrongly admit its request.
const relay = await startDelayingRelay(server.port, 4)
const sql = postgres(databaseUrl, { max: 4, onnotice: () => {} })
const gateways = await Promise.all(
  Array.from({ length: INSTANCES }, () =>
    startGateway({
      databaseUrl: databaseUrl.replace(`:${server.port}/`, `:${relay.port}/`),
      routing: { upstreams: { app: { targets: [target] } }, routes: [{ path: '/', upstream: 'app' }] },
      env: { ACCESS_LOG: 'off' },
    }),
  ),
)
const agent = new Agent({ keepAlive: true, maxSockets: 256 })
t.teardown(async () => {
  agent.destroy()
  await Promise.all(gateways.map((gateway) => gateway.stop()))
  backend.closeAllConnections()
  backend.close()
  relay.close()
  await sql.end({ timeout: 1 })
  await server.close()
})

async function newSession(userId: string, mandateId: string | null = 'acme') {
  const row = await insertToken(sql, { userId, sessionId: `session of ${userId}`, mandateId })
  return { ...row, jwt: await signToken({ claims: { jti: row.id, exp: inSeconds(3600) } }) }
}

async function send(instance: number, jwt: string): Promise<{ status: number; mark: string }> {
  const mark = randomUUID()
  const url = gateways[instance % INSTANCES]!.url
  const { status } = await ask({ url, agent, headers: { cookie: `auth_token=${jwt}`, 'x-mark': mark } })
  return { status, mark }
}

t.test(
  'no request that began after its revocation returned is forwarded, by any of three instances',
  async (t) => {
    const sessions = await Promise.all(Array.from({ length: TOKENS }, (_, i) => newSession(`user-${i}`)))
    const requests: RequestEvent[] = []
    const revocations: RevocationEvent[] = []
    let revoking = true

    async function client(seed: number): Promise<void> {
      for (let i = seed; revoking; i++) {
        const { id, jwt } = sessions[(i * 7) % TOKENS]!
        const began = performance.now()
        const { mark } = await send(i, jwt)
        requests.push({ tokenId: id, began, forwarded: arrived.has(mark) })
      }
    }
    async function revoker(share: number): Promise<void> {
      for (let i = share; i < TOKENS; i += 3) {
        const { id } = sessions[i]!
        await sql`update "Token" set status = 'REVOKED' where id = ${id}`
        revocations.push({ tokenId: id, returned: performance.now() })
        // Sent at once with the token that was just revoked, because a cache would be wrong at this moment.
        const began = performance.now()
        const answers = await Promise.all([0, 1, 2].map((instance) => send(instance, sessions[i]!.jwt)))
        for (const { mark } of answers) requests.push({ tokenId: id, began, forwarded: arrived.has(mark) })
      }
    }
    const clients = Array.from({ length: CLIENTS }, (_, i) => client(i))
    await Promise.all([revoker(0), revoker(1), revoker(2)])
    revoking = false
    await Promise.all(clients)

    t.same(violations(requests, revocations), [])
    t.equal(revocations.length, TOKENS)
    t.ok(requests.filter(({ forwarded }) => forwarded).length > TOKENS, 'good tokens were admitted meanwhile')
    t.ok(
      requests.some(({ forwarded }) => !forwarded),
      'revoked ones were not',
    )
  },
)

t.test('the checker finds a planted violation', async (t) => {
  const revocations = [{ tokenId: 'a', returned: 10 }]
  const good = { tokenId: 'a', began: 9.9, forwarded: true }
  const planted = { tokenId: 'a', began: 10.1, forwarded: true }
  const refused = { tokenId: 'a', began: 11, forwarded: false }
  t.same(violations([good, planted, refused], revocations), [planted])
})

t.test("two hundred users at once never get each other's identity", async (t) => {
  const sessions = await Promise.all(
    Array.from({ length: 200 }, (_, i) => newSession(`person-${i}`, i % 3 === 0 ? null : `mandate-${i}`)),
  )
  const wrong: unknown[] = []
  const one = async (session: (typeof sessions)[number], round: number) => {
    const { status, mark } = await send(round, session.jwt)
    const got = arrived.get(mark)
    const right =
      status === 200 &&
      got?.['x-user-id'] === session.userId &&
      got['x-mandate-id'] === (session.mandateId ?? undefined) &&
      got['x-session-id'] === session.sessionId &&
      got['x-token-id'] === session.id
    if (!right) wrong.push({ session, got, status })
  }
  for (let round = 0; round < 15; round++) await Promise.all(sessions.map((session) => one(session, round)))
  t.same(wrong, [])
})
