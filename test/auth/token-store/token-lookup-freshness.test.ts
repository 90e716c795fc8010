import postgres from 'postgres'
import t, { type Test } from 'tap'
import { DEFAULT_COLUMNS } from '../../../gateway/auth/token-store/token-columns.ts'
import {
  createTokenLookup,
  type Lookup,
  type TokenLookup,
} from '../../../gateway/auth/token-store/token-lookup.ts'
import { DEFAULT_STATUSES } from '../../../gateway/auth/token-store/token-statuses.ts'
import { createTokenTable } from '../../../gateway/auth/token-store/token-table.ts'
import { systemScheduler } from '../../../gateway/core/scheduler.ts'
import { createDatabase } from '../../../gateway/database/database.ts'
import { startDelayingRelay } from '../../support/delaying-relay.ts'
import { insertToken, startPostgres } from '../../support/postgres.ts'
import { type RequestEvent, type RevocationEvent, violations } from '../../support/promise-history.ts'

const READERS = 24
const WRITERS = 4
const TOKENS = 300
const ANSWERS_BETWEEN_TERMINATIONS = 100
const TABLE = { schema: null, name: 'Token' }

const server = await startPostgres()
const url = await server.createDatabase()
const sql = postgres(url, { max: WRITERS, onnotice: () => {} })
t.teardown(async () => {
  await sql.end({ timeout: 1 })
  await server.close()
})

function lookUps(t: Test, databaseUrl: string): { lookup: TokenLookup; queries: () => number } {
  let queries = 0
  const database = createDatabase({
    url: databaseUrl,
    connections: 4,
    prepare: true,
    scheduler: systemScheduler,
  })
  t.teardown(() => database.close())
  const table = createTokenTable({
    database,
    table: TABLE,
    columns: DEFAULT_COLUMNS,
    statuses: DEFAULT_STATUSES,
    written: false,
    now: systemScheduler.now,
  })
  const lookup = createTokenLookup({
    hosts: 1,
    findMany: table.findMany,
    connections: 4,
    timeoutMs: 5000,
    queueMax: 10_000,
    scheduler: systemScheduler,
    onQuery: () => queries++,
  })
  return { lookup, queries: () => queries }
}

async function newTokens(count: number): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, async () => (await insertToken(sql)).id))
}

const revoke = (id: string) => sql`UPDATE "Token" SET "status" = 'REVOKED' WHERE "id" = ${id}`

/** Readers look tokens up without a pause while writers revoke them one by one. */
async function history(lookup: TokenLookup, ids: readonly string[]) {
  const found: RequestEvent[] = []
  const revocations: RevocationEvent[] = []
  const left = [...ids]
  const writers = Array.from({ length: WRITERS }, async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) {
      await revoke(id)
      revocations.push({ tokenId: id, returned: performance.now() })
      // The reading that matters most: the very next moment, when an older answer may still be under way.
      await read(id)
    }
  })
  async function read(tokenId: string): Promise<void> {
    const began = performance.now()
    const answer = await new Promise<Lookup>((resolve) => lookup.find(tokenId, resolve))
    const forwarded = answer.kind === 'found' && answer.row.status === 'ACTIVE'
    found.push({ tokenId, began, forwarded })
  }
  let running = true
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    for (let i = reader; running; i += 7) await read(ids[i % ids.length]!)
  })
  await Promise.all(writers)
  running = false
  await Promise.all(readers)
  return { found, revocations }
}

t.test('a look-up that begins after a revocation returned never finds the token active', async (t) => {
  const { lookup, queries } = lookUps(t, url)
  const { found, revocations } = await history(lookup, await newTokens(TOKENS))
  t.equal(revocations.length, TOKENS)
  t.same(violations(found, revocations), [])
  t.ok(found.some(({ forwarded }) => forwarded))
  t.ok(queries() < found.length / 2, `${queries()} queries answered ${found.length} look-ups`)
})

t.test('over a slow line a look-up after a revocation never finds the token active', async (t) => {
  const relay = await startDelayingRelay(server.port, 15)
  t.teardown(() => relay.close())
  const { lookup } = lookUps(t, url.replace(`:${server.port}/`, `:${relay.port}/`))
  const { found, revocations } = await history(lookup, await newTokens(40))
  t.same(violations(found, revocations), [])
  t.ok(found.some(({ forwarded }) => forwarded))
})

t.test(
  'while connections are terminated a look-up after a revocation never finds the token active',
  async (t) => {
    const { lookup } = lookUps(t, url)
    const admin = postgres(server.url, { max: 1, onnotice: () => {} })
    t.teardown(() => admin.end())
    const terminations: Promise<unknown>[] = []
    let left = 0
    // Only when some more have been answered: a slow machine would otherwise answer nothing between two.
    const disturbed: TokenLookup = {
      find(id, onResult) {
        lookup.find(id, (found) => {
          if (found.kind === 'found' && left-- === 0) {
            left = ANSWERS_BETWEEN_TERMINATIONS
            terminations.push(
              admin`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'poweron-gateway'`.execute(),
            )
          }
          // A question whose second try was cut off, too, is a fault: it admits nobody.
          onResult(found)
        })
      },
      pending: 0,
    }
    const { found, revocations } = await history(disturbed, await newTokens(100))
    await Promise.all(terminations)
    t.ok(terminations.length > 3, `${terminations.length} times all connections were terminated`)
    t.same(violations(found, revocations), [])
    t.ok(found.some(({ forwarded }) => forwarded))
  },
)
