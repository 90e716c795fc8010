import { createSecretKey, randomUUID } from 'node:crypto'
import postgres from 'postgres'
import t, { type Test } from 'tap'
import { DEFAULT_COLUMNS } from '../../gateway/auth/token-store/token-columns.ts'
import { DEFAULT_STATUSES, type TokenStatuses } from '../../gateway/auth/token-store/token-statuses.ts'
import { createTokenTable } from '../../gateway/auth/token-store/token-table.ts'
import { systemScheduler as scheduler } from '../../gateway/core/scheduler.ts'
import { createDatabase } from '../../gateway/database/database.ts'
import { createSessionRows } from '../../gateway/sessions/session-rows.ts'
import { createSessionStore, type Rotation } from '../../gateway/sessions/session-store.ts'
import { startCuttingRelay } from '../support/cutting-relay.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres, TOKEN_DDL } from '../support/postgres.ts'
import { TEST_SECRET } from '../support/tokens.ts'

const REFRESH_TTL_S = 3600
const TABLE = { schema: null, name: 'Token' }
const server = await startPostgres()
t.teardown(() => server.close())
const usual = await server.createDatabase()

interface StageOptions {
  readonly statuses?: TokenStatuses
  readonly ddl?: string
  readonly timeoutMs?: number
  readonly refreshTtlS?: number
  /** Or several servers: what follows the first host's colon. */
  readonly port?: number | string
  /** The first one signs. */
  readonly secrets?: readonly [string, ...string[]]
}

async function stage(t: Test, { ddl, statuses = DEFAULT_STATUSES, ...options }: StageOptions = {}) {
  const url = ddl === undefined ? usual : await server.createDatabase(ddl)
  const sql = postgres(url, { max: 4, onnotice: () => {} })
  t.teardown(() => sql.end({ timeout: 1 }))
  const lookups = createDatabase({ url, connections: 1, prepare: true, scheduler })
  t.teardown(() => lookups.close())
  const table = createTokenTable({
    database: lookups,
    table: TABLE,
    columns: DEFAULT_COLUMNS,
    statuses,
    written: true,
    now: scheduler.now,
  })
  const store = (more: StageOptions = {}) => {
    const {
      timeoutMs = 4000,
      refreshTtlS = REFRESH_TTL_S,
      port = server.port,
      secrets: [first, ...others] = [TEST_SECRET],
    } = { ...options, ...more }
    const keyOf = (secret: string) => createSecretKey(Buffer.from(secret))
    const database = createDatabase({
      url: url.replace(`:${server.port}/`, `:${port}/`),
      connections: 2,
      prepare: true,
      scheduler,
    })
    const made = createSessionStore({
      database,
      rowsOf: createSessionRows(timeoutMs),
      withMapped: table.withMapped,
      secrets: () => [keyOf(first), ...others.map(keyOf)],
      accessTtlS: 900,
      refreshTtlS,
      timeoutMs,
      now: scheduler.now,
    })
    t.teardown(() => made.close())
    return made
  }
  const statusesOf = async (sessionId: string) =>
    (await sql`select status::text from "Token" where "sessionId" = ${sessionId}`).map(({ status }) => status)
  const active = async (sessionId: string) =>
    (await statusesOf(sessionId)).filter((status) => status === 'ACTIVE').length
  return { sql, store, table, statuses: statusesOf, active }
}

type Stage = Awaited<ReturnType<typeof stage>>

const always = () => true
const tokenOf = (jti: string) => ({
  jti,
  exp: Number.MAX_SAFE_INTEGER,
  nbf: null,
  userId: null,
  mandateId: null,
  sessionId: null,
})

function refreshIdOf(rotation: Rotation): string {
  return rotation.kind === 'rotated' ? rotation.refresh.id : rotation.kind
}

/** A session with an access and a refresh token. */
async function newSession({ sql }: Stage) {
  const sessionId = randomUUID()
  await insertToken(sql, { sessionId })
  const { id, userId } = await insertToken(sql, { sessionId })
  return { sessionId, userId, refresh: tokenOf(id) }
}

