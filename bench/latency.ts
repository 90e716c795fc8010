import postgres from 'postgres'
import { atMost, judge } from './bounds.ts'
import { waitForAnswer } from './contenders/contender.ts'
import { startGateway } from './contenders/gateway.ts'
import type { Load } from './load-shape.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { waitUntil } from './processes.ts'
import { startRelay } from './relay.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { spreadOf } from './statistics.ts'

/** Does the same work as the statement of gateway/auth/token-store/mapped-table.ts. */
const LOOK_UP = `select pg_is_in_recovery(), t."id"::text, t."userId"::text, t."sessionId"::text, t."mandateId"::text,
  t."status"::text, t."expiresAt" <= clock_timestamp(), date_part('epoch', t."expiresAt")
  from (select) as always left join "Token" as t on t."id" = any($1::text[])`

interface LatencyRow {
  readonly call: string
  /** Whether the rows that follow are compared with this one. */
  readonly isDirect: boolean
  /** How long the way to the database and back takes in addition; null where no query is sent. */
  readonly databaseMs: number | null
  readonly p50Ms: number
  /** Of the look-up's query alone; 0 where there is no query. */
  readonly queryMs: number
}

const DISTANCES_MS = [1, 5]

/** The most that any of these calls added while the gateway was built on Node's HTTP server. */
const BOUND = atMost(0.11)

/** Measures what the gateway adds to a direct call for a single client, without the time of the query. */
export async function measureLatency(stage: BenchStage, options: BenchOptions): Promise<void> {
  if (stage.machine.loadGenerator !== 'wrk') {
    process.stdout.write('Unloaded latency needs wrk: autocannon reports whole milliseconds.\n')
    return
  }
  const rows: LatencyRow[] = [
    await measureDirect(stage, options, 0),
    await measureThroughGateway(stage, options, null),
    await measureThroughGateway(stage, options, 0),
  ]
  for (const distance of DISTANCES_MS) {
    rows.push(
      await measureDirect(stage, options, distance),
      await measureThroughGateway(stage, options, distance),
    )
  }

  const text = latencyTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['latency', text]]))
  await writeResults({ latency: rows })
}

function latencyTable(rows: readonly LatencyRow[]): string {
  let directMs = 0
  return markdownTable(
    ['call', 'database away', 'p50 ms', 'of which the query', 'added', 'target', ''],
    rows.map(({ call, isDirect, databaseMs, p50Ms, queryMs }) => {
      if (isDirect) directMs = p50Ms
      const added = p50Ms - directMs - queryMs
      const { target, verdict } = judge(added, isDirect ? null : BOUND)
      return [
        call,
        databaseMs === null ? '' : `${databaseMs} ms`,
        p50Ms.toFixed(3),
        queryMs.toFixed(3),
        isDirect ? '' : added.toFixed(3),
        target,
        verdict,
      ]
    }),
  )
}

/** Calls the backend without a proxy, and pauses as long as a client of the gateway would wait for the database. */
async function measureDirect(stage: BenchStage, options: BenchOptions, pauseMs: number): Promise<LatencyRow> {
  return {
    call: pauseMs === 0 ? 'direct' : `direct, ${pauseMs} ms after the last answer`,
    isDirect: true,
    databaseMs: null,
    p50Ms: await measureOneClient(stage, options, { port: stage.backendPort, pauseMs }),
    queryMs: 0,
  }
}

async function measureThroughGateway(
  stage: BenchStage,
  options: BenchOptions,
  databaseMs: number | null,
): Promise<LatencyRow> {
  const relay = databaseMs ? await startRelay(stage.database.port, databaseMs) : null
  const url = new URL(stage.databaseUrl)
  if (relay !== null) url.port = String(relay.port)
  const databaseUrl = url.href
  if (relay !== null) await waitUntil('the relay', async () => (await measureLookup(databaseUrl, 1)) > 0)
  const gateway = await startGateway(
    { ...stage, databaseUrl },
    { auth: databaseMs === null ? 'none' : 'required' },
  )
  try {
    await waitForAnswer(gateway.port)
    await warmUp(stage, options, gateway.port)
    return {
      call: databaseMs === null ? 'gateway, `auth: none`' : 'gateway',
      isDirect: false,
      databaseMs,
      p50Ms: await measureOneClient(stage, options, { port: gateway.port }),
      queryMs: databaseMs === null ? 0 : await measureLookup(databaseUrl, 500),
    }
  } finally {
    await gateway.stop()
    await relay?.stop()
  }
}

/**
 * With a database 5 ms away a single client sends about 170 requests a second. V8 would not compile the hot functions
 * in time, and the row would show a gateway that has just started.
 */
async function warmUp(stage: BenchStage, options: BenchOptions, port: number): Promise<void> {
  const { file } = stage.tokens.active
  await stage.generateLoad({
    port,
    connections: CONNECTIONS,
    seconds: options.warmupSeconds,
    tokensFile: file,
    seed: 1,
  })
}

/** Median of `options.rounds` runs' p50, after a warm-up. */
async function measureOneClient(
  stage: BenchStage,
  options: BenchOptions,
  to: Pick<Load, 'port' | 'pauseMs'>,
): Promise<number> {
  const load = { ...to, connections: 1, tokensFile: stage.tokens.active.file, seed: 1 }
  await stage.generateLoad({ ...load, seconds: options.warmupSeconds })
  const found: number[] = []
  for (let round = 0; round < options.rounds; round++) {
    const { p50Ms, failed } = await stage.generateLoad({ ...load, seconds: options.quick ? 1 : 2 })
    if (failed > 0) throw new Error(`${failed} requests failed`)
    found.push(p50Ms)
  }
  return spreadOf(found).median
}

/** Measures the median time of one look-up on an open connection, in milliseconds. */
async function measureLookup(url: string, times: number): Promise<number> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  const timesMs: number[] = []
  for (let i = 0; i <= times; i++) {
    const startedAt = performance.now()
    await sql.unsafe(LOOK_UP, [`{"${i}"}`], { prepare: true }).values()
    if (i > 0) timesMs.push(performance.now() - startedAt)
  }
  await sql.end()
  return spreadOf(timesMs).median
}
