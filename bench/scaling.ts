import { createTokenTable, type TokenTable } from '../gateway/auth/token-store/token-table.ts'
import { systemScheduler } from '../gateway/core/scheduler.ts'
import { createDatabase } from '../gateway/database/database.ts'
import { readSettings } from '../gateway/settings/settings.ts'
import { ROWS, withSql } from './database.ts'
import { type FleetFigures, simulateFleet } from './fleet-simulation.ts'
import type { BenchOptions } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { usageOf } from './usage.ts'

const BATCHES = [1, 5, 20, 100, 500, 1000]
const CONNECTIONS = 4
const PARTITIONS = 16
const FLEETS = [1, 10, 100, 1000]
const RATES = [1000, 10_000, 50_000, 100_000]
const ROUND_TRIP_MS = 0.5
const CORES = 8
const UPDATES = 20_000

/** What one statement costs the database. */
interface Cost {
  readonly ids: number
  readonly cpuUs: number
}

interface Fleet {
  readonly instances: number
  readonly requestsPerS: number
  readonly figures: FleetFigures
}

/** Measures what the look-up's statement costs the database, and simulates fleets with these costs. */
export async function measureScaling(stage: BenchStage, options: BenchOptions): Promise<void> {
  const forMs = options.quick ? 700 : 2000
  await stage.database.fillTable(ROWS)
  const plain = await measureCosts(stage, { name: 'Token', prepare: true, forMs })
  const unprepared = await measureCosts(stage, { name: 'Token', prepare: false, forMs })
  await createPartitionedTable(stage)
  const generic = await measureCosts(stage, { name: 'Token_parts', prepare: true, forMs })
  const custom = await measureCosts(stage, { name: 'Token_parts', prepare: false, forMs })
  const hot = { full: await measureHotShare(stage, 100), roomy: await measureHotShare(stage, 80) }
  const line = fitCostLine(plain)
  const fleets = simulateFleets(line)
  const text = [
    costTable({ plain, unprepared, generic, custom }),
    `A query costs as much as ${(line.queryUs / line.idUs).toFixed(0)} further ids. Of ${UPDATES} revocations in scattered rows ${(hot.full * 100).toFixed(0)}% were HOT with a fillfactor of 100, ${(hot.roomy * 100).toFixed(0)}% with 80.`,
    fleetTable(fleets),
  ].join('\n\n')
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['scaling', text]]))
  await writeResults({ scaling: { plain, unprepared, generic, custom, hot, fleets } })
}

interface CostRun {
  readonly name: string
  readonly prepare: boolean
  readonly forMs: number
}

/** Measures the statement for each size of batch, with all connections busy. */
async function measureCosts(stage: BenchStage, { name, prepare, forMs }: CostRun): Promise<Cost[]> {
  const read = readSettings({ TOKEN_TABLE: `"${name}"` })
  if (!read.ok) throw new Error(read.problems.join('; '))
  const { tokenTable, tokenColumns, tokenStatuses } = read.settings
  const url = stage.databaseUrl
  const database = createDatabase({ url, connections: CONNECTIONS, prepare, scheduler: systemScheduler })
  const tokens = createTokenTable({
    database,
    table: tokenTable,
    columns: tokenColumns,
    statuses: tokenStatuses,
    written: false,
    now: systemScheduler.now,
  })
  const ids = await pickIds(stage)
  const found: Cost[] = []
  try {
    for (const size of BATCHES) {
      // A first run, so that PostgreSQL has chosen its plan and has the pages in memory.
      await runLookups(tokens, { ids, size, forMs: forMs / 4 })
      const before = usageOf([stage.database.pid]).cpuUs
      const queries = await runLookups(tokens, { ids, size, forMs })
      found.push({ ids: size, cpuUs: (usageOf([stage.database.pid]).cpuUs - before) / queries })
    }
  } finally {
    await database.close()
  }
  return found
}

interface LookupRun {
  readonly ids: readonly string[]
  readonly size: number
  readonly forMs: number
}

