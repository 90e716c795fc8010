import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import postgres from 'postgres'
import t from 'tap'
import { databaseCertificate } from '../support/fault-gateways.ts'
import { onlyGoodOr503, startFaultStage } from '../support/fault-stage.ts'
import { until } from '../support/plain-gateway.ts'
import { startPostgres } from '../support/postgres.ts'

const PRLIMIT = '/usr/bin/prlimit'
/** More than the 16 MiB of a WAL segment, since without a new segment the server would end. */
const ROWS = 110_000

/** For PostgreSQL a limit of the size of files is like a full disk. Child processes inherit the limit. */
function limitFiles(bytes: number | 'unlimited'): void {
  execFileSync(PRLIMIT, ['--pid', String(process.pid), `--fsize=${bytes}:`])
}

if (existsSync(PRLIMIT)) {
  t.test('with a full disk look-ups succeed, and a refresh gets 503 and changes nothing', async (t) => {
    const { tls, trust } = databaseCertificate(t)
    const server = await startPostgres({ settings: ['autovacuum=off'], tls })
    t.teardown(() => server.close())
    const stage = await startFaultStage(server, { env: trust })
    t.teardown(() => stage.close())
    const admin = postgres(stage.databaseUrl, { max: 1, onnotice: () => {}, backoff: () => 0.1 })
    t.teardown(() => admin.end())
    const fill = (rows: number) => admin`
      insert into "Token" select 'fill-' || gen_random_uuid(), repeat('x', 170), 'none', null, 'REVOKED', now()
      from generate_series(1, ${rows})`
    await fill(ROWS)
    const [size] = await admin`
      select pg_relation_size('"Token"')::int as bytes, pg_indexes_size('"Token"')::int as index`
    t.ok(size!.bytes > 20e6 && size!.bytes > size!.index)
    await server.stop()
    limitFiles(size!.bytes)
    await server.start()
    limitFiles('unlimited')
    await until(stage.isGood)
    // A table grows by several pages at once, and has free ones now, which have to be used up.
    for (const rows of [100, 1]) {
      await until(() =>
        fill(rows).then(
          () => false,
          () => true,
        ),
      )
    }

    let recoveredIn = Number.POSITIVE_INFINITY
    const seen = await stage.underLoad(async () => {
      await until(async () => (await stage.refresh(0)).outcome === '503')
      for (let n = 0; n < 6; n++) await stage.refresh(n)
      for (let n = 0; n < 50; n++) t.equal((await stage.visit(n)).outcome, 'good', 'look-ups write nothing')
      await admin.unsafe(`delete from "Token" where id like 'fill-%'`)
      await admin.unsafe('vacuum (truncate off) "Token"')
      const mended = performance.now()
      await until(async () => (await stage.refresh(0)).outcome === 'good')
      recoveredIn = performance.now() - mended
    })
    t.comment(`refreshes succeed again after ${recoveredIn.toFixed(0)} ms`)
    onlyGoodOr503(t, seen)
    for (const gateway of stage.gateways) gateway.checkProcesses(t)
    for (let n = 0; n < 6; n++) t.match(await stage.refresh(n), { outcome: 'good' }, 'no session was lost')
    const [active] = await admin`select count(*)::int as count from "Token" where status = 'ACTIVE'`
    t.equal(active!.count, 20 + 2 * 6, 'no half pair is left')
  })
} else {
  t.comment(
    'prlimit is not installed here, by which the disk seems full to PostgreSQL: this fault is not tested',
  )
  t.pass('nothing to test without prlimit')
}