/** Writes of a session's new tokens wait until the test lets them go on. */
async function holdInserts({ sql }: Stage, sessionId: string) {
  const key = Math.floor(Math.random() * 1e9)
  await sql.unsafe(`
    create function hold_${key}() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock_shared(${key}); return new; end $$;
    create trigger hold_${key} before insert on "Token" for each row when (new."sessionId" = '${sessionId}')
      execute function hold_${key}()`)
  const holder = await sql.reserve()
  await holder`select pg_advisory_lock(${key})`
  return {
    /** Resolves when so many transactions wait for locks. */
    waiting: (count: number) =>
      until(async () => {
        const [row] = await sql`
          select count(*)::int as count from pg_stat_activity
          where datname = current_database() and wait_event_type = 'Lock'`
        return row!.count === count
      }),
    async release() {
      await holder`select pg_advisory_unlock(${key})`
      holder.release()
    },
  }
}

/** Moves the moment at which a token was used into the past, by what the table says of its successors. */
async function usedAgo({ sql }: Stage, sessionId: string, seconds: number) {
  await sql`update "Token" set "expiresAt" = "expiresAt" - ${`${seconds} seconds`}::interval
            where "sessionId" = ${sessionId}`
}

t.test('a logout during a refresh ends the session', async (t) => {
  const at = await stage(t)
  const { sessionId, userId, refresh } = await newSession(at)
  const held = await holdInserts(at, sessionId)
  const refreshed = at.store().rotate(refresh, always)
  await held.waiting(1)
  const ended = at.store().end({ userId, sessionId })
  await held.waiting(2)
  await held.release()
  t.equal((await refreshed).kind, 'rotated')
  await ended
  t.same(await at.statuses(sessionId), ['REVOKED', 'REVOKED', 'REVOKED', 'REVOKED'])
})

t.test('refreshes of one session that wait for each other do not hold up another session', async (t) => {
  const at = await stage(t)
  const [crowded, other] = [await newSession(at), await newSession(at)]
  const store = at.store()
  const held = await holdInserts(at, crowded.sessionId)
  const crowd = Array.from({ length: 5 }, () => store.rotate(crowded.refresh, always))
  await held.waiting(1)
  t.equal((await store.rotate(other.refresh, always)).kind, 'rotated')
  await held.release()
  const pairs = await Promise.all(crowd)
  t.equal(new Set(pairs.map(refreshIdOf)).size, 1, 'all of them got the same pair')
})

t.test('a database that hangs fails all that wait for one session in the time of one', async (t) => {
  const at = await stage(t)
  const { refresh } = await newSession(at)
  const store = at.store({ timeoutMs: 1000 })
  t.teardown(() => server.thaw())
  server.freeze()
  const began = performance.now()
  const all = await Promise.allSettled(Array.from({ length: 8 }, () => store.rotate(refresh, always)))
  t.ok(performance.now() - began < 3000, `${performance.now() - began} ms`)
  t.same(
    all.map(({ status }) => status),
    Array(8).fill('rejected'),
  )
})

t.test('attack: a token used long ago ends the session also during a refresh by its owner', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  const first = await at.store().rotate(refresh, always)
  const second = await at.store().rotate(tokenOf(refreshIdOf(first)), always)
  await usedAgo(at, sessionId, 30)
  const held = await holdInserts(at, sessionId)
  const owner = at.store().rotate(tokenOf(refreshIdOf(second)), always)
  await held.waiting(1)
  const thief = at.store().rotate(refresh, always)
  await held.waiting(2)
  await held.release()
  t.equal((await owner).kind, 'rotated')
  t.same(await thief, { kind: 'refused', code: 'token_revoked' })
  t.equal(await at.active(sessionId), 0)
})

t.test('a used token gives the same pair for ten seconds, and then ends the session', async (t) => {
  const at = await stage(t)
  for (const [seconds, kind, left] of [
    [9, 'rotated', 2],
    [10.5, 'refused', 0],
  ] as const) {
    const { sessionId, refresh } = await newSession(at)
    const first = await at.store().rotate(refresh, always)
    await usedAgo(at, sessionId, seconds)
    const again = await at.store().rotate(refresh, always)
    t.equal(again.kind, kind, `${seconds} s`)
    t.equal(await at.active(sessionId), left)
    if (first.kind === 'rotated' && again.kind === 'rotated') t.equal(again.refresh.id, first.refresh.id)
  }
})

t.test(
  'attack: a token used long ago ends the session also after rows of expired access tokens were deleted',
  async (t) => {
    const at = await stage(t)
    const { sessionId, refresh } = await newSession(at)
    const first = await at.store().rotate(refresh, always)
    await usedAgo(at, sessionId, 11)
    if (first.kind === 'rotated') await at.sql`delete from "Token" where id = ${first.access.id}`
    t.equal(await at.active(sessionId), 1, 'the refresh token in force')
    t.match(await at.store().rotate(refresh, always), { kind: 'refused', code: 'token_revoked' })
    t.equal(await at.active(sessionId), 0)
  },
)