/** @returns queries answered */
async function runLookups(tokens: TokenTable, { ids, size, forMs }: LookupRun): Promise<number> {
  const end = performance.now() + forMs
  let queries = 0
  const worker = async () => {
    while (performance.now() < end) {
      const from = Math.floor(Math.random() * (ids.length - size))
      const rows = await tokens.findMany(ids.slice(from, from + size), 30_000)
      if (rows.size !== size) throw new Error(`${rows.size} rows for ${size} ids`)
      queries++
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  return queries
}

async function pickIds(stage: BenchStage): Promise<string[]> {
  return withSql(stage.databaseUrl, async (sql) => {
    const rows = await sql`select "id" from "Token" order by md5("id") limit 50000`
    return rows.map(({ id }) => id as string)
  })
}

async function createPartitionedTable(stage: BenchStage): Promise<void> {
  const parts = Array.from(
    { length: PARTITIONS },
    (_, n) =>
      `create table "Token_parts_${n}" partition of "Token_parts" for values with (modulus ${PARTITIONS}, remainder ${n})`,
  )
  await withSql(stage.databaseUrl, (sql) =>
    sql.unsafe(`
      drop table if exists "Token_parts";
      create table "Token_parts" (like "Token" including all) partition by hash ("id");
      ${parts.join(';')};
      insert into "Token_parts" select * from "Token";
      analyze "Token_parts"`),
  )
  await withSql(stage.databaseUrl, (sql) => sql`vacuum "Token_parts"`)
}

/** Measures the share of revocations that needed no new index entry (HOT updates), 0 to 1. */
async function measureHotShare(stage: BenchStage, fillfactor: number): Promise<number> {
  return withSql(stage.databaseUrl, async (sql) => {
    await sql.unsafe(`
      drop table if exists "Token_fill";
      create table "Token_fill" (like "Token" including all) with (fillfactor = ${fillfactor}, autovacuum_enabled = off);
      insert into "Token_fill" select * from "Token"`)
    await sql.unsafe(
      `update "Token_fill" set "status" = 'REVOKED' where "id" in (select "id" from "Token" where "status" = 'ACTIVE' order by md5("id") limit ${UPDATES})`,
    )
    const [row] = await sql`select pg_stat_force_next_flush(), 1`.then(
      () =>
        sql`select n_tup_hot_upd::float8 / n_tup_upd as share from pg_stat_user_tables where relname = 'Token_fill'`,
    )
    await sql`drop table "Token_fill"`
    return row?.share as number
  })
}

/** Fits a line through the smallest and the largest batch. */
function fitCostLine(found: readonly Cost[]): { readonly queryUs: number; readonly idUs: number } {
  const [first, last] = [found[0]!, found.at(-1)!]
  const idUs = (last.cpuUs - first.cpuUs) / (last.ids - first.ids)
  return { queryUs: first.cpuUs - idUs * first.ids, idUs }
}

function simulateFleets({ queryUs, idUs }: ReturnType<typeof fitCostLine>): Fleet[] {
  return FLEETS.flatMap((instances) =>
    RATES.map((requestsPerS) => ({
      instances,
      requestsPerS,
      figures: simulateFleet({
        instances,
        requestsPerS,
        connections: CONNECTIONS,
        roundTripMs: ROUND_TRIP_MS,
        cores: CORES,
        queryMs: queryUs / 1000,
        idMs: idUs / 1000,
        durationMs: 1000,
        random: Math.random,
      }),
    })),
  )
}

interface Costs {
  readonly plain: readonly Cost[]
  readonly unprepared: readonly Cost[]
  readonly generic: readonly Cost[]
  readonly custom: readonly Cost[]
}

function costTable({ plain, unprepared, generic, custom }: Costs): string {
  const one = plain[0]!.cpuUs
  return markdownTable(
    [
      'ids a query',
      'PostgreSQL µs a query',
      'µs an id',
      'ids for one CPU, batch of 1 is 1',
      'not prepared',
      `${PARTITIONS} partitions`,
      'both',
    ],
    plain.map(({ ids, cpuUs }, n) => [
      String(ids),
      cpuUs.toFixed(0),
      (cpuUs / ids).toFixed(1),
      ((one * ids) / cpuUs).toFixed(1),
      `x ${(unprepared[n]!.cpuUs / cpuUs).toFixed(2)}`,
      `x ${(generic[n]!.cpuUs / cpuUs).toFixed(2)}`,
      `x ${(custom[n]!.cpuUs / cpuUs).toFixed(2)}`,
    ]),
  )
}

function fleetTable(fleets: readonly Fleet[]): string {
  return markdownTable(
    [
      'instances',
      'requests/s, all',
      'queries/s',
      'ids a query',
      `of ${CORES} cores busy`,
      'look-up p50 ms',
      'p99 ms',
    ],
    fleets.map(({ instances, requestsPerS, figures }) => [
      String(instances),
      String(requestsPerS),
      figures.queriesPerS.toFixed(0),
      figures.idsPerQuery.toFixed(1),
      `${(figures.busy * 100).toFixed(0)}%`,
      figures.p50Ms.toFixed(1),
      figures.p99Ms.toFixed(1),
    ]),
  )
}
