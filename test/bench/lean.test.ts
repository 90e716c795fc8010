import { createSecretKey } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { type AuthDecision, createAuthenticator } from '../../gateway/auth/authenticator.ts'
import { createTokenVerifier, type VerifierParts } from '../../gateway/auth/jwt/token-verifier.ts'
import { createNegativeCache } from '../../gateway/auth/token-store/negative-cache.ts'
import { createTokenLookup } from '../../gateway/auth/token-store/token-lookup.ts'
import type { TokenRow } from '../../gateway/auth/token-store/token-table.ts'
import { createFakeScheduler } from '../support/fake-scheduler.ts'
import { tokenRow } from '../support/token-rows.ts'
import { forgeToken, inSeconds, signToken, TEST_SECRET } from '../support/tokens.ts'

const CONNECTIONS = 64

function activeRow(id: string): TokenRow {
  return tokenRow(id, 'ACTIVE', { expiresAt: inSeconds(60) * 1000 })
}

/** The path from cookie to decision, with a table that answers when it is told to. */
function createPath() {
  const queries: { ids: readonly string[]; answer(): void }[] = []
  const scheduler = createFakeScheduler()
  let resolvedKeys = 0
  const secret = createSecretKey(Buffer.from(TEST_SECRET))
  const keys: VerifierParts['keys'] = {
    algorithms: ['HS256'],
    version: 0,
    candidates() {
      resolvedKeys++
      return [secret]
    },
    close() {},
  }
  const verifier = createTokenVerifier({
    keys,
    issuer: null,
    audience: null,
    clockToleranceS: 0,
    wallClock: Date.now,
    memoMax: 1000,
  })
  const lookup = createTokenLookup({
    hosts: 1,
    findMany: (ids) =>
      new Promise((resolve) => {
        queries.push({ ids, answer: () => resolve(new Map(ids.map((id) => [id, activeRow(id)]))) })
      }),
    connections: 4,
    timeoutMs: 1000,
    queueMax: 10_000,
    scheduler,
    onQuery() {},
  })
  const { authenticate } = createAuthenticator({
    verifier,
    lookup,
    refusals: createNegativeCache({ ttlUs: 0, max: 1, nowUs: () => 0 }),
    onLookup() {},
    onCacheHit() {},
    now: () => 0,
  })
  return {
    queries,
    verifier,
    lookup,
    get verifications() {
      return resolvedKeys
    },
    authenticate: (value: string) =>
      new Promise<AuthDecision>((resolve) => authenticate({ kind: 'one', value }, null, resolve)),
  }
}

type Path = ReturnType<typeof createPath>

/** Tokens that the verifier knows already, as those of open sessions are. */
async function knownTokens(path: Path, count: number): Promise<string[]> {
  const tokens = await Promise.all(
    Array.from({ length: count }, (_, i) => signToken({ claims: { jti: `t${i}`, exp: inSeconds(60) } })),
  )
  for (const token of tokens) await path.verifier.verify(token, 'access')
  return tokens
}

/** Lets everything happen that does not wait for the table. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn()
}

t.test('64 requests that arrive together share one query', async (t) => {
  const path = createPath()
  const decisions = (await knownTokens(path, CONNECTIONS)).map(path.authenticate)
  await settle()
  t.same(
    path.queries.map(({ ids }) => ids.length),
    [CONNECTIONS],
  )
  path.queries[0]!.answer()
  for (const { kind } of await Promise.all(decisions)) t.equal(kind, 'authenticated')
})

t.test('requests that arrive one by one while a query is under way share the next one', async (t) => {
  const path = createPath()
  const [first, ...others] = await knownTokens(path, CONNECTIONS)
  const decisions = [path.authenticate(first!)]
  await settle()
  for (const token of others) {
    decisions.push(path.authenticate(token))
    await turn()
  }
  t.equal(path.queries.length, 1, 'none of them has a query of its own')
  path.queries[0]!.answer()
  await settle()
  t.same(
    path.queries.map(({ ids }) => ids.length),
    [1, CONNECTIONS - 1],
  )
  path.queries[1]!.answer()
  await Promise.all(decisions)
  t.equal(path.lookup.pending, 0)
})

t.test('requests of one session that arrive together look its token up once', async (t) => {
  const path = createPath()
  const [token] = await knownTokens(path, 1)
  const decisions = Array.from({ length: CONNECTIONS }, () => path.authenticate(token!))
  await settle()
  t.same(
    path.queries.map(({ ids }) => ids),
    [['t0']],
  )
  path.queries[0]!.answer()
  for (const { kind } of await Promise.all(decisions)) t.equal(kind, 'authenticated')
})

t.test('each of many consecutive requests has a query that was sent after it arrived', async (t) => {
  const path = createPath()
  const [token] = await knownTokens(path, 1)
  for (let nth = 1; nth <= 10; nth++) {
    const decision = path.authenticate(token!)
    await settle()
    t.equal(path.queries.length, nth, 'nothing that admits is remembered, however lean')
    path.queries[nth - 1]!.answer()
    await decision
  }
})

t.test('a flood of forged tokens sends no query', async (t) => {
  const path = createPath()
  const claims = { jti: 't0', exp: inSeconds(60) }
  const forged = Array.from({ length: CONNECTIONS }, (_, i) =>
    forgeToken({ alg: 'HS256' }, claims, Buffer.alloc(32, i).toString('base64url')),
  )
  for (const { kind } of await Promise.all(forged.map(path.authenticate))) t.equal(kind, 'refused')
  await settle()
  t.equal(path.queries.length, 0)
})

t.test('a signature that was verified is not verified again', async (t) => {
  const path = createPath()
  const [token] = await knownTokens(path, 1)
  t.equal(path.verifications, 1)
  for (let i = 0; i < 100; i++) {
    t.notOk(path.verifier.verify(token!, 'access') instanceof Promise, 'the answer is there at once')
  }
  t.equal(path.verifications, 1)
})
