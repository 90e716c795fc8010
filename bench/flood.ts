import { type GatewayOptions, startGateway } from './contenders/gateway.ts'
import { lookupCounts } from './gateway-metrics.ts'
import { type OpenLoadResult, runOpenLoad } from './load.ts'
import type { BenchOptions } from './options.ts'
import { table, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'

interface Scenario {
  readonly name: string
  readonly flood: 'forged' | 'revoked' | 'active' | null
  readonly env?: GatewayOptions['env']
}

const SCENARIOS: readonly Scenario[] = [
  { name: 'no flood', flood: null },
  { name: 'good tokens (for comparison)', flood: 'active' },
  { name: 'forged tokens', flood: 'forged' },
  { name: 'revoked tokens, negative cache off', flood: 'revoked' },
  {
    name: 'revoked tokens, negative cache of 1 s',
    flood: 'revoked',
    env: { NEGATIVE_CACHE_TTL_US: '1000000' },
  },
]

const GOOD_RATE = 500
const FLOOD_CONNECTIONS = 32

interface FloodRow {
  readonly name: string
  readonly good: OpenLoadResult
  readonly floodPerS: number
  readonly queriesPerS: number
  /** Look-ups that the flood caused, per bad request. */
  readonly lookupsPerBad: number
}

/** What good users notice of a flood of bad tokens. */
export async function flood(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rows: FloodRow[] = []
  for (const scenario of SCENARIOS) rows.push(await runScenario(stage, options, scenario))
  const text = table(
    [
      'flood',
      'of it/s',
      'look-ups per bad request',
      'queries/s',
      "good users' p50 ms",
      'p99 ms',
      'p99.9 ms',
      'failed',
    ],
    rows.map(({ name, good, floodPerS, queriesPerS, lookupsPerBad }) => [
      name,
      floodPerS.toFixed(0),
      lookupsPerBad.toFixed(3),
      queriesPerS.toFixed(0),
      good.p50Ms.toFixed(2),
      good.p99Ms.toFixed(2),
      good.p999Ms.toFixed(2),
      String(good.failed),
    ]),
  )
  process.stdout.write(`\n${text}\n`)
  if (options.quick) return
  await writeReadme(new Map([['flood', text]]))
  await writeResults({ flood: rows })
}

async function runScenario(stage: BenchStage, options: BenchOptions, scenario: Scenario): Promise<FloodRow> {
  const gateway = await startGateway(stage, scenario.env === undefined ? {} : { env: scenario.env })
  try {
    const { port, adminPort } = gateway
    const good = { port, rate: GOOD_RATE, connections: 64, tokens: stage.tokens.active.list }
    await runOpenLoad({ ...good, seconds: options.warmupSeconds })
    const before = await lookupCounts(adminPort)
    const [goodResult, bad] = await Promise.all([
      runOpenLoad({ ...good, seconds: options.seconds }),
      scenario.flood === null
        ? null
        : stage.generate({
            port,
            connections: FLOOD_CONNECTIONS,
            seconds: options.seconds,
            tokensFile: stage.tokens[scenario.flood].file,
            seed: 1,
          }),
    ])
    const after = await lookupCounts(adminPort)
    const lookups = after.lookups - before.lookups - goodResult.requests
    return {
      name: scenario.name,
      good: goodResult,
      floodPerS: bad?.requestsPerS ?? 0,
      queriesPerS: (after.queries - before.queries) / options.seconds,
      lookupsPerBad: bad === null ? 0 : Math.max(0, lookups) / bad.requests,
    }
  } finally {
    await gateway.stop()
  }
}
