import postgres from 'postgres'
import { answering } from './contenders/contender.ts'
import { startGateway } from './contenders/gateway.ts'
import type { Load } from './load-shape.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { eventually } from './processes.ts'
import { startRelay } from './relay.ts'
import { table, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { spreadOf } from './statistics.ts'

/** The gateway's own statement (gateway/auth/token-table.ts), asked by a client that does nothing else. */
const LOOK_UP = `select pg_is_in_recovery(), t."id"::text, t."userId"::text, t."sessionId"::text, t."mandateId"::text,
  t."status"::text, t."expiresAt" <= clock_timestamp(), date_part('epoch', t."expiresAt")
  from (select) as always left join "Token" as t on t."id" = any($1::text[])`

interface LatencyRow {
  readonly call: string
  /** What the rows that follow are compared with. */
  readonly isDirect: boolean
  /** How much farther away the database is, there and back; null where it is not asked. */
  readonly databaseMs: number | null
  readonly p50Ms: number
  /** Of the look-up's query alone; 0 where there is none. */
  readonly queryMs: number
}

const DISTANCES_MS = [1, 5]
const TARGET_MS = 0.3

/** One client alone: what the gateway adds to a direct call, less what the database takes for the way. */
export async function latency(stage: BenchStage, options: BenchOptions): Promise<void> {
  if (stage.machine.loadGenerator !== 'wrk') {
    process.stdout.write('Unloaded latency needs wrk: autocannon tells whole milliseconds.\n')
    return
  }
  const rows: LatencyRow[] = [
    await direct(stage, options, 0),
    await throughGateway(stage, options, null),
    await throughGateway(stage, options, 0),
  ]
  for (const distance of DISTANCES_MS) {
    rows.push(await direct(stage, options, distance), await throughGateway(stage, options, distance))
  }

  const text = latencyTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.keep) return
  await writeReadme(new Map([['latency', text]]))
  await writeResults({ latency: rows })
}

function latencyTable(rows: readonly LatencyRow[]): string {
  let directMs = 0
  return table(
    ['call', 'database away', 'p50 ms', 'of it the query', 'added', `at most ${TARGET_MS}`],
    rows.map(({ call, isDirect, databaseMs, p50Ms, queryMs }) => {
      if (isDirect) directMs = p50Ms
      const added = p50Ms - directMs - queryMs
      return [
        call,
        databaseMs === null ? '' : `${databaseMs} ms`,
        p50Ms.toFixed(3),
        queryMs.toFixed(3),
        isDirect ? '' : added.toFixed(3),
        isDirect ? '' : added <= TARGET_MS ? 'met' : 'NOT MET',
      ]
    }),
  )
}

/** The backend called without a proxy, at the pace of a client that waits for the database each time. */
async function direct(stage: BenchStage, options: BenchOptions, pauseMs: number): Promise<LatencyRow> {
  return {
    call: pauseMs === 0 ? 'direct' : `direct, ${pauseMs} ms after the last answer`,
    isDirect: true,
    databaseMs: null,
    p50Ms: await alone(stage, options, { port: stage.backendPort, pauseMs }),
    queryMs: 0,
  }
}

async function throughGateway(
  stage: BenchStage,
  options: BenchOptions,
  databaseMs: number | null,
): Promise<LatencyRow> {
  const relay = databaseMs ? await startRelay(stage.database.port, databaseMs) : null
  const url = new URL(stage.databaseUrl)
  if (relay !== null) url.port = String(relay.port)
  const databaseUrl = url.href
  if (relay !== null) await eventually('the relay', async () => (await roundTrip(databaseUrl, 1)) > 0)
  const gateway = await startGateway(
    { ...stage, databaseUrl },
    { auth: databaseMs === null ? 'none' : 'required' },
  )
  try {
    await answering(gateway.port)
    await warmUp(stage, options, gateway.port)
    return {
      call: databaseMs === null ? 'gateway, `auth: none`' : 'gateway',
      isDirect: false,
      databaseMs,
      p50Ms: await alone(stage, options, { port: gateway.port }),
      queryMs: databaseMs === null ? 0 : await roundTrip(databaseUrl, 500),
    }
  } finally {
    await gateway.stop()
    await relay?.stop()
  }
}

/**
 * With a database 5 ms away one client alone asks some 170 times a second: far too seldom for the compiler, so that
 * the row would tell what a gateway takes that was started a moment ago.
 */
async function warmUp(stage: BenchStage, options: BenchOptions, port: number): Promise<void> {
  const { file } = stage.tokens.active
  await stage.generate({
    port,
    connections: CONNECTIONS,
    seconds: options.warmupSeconds,
    tokensFile: file,
    seed: 1,
  })
}

/** Median of `options.rounds` runs' p50, after a warm-up. */
async function alone(
  stage: BenchStage,
  options: BenchOptions,
  to: Pick<Load, 'port' | 'pauseMs'>,
): Promise<number> {
  const load = { ...to, connections: 1, tokensFile: stage.tokens.active.file, seed: 1 }
  await stage.generate({ ...load, seconds: options.warmupSeconds })
  const found: number[] = []
  for (let round = 0; round < options.rounds; round++) {
    const { p50Ms, failed } = await stage.generate({ ...load, seconds: options.quick ? 1 : 2 })
    if (failed > 0) throw new Error(`${failed} requests failed`)
    found.push(p50Ms)
  }
  return spreadOf(found).median
}

/** Median time of one look-up on a connection that is open already. */
async function roundTrip(url: string, times: number): Promise<number> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  const taken: number[] = []
  for (let i = 0; i <= times; i++) {
    const startedAt = performance.now()
    await sql.unsafe(LOOK_UP, [`{"${i}"}`], { prepare: true }).values()
    if (i > 0) taken.push(performance.now() - startedAt)
  }
  await sql.end()
  return spreadOf(taken).median
}
