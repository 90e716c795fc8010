import { type GatewayOptions, startGateway } from './contenders/gateway.ts'
import { lookupCounts } from './gateway-metrics.ts'
import { type OpenLoadResult, runOpenLoad } from './load.ts'
import type { BenchOptions } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
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
const FLOOD_RATE = 3000

/** A fixed rate makes floods comparable; a flood that takes all it can get shows the worst case. */
type Pace = 'fixed' | 'all it can get'

interface FloodRow {
  readonly name: string
  readonly pace: Pace | null
  readonly good: OpenLoadResult
  readonly floodPerS: number
  readonly queriesPerS: number
  /** Look-ups that the flood caused, for each of its requests. */
  readonly lookupsPerBad: number
}

interface FloodTraffic {
  readonly requests: number
  readonly requestsPerS: number
}

/** Measures the latency of valid requests during a flood of bad tokens. */
export async function measureFlood(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rows: FloodRow[] = []
  for (const pace of ['fixed', 'all it can get'] as const) {
    for (const scenario of SCENARIOS) {
      if (scenario.flood === null && pace !== 'fixed') continue
      rows.push(await runScenario(stage, options, { ...scenario, pace }))
    }
  }
  const text = floodTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['flood', text]]))
  await writeResults({ flood: rows })
}

function floodTable(rows: readonly FloodRow[]): string {
  return markdownTable(
    [
      'flood',
      'flood requests/s',
      'look-ups per bad request',
      'queries/s',
      "good users' p50 ms",
      'p99 ms',
      'p99.9 ms',
      'failed',
    ],
    rows.map(({ name, pace, good, floodPerS, queriesPerS, lookupsPerBad }) => [
      pace === 'all it can get' ? `${name}, ${pace}` : name,
      floodPerS.toFixed(0),
      lookupsPerBad.toFixed(3),
      queriesPerS.toFixed(0),
      good.p50Ms.toFixed(2),
      good.p99Ms.toFixed(2),
      good.p999Ms.toFixed(2),
      String(good.failed),
    ]),
  )
}

async function runScenario(
  stage: BenchStage,
  options: BenchOptions,
  scenario: Scenario & { readonly pace: Pace },
): Promise<FloodRow> {
  const gateway = await startGateway(stage, scenario.env === undefined ? {} : { env: scenario.env })
  try {
    const { port, adminPort } = gateway
    const good = { port, rate: GOOD_RATE, connections: 64, tokens: stage.tokens.active.list }
    await runOpenLoad({ ...good, seconds: options.warmupSeconds })
    const before = await lookupCounts(adminPort)
    const [goodResult, bad] = await Promise.all([
      runOpenLoad({ ...good, seconds: options.seconds }),
      runFlood(stage, { ...scenario, port, seconds: options.seconds }),
    ])
    if (goodResult.failed > 0) {
      process.stderr.write(`${scenario.name}: ${JSON.stringify(goodResult.failures)}\n`)
    }
    const after = await lookupCounts(adminPort)
    const lookups = after.lookups - before.lookups - goodResult.requests
    return {
      name: scenario.name,
      pace: bad === null ? null : scenario.pace,
      good: goodResult,
      floodPerS: bad?.requestsPerS ?? 0,
      queriesPerS: (after.queries - before.queries) / options.seconds,
      lookupsPerBad: bad === null ? 0 : Math.max(0, lookups) / bad.requests,
    }
  } finally {
    await gateway.stop()
  }
}

async function runFlood(
  stage: BenchStage,
  { flood, pace, port, seconds }: Scenario & { pace: Pace; port: number; seconds: number },
): Promise<FloodTraffic | null> {
  if (flood === null) return null
  const { file, list } = stage.tokens[flood]
  const load = { port, seconds, connections: FLOOD_CONNECTIONS }
  if (pace !== 'fixed') return stage.generateLoad({ ...load, tokensFile: file, seed: 1 })
  const expected = flood === 'active' ? 200 : 401
  const { requests, answeredPerS } = await runOpenLoad({ ...load, rate: FLOOD_RATE, tokens: list, expected })
  return { requests, requestsPerS: answeredPerS }
}
