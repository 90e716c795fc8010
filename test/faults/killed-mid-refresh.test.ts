import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import t from 'tap'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/plain-gateway.ts'
import { insertToken, startPostgres } from '../support/postgres.ts'
import { inSeconds, signToken } from '../support/tokens.ts'

/** The trigger below waits for this lock after the old tokens are revoked and before the new ones are inserted. */
const HOLD = 77

const pg = await startPostgres()
const databaseUrl = await pg.createDatabase()
const sql = postgres(databaseUrl, { max: 3, onnotice: () => {} })
await sql.unsafe(`
  create function hold() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock_shared(${HOLD}); return new; end $$;
  create trigger hold before insert on "Token" for each row execute function hold()`)
const start = () =>
  startGateway({
    databaseUrl,
    routing: {
      upstreams: { app: { targets: ['http://127.0.0.1:1'] } },
      routes: [{ path: '/', upstream: 'app' }],
    },
    env: { SESSION_ENDPOINTS: 'on', LOOKUP_TIMEOUT_MS: '1000', ACCESS_LOG: 'off' },
  })
const sound = await start()
t.teardown(async () => {
  await sound.stop()
  await sql.end({ timeout: 1 })
  await pg.close()
})

async function newSession() {
  const { id, sessionId } = await insertToken(sql, { sessionId: randomUUID() })
  const claims = { jti: id, sessionId, type: 'refresh', exp: inSeconds(3600) }
  return { sessionId, cookie: `refresh_token=${await signToken({ claims })}` }
}

const refresh = (gateway: TestGateway, cookie: string) =>
  ask({ url: `${gateway.url}/-/refresh`, method: 'POST', headers: { cookie } }).then(
    ({ status }) => status,
    () => 0,
  )
const rowsOf = (sessionId: string) => sql`select status from "Token" where "sessionId" = ${sessionId}`

for (const [how, signal] of [
  ['killed', 'SIGKILL'],
  ['frozen', 'SIGSTOP'],
] as const) {
  t.test(`no session is lost when an instance is ${how} in the middle of a refresh`, async (t) => {
    const gateway = await start()
    t.teardown(() => {
      gateway.signal('SIGCONT')
      return gateway.stop()
    })
    const { sessionId, cookie } = await newSession()
    const holder = await sql.reserve()
    await holder`select pg_advisory_lock(${HOLD})`
    const cut = refresh(gateway, cookie)
    await until(async () => {
      const [row] =
        await sql`select count(*)::int as count from pg_locks where not granted and objid = ${HOLD}`
      return row!.count === 1
    })
    gateway.signal(signal)
    await holder`select pg_advisory_unlock(${HOLD})`
    holder.release()

    await until(async () => (await refresh(sound, cookie)) === 204)
    const rows = await rowsOf(sessionId)
    t.equal(rows.filter(({ status }) => status === 'ACTIVE').length, 2)
    t.equal(rows.length, 3, 'one pair of successors')
    gateway.signal('SIGCONT')
    t.not(await cut, 401)
    t.same(await rowsOf(sessionId), rows, 'the one that goes on changes nothing any more')
  })
}