t.test('with several servers a refresh finds the one that answers', async (t) => {
  const at = await stage(t)
  const { refresh } = await newSession(at)
  const store = at.store({ port: `1,127.0.0.1:2,127.0.0.1:3,127.0.0.1:${server.port}` })
  t.equal((await store.rotate(refresh, always)).kind, 'rotated')
})

t.test('a tab that is two refreshes behind gets the newest pair', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  const first = await at.store().rotate(refresh, always)
  const second = await at.store().rotate(tokenOf(refreshIdOf(first)), always)
  const late = await at.store().rotate(refresh, always)
  t.not(refreshIdOf(second), refreshIdOf(first))
  t.equal(refreshIdOf(late), refreshIdOf(second))
  t.match(late, { isAccessGood: true })
  t.equal(await at.active(sessionId), 2)
})

t.test('a changed REFRESH_TOKEN_TTL_S does not make an old use count as a recent one', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  await at.store({ refreshTtlS: 7200 }).rotate(refresh, always)
  await usedAgo(at, sessionId, 60)
  t.equal((await at.store({ refreshTtlS: 3600 }).rotate(refresh, always)).kind, 'refused')
  t.equal(await at.active(sessionId), 0)
})

t.test(
  'a racing tab gets the same pair while the order of the secrets differs between instances',
  async (t) => {
    const at = await stage(t)
    const [older, newer] = [
      'the older secret of the two, long enough',
      'the newer secret of the two, long enough',
    ]
    for (const [made, asked] of [
      [[older], [older, newer]],
      [
        [older, newer],
        [newer, older],
      ],
      [
        [newer, older],
        [older, newer],
      ],
      [[newer, older], [newer]],
    ] as const) {
      const { sessionId, refresh } = await newSession(at)
      const first = await at.store({ secrets: made }).rotate(refresh, always)
      t.match(first, { kind: 'rotated' })
      t.same(refreshIdOf(await at.store({ secrets: asked }).rotate(refresh, always)), refreshIdOf(first))
      t.equal(await at.active(sessionId), 2)
    }
  },
)

t.test('attack: a token used again after ten seconds ends the session also after a rotation', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  const older = 'the older secret of the two, long enough'
  t.match(await at.store({ secrets: [older] }).rotate(refresh, always), { kind: 'rotated' })
  await usedAgo(at, sessionId, 11)
  const rotated = at.store({ secrets: ['the newer secret of the two, long enough', older] })
  t.same(await rotated.rotate(refresh, always), { kind: 'refused', code: 'token_revoked' })
  t.equal(await at.active(sessionId), 0)
})

t.test('a logout with a token that a racing tab has just used ends the session', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  await at.store().rotate(refresh, always)
  t.same(await at.store().endByRefresh(refresh), { kind: 'ended' })
  t.equal(await at.active(sessionId), 0)
  t.same(await at.store().endByRefresh(refresh), { kind: 'refused', code: 'token_revoked' })
})

t.test('a refresh past its time limit changes nothing afterwards', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  const held = await holdInserts(at, sessionId)
  await t.rejects(at.store({ timeoutMs: 200 }).rotate(refresh, always), { code: 'token_store_unavailable' })
  await held.release()
  await held.waiting(0)
  t.same(await at.statuses(sessionId), ['ACTIVE', 'ACTIVE'])
  t.equal((await at.store().rotate(refresh, always)).kind, 'rotated')
})

t.test('a refresh whose client is gone changes nothing', async (t) => {
  const at = await stage(t)
  const { sessionId, refresh } = await newSession(at)
  t.same(await at.store().rotate(refresh, () => false), { kind: 'abandoned' })
  t.equal(await at.active(sessionId), 2)
})

t.test('a connection that breaks between any two steps of a refresh does not lose the session', async (t) => {
  const at = await stage(t)
  const relay = await startCuttingRelay(server.port)
  t.teardown(() => relay.close())
  const sound = at.store()
  let cuts = 0
  for (let messages = 1; ; messages++) {
    const { sessionId, refresh } = await newSession(at)
    relay.cutAfter(messages)
    const cut = at.store({ port: relay.port, timeoutMs: 1000 })
    const broken = await cut.rotate(refresh, always).then(
      ({ kind }) => kind,
      ({ code }) => code,
    )
    await cut.close()
    if (!relay.cut) break
    cuts++
    t.match(broken, /^(token_store_unavailable|rotated)$/)
    const before = await at.statuses(sessionId)
    t.equal(before.filter((status) => status === 'ACTIVE').length, 2, `after ${messages} messages: ${before}`)
    t.equal((await sound.rotate(refresh, always)).kind, 'rotated', 'the client tries again')
    t.equal(await at.active(sessionId), 2)
  }
  t.ok(cuts > 20, `${cuts} places`)
})

const SHAPES: Readonly<Record<string, string>> = {
  'uuids, an enum and a timestamp without zone': `
    create type status as enum ('ACTIVE', 'REVOKED');
    create table "Token" ("id" uuid primary key, "userId" uuid not null, "sessionId" uuid not null,
      "mandateId" uuid, "status" status not null, "expiresAt" timestamp not null)`,
  'varchars and whole epoch seconds': `
    create table "Token" ("id" varchar(64) primary key, "userId" varchar not null, "sessionId" varchar not null,
      "mandateId" int, "status" varchar not null, "expiresAt" bigint)`,
}
for (const [shape, ddl] of Object.entries(SHAPES)) {
  t.test(`a table of ${shape} is refreshed and logged out`, async (t) => {
    const at = await stage(t, { ddl })
    const [id, userId, sessionId] = [randomUUID(), randomUUID(), randomUUID()]
    const expiry = ddl.includes('bigint')
      ? 'extract(epoch from now())::bigint + 100'
      : "now() at time zone 'UTC' + interval '100 s'"
    await at.sql.unsafe(
      `insert into "Token" values ('${id}', '${userId}', '${sessionId}', null, 'ACTIVE', ${expiry})`,
    )
    const first = await at.store().rotate(tokenOf(id), always)
    const again = await at.store().rotate(tokenOf(id), always)
    t.equal(refreshIdOf(again), refreshIdOf(first))
    t.match(first, { access: { exp: Number } })
    t.equal(await at.active(sessionId), 2)
    t.same(await at.store().rotate(tokenOf("no id'"), always), { kind: 'refused', code: 'token_unknown' })
    await at.store().end({ userId, sessionId })
    t.equal(await at.active(sessionId), 0)
  })
}

t.test('with a boolean column "revoked" refresh and logout read and write false and true', async (t) => {
  const at = await stage(t, {
    ddl: TOKEN_DDL.replace(/"status".*/, '"status" boolean not null,'),
    statuses: { admitting: 'false', revoked: 'true' },
  })
  const flags = async () =>
    (await at.sql`select status::text from "Token" order by "expiresAt", status`).map(({ status }) => status)
  await at.sql`insert into "Token" values ('a', 'u', 's', null, false, now() + interval '1 s')`
  t.equal((await at.store().rotate(tokenOf('a'), always)).kind, 'rotated')
  t.same(await flags(), ['true', 'false', 'false'])
  await at.store().end({ userId: 'u', sessionId: 's' })
  t.same(await flags(), ['true', 'true', 'true'])
  t.same(await at.store().rotate(tokenOf('a'), always), { kind: 'refused', code: 'token_revoked' })
})

t.test('a refresh token whose status is NULL or unknown is refused', async (t) => {
  const at = await stage(t, {
    ddl: TOKEN_DDL.replace(/"status".*/, '"status" int,'),
    statuses: { admitting: '1', revoked: '0' },
  })
  await at.sql`insert into "Token" values ('null', 'u', 's', null, null, now() + interval '1 h'), ('two', 'u', 's', null, 2, now() + interval '1 h')`
  for (const id of ['null', 'two']) {
    t.same(await at.store().rotate(tokenOf(id), always), { kind: 'refused', code: 'token_revoked' }, id)
    t.same(await at.store().endByRefresh(tokenOf(id)), { kind: 'refused', code: 'token_revoked' }, id)
  }
})

for (const [unit, factor] of [
  ['milliseconds', 1000],
  ['seconds', 1],
] as const) {
  t.test(`successors of a token whose expiry is in ${unit} have theirs in ${unit}`, async (t) => {
    for (const type of ['bigint', 'numeric', 'double precision']) {
      const at = await stage(t, { ddl: TOKEN_DDL.replace('timestamptz', type) })
      await at.sql.unsafe(
        `insert into "Token" values ('a', 'u', 's', null, 'ACTIVE', (extract(epoch from now())::bigint + 100) * ${factor})`,
      )
      const first = await at.store().rotate(tokenOf('a'), always)
      const written =
        await at.sql`select ("expiresAt" / ${factor})::float8 as at from "Token" where status = 'ACTIVE' order by 1`
      t.equal(written.length, 2)
      for (const [i, ttl] of [900, REFRESH_TTL_S].entries())
        t.ok(Math.abs(written[i]!.at - Date.now() / 1000 - ttl) < 60, `${type} ${i}`)
      t.equal(refreshIdOf(await at.store().rotate(tokenOf('a'), always)), refreshIdOf(first), 'a racing tab')
      t.equal(await at.active('s'), 2)
    }
  })
}

t.test('the successor of a token without an expiry has the unit of the other rows', async (t) => {
  const at = await stage(t, { ddl: TOKEN_DDL.replace('timestamptz NOT NULL', 'bigint') })
  await at.sql`insert into "Token" select n::text, 'u', 's' || n, null, 'ACTIVE', 2000000000000 from generate_series(1, 5) n`
  await at.sql`insert into "Token" values ('a', 'u', 's', null, 'ACTIVE', null)`
  t.equal((await at.store().rotate(tokenOf('a'), always)).kind, 'rotated')
  const [row] =
    await at.sql`select min("expiresAt")::float8 as at from "Token" where "sessionId" = 's' and status = 'ACTIVE'`
  t.ok(Math.abs(row!.at - Date.now() - 900_000) < 60_000)
})

t.test(
  'a missing mandate is written as NULL, or as an empty text where the column is NOT NULL',
  async (t) => {
    const at = await stage(t, { ddl: TOKEN_DDL.replace('"mandateId" text', '"mandateId" text NOT NULL') })
    await at.sql`insert into "Token" values ('a', 'u', 's', '', 'ACTIVE', now() + interval '1 h')`
    t.match(await at.store().rotate(tokenOf('a'), always), { kind: 'rotated', access: { mandateId: null } })
    t.equal((await at.sql`select 1 from "Token" where "mandateId" = ''`).length, 3)
  },
)

t.test('every spelling of the uuid of a refresh token has the same pair of successors', async (t) => {
  const at = await stage(t, { ddl: TOKEN_DDL.replace(/"(id|userId)"( +)text/g, '"$1"$2uuid') })
  const [id, userId] = [randomUUID(), randomUUID()]
  await at.sql`insert into "Token" values (${id}, ${userId}, 's', null, 'ACTIVE', now() + interval '1 h')`
  const first = await at
    .store()
    .rotate({ ...tokenOf(id.toUpperCase()), userId: userId.toUpperCase() }, always)
  const again = await at.store().rotate({ ...tokenOf(id.replaceAll('-', '')), userId: `{${userId}}` }, always)
  t.match(first, { kind: 'rotated', access: { userId } })
  t.equal(refreshIdOf(again), refreshIdOf(first))
  t.equal(await at.active('s'), 2)
  const other = { ...tokenOf(refreshIdOf(first)), userId: randomUUID() }
  t.same(await at.store().rotate(other, always), { kind: 'refused', code: 'token_mismatch' })
})

t.test('after the table has changed refresh and logout write its new form', async (t) => {
  const at = await stage(t, { ddl: TOKEN_DDL })
  const { sessionId, refresh } = await newSession(at)
  const first = await at.store().rotate(refresh, always)
  await at.sql.unsafe(
    `alter table "Token" alter "expiresAt" type bigint using (extract(epoch from "expiresAt") * 1000)::bigint`,
  )
  const second = await at.store().rotate(tokenOf(refreshIdOf(first)), always)
  t.equal(second.kind, 'rotated')
  const [row] =
    await at.sql`select max("expiresAt")::float8 as at from "Token" where "sessionId" = ${sessionId}`
  t.ok(row!.at > Date.now(), 'milliseconds')
  await at.sql.unsafe(
    `create table "Other" (like "Token" including all); alter table "Token" rename to "Before"; alter table "Other" rename to "Token"`,
  )
  t.same(await at.store().rotate(tokenOf(refreshIdOf(second)), always), {
    kind: 'refused',
    code: 'token_unknown',
  })
})
