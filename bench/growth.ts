import { type StartedGateway, startGateway } from './contenders/gateway.ts'
import { activeTokens, ROWS, SESSIONS } from './database.ts'
import { lookupCounts } from './gateway-metrics.ts'
import { runOpenLoad } from './load.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { type Plot, writePlot } from './plot.ts'
import { table, writeReadme, writeResults } from './report.ts'
import { type BenchStage, keep, type Tokens } from './stage.ts'
import { usageOf } from './usage.ts'

const RATES = [100, 300, 1000, 2000, 4000, 6000, 8000, 10_000, 12_000]
const ROW_COUNTS = [10, 100, 1000, 10_000, 100_000, 1_000_000]
const CONNECTION_COUNTS = [1, 10, 100, 1000, 10_000]

/**
 * Ten thousand connections that are all busy all the time are more than the limits of an ordinary day let wait;
 * here they are to be answered, not refused.
 */
const ALL = 20_000
const PATIENT = { LOOKUP_QUEUE_MAX: String(ALL), LOOKUP_TIMEOUT_MS: '30000' }

/** One point: what was asked of the gateway, and what it cost. */
interface Point {
  readonly at: number
  readonly requestsPerS: number
  readonly failed: number
  readonly lookupsPerQuery: number
  readonly queriesPerS: number
  readonly cpuUs: number
  readonly postgresUs: number
  readonly p50Ms: number
  readonly p99Ms: number
}

type Traffic = Pick<Point, 'requestsPerS' | 'failed' | 'p50Ms' | 'p99Ms'> & { readonly requests: number }

/** How the cost of a request changes with the rate, with the table's size and with the connections. */
export async function growth(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rates = await withGateway(stage, options, (gateway) => overRates(stage, options, gateway))
  const connections = await withGateway(stage, options, (gateway) => overConnections(stage, options, gateway))
  const rows = await overRows(stage, options)
  const text = [
    `### Requests per second (${CONNECTIONS} connections, the last row saturated)`,
    pointTable('requests/s offered', rates),
    `### Rows in the table (${CONNECTIONS} connections, saturated)`,
    pointTable('rows', rows),
    '### Connections (saturated)',
    pointTable('connections', connections),
    ...Object.entries(plotsOf(rates, rows, connections)).map(
      ([name, { title }]) => `![${title}](${name}.svg)`,
    ),
  ].join('\n\n')
  process.stdout.write(`\n${text}\n`)
  if (!options.keep) return
  for (const [name, plot] of Object.entries(plotsOf(rates, rows, connections))) await writePlot(name, plot)
  await writeReadme(new Map([['growth', text]]))
  await writeResults({ growth: { rates, rows, connections } })
}

async function withGateway<T>(
  stage: BenchStage,
  options: BenchOptions,
  task: (gateway: StartedGateway) => Promise<T>,
): Promise<T> {
  const gateway = await startGateway(stage, { upstream: { maxPending: ALL }, env: PATIENT })
  try {
    await stage.generate({
      port: gateway.port,
      connections: CONNECTIONS,
      seconds: options.warmupSeconds,
      tokensFile: stage.tokens.active.file,
      seed: 1,
    })
    return await task(gateway)
  } finally {
    await gateway.stop()
  }
}

async function overRates(
  stage: BenchStage,
  options: BenchOptions,
  gateway: StartedGateway,
): Promise<Point[]> {
  const points: Point[] = []
  for (const rate of RATES) {
    const point = await observe(stage, gateway, rate, async () => {
      const { port } = gateway
      const { seconds } = options
      const tokens = stage.tokens.active.list
      const result = await runOpenLoad({ port, rate, seconds, connections: CONNECTIONS, tokens })
      return { ...result, requestsPerS: result.answeredPerS }
    })
    points.push(point)
    // Beyond this a longer run would only have a longer queue.
    if (point.requestsPerS < rate * 0.9) break
  }
  const saturated = await observe(stage, gateway, 0, () => closed(stage, options, gateway, CONNECTIONS))
  return [...points, { ...saturated, at: saturated.requestsPerS }]
}

async function overConnections(
  stage: BenchStage,
  options: BenchOptions,
  gateway: StartedGateway,
): Promise<Point[]> {
  const points: Point[] = []
  for (const count of CONNECTION_COUNTS) {
    points.push(await observe(stage, gateway, count, () => closed(stage, options, gateway, count)))
  }
  return points
}

/** Leaves the table as it found it. */
async function overRows(stage: BenchStage, options: BenchOptions): Promise<Point[]> {
  const points: Point[] = []
  for (const rows of ROW_COUNTS) {
    await stage.database.fill(rows)
    const count = Math.min(SESSIONS, rows / 2)
    const tokens = await keep(stage.folder, `rows-${rows}`, await activeTokens(count, rows))
    const point = await withGateway(withTokens(stage, tokens), options, (gateway) =>
      observe(stage, gateway, rows, () => closed(withTokens(stage, tokens), options, gateway, CONNECTIONS)),
    )
    points.push(point)
  }
  await stage.database.fill(ROWS)
  return points
}

function withTokens(stage: BenchStage, active: Tokens): BenchStage {
  return { ...stage, tokens: { ...stage.tokens, active } }
}

function closed(
  stage: BenchStage,
  options: BenchOptions,
  { port }: StartedGateway,
  ...[connections]: [connections: number]
): Promise<Traffic> {
  // Thousands of connections take seconds to be made.
  const seconds = Math.max(options.seconds, connections / 500)
  return stage.generate({ port, connections, seconds, tokensFile: stage.tokens.active.file, seed: 1 })
}

async function observe(
  stage: BenchStage,
  gateway: StartedGateway,
  at: number,
  ...[traffic]: [traffic: () => Promise<Traffic>]
): Promise<Point> {
  const look = async () => ({
    ...(await lookupCounts(gateway.adminPort)),
    own: usageOf(gateway.pids).cpuUs,
    postgres: usageOf([stage.database.pid]).cpuUs,
  })
  const before = await look()
  const { requests, requestsPerS, failed, p50Ms, p99Ms } = await traffic()
  if (requests === 0) throw new Error(`not one request was answered at ${at}`)
  const after = await look()
  const queries = after.queries - before.queries
  const point: Point = {
    at,
    requestsPerS,
    failed,
    lookupsPerQuery: queries === 0 ? 0 : (after.lookups - before.lookups) / queries,
    queriesPerS: (queries / requests) * requestsPerS,
    cpuUs: (after.own - before.own) / requests,
    postgresUs: (after.postgres - before.postgres) / requests,
    p50Ms,
    p99Ms,
  }
  process.stderr.write(`growth  ${at.toFixed(0)}: ${requestsPerS.toFixed(0)} requests/s\n`)
  return point
}

function pointTable(what: string, points: readonly Point[]): string {
  return table(
    [
      what,
      'requests/s',
      'failed',
      'look-ups per query',
      'queries/s',
      'CPU µs',
      'PostgreSQL µs',
      'p50 ms',
      'p99 ms',
    ],
    points.map((each) => [
      each.at.toFixed(0),
      each.requestsPerS.toFixed(0),
      String(each.failed),
      each.lookupsPerQuery.toFixed(1),
      each.queriesPerS.toFixed(0),
      each.cpuUs.toFixed(1),
      each.postgresUs.toFixed(1),
      each.p50Ms.toFixed(2),
      each.p99Ms.toFixed(2),
    ]),
  )
}

function plotsOf(
  rates: readonly Point[],
  rows: readonly Point[],
  connections: readonly Point[],
): Record<string, Plot> {
  const pick = (points: readonly Point[], key: keyof Point) =>
    points.map((each) => [each.at, each[key]] as const)
  const x = { label: 'requests/s', log: true }
  const cost = (points: readonly Point[]) => [
    { name: 'gateway', points: pick(points, 'cpuUs') },
    { name: 'PostgreSQL', points: pick(points, 'postgresUs') },
  ]
  const costLabel = { label: 'CPU µs per request' }
  return {
    'growth-batch': {
      title: 'Look-ups per query against load',
      x,
      y: { label: 'look-ups per query' },
      series: [{ name: 'look-ups per query', points: pick(rates, 'lookupsPerQuery') }],
    },
    'growth-queries': {
      title: 'Queries per second against load',
      x,
      y: { label: 'queries/s' },
      series: [{ name: 'queries/s', points: pick(rates, 'queriesPerS') }],
    },
    'growth-cost': { title: 'CPU per request against load', x, y: costLabel, series: cost(rates) },
    'growth-latency': {
      title: 'Latency against offered load (open loop)',
      x,
      y: { label: 'ms', log: true },
      // The last point is the closed loop's.
      series: [
        { name: 'p50', points: pick(rates.slice(0, -1), 'p50Ms') },
        { name: 'p99', points: pick(rates.slice(0, -1), 'p99Ms') },
      ],
    },
    'growth-rows': {
      title: 'CPU per request against the size of the table',
      x: { label: 'rows', log: true },
      y: costLabel,
      series: cost(rows),
    },
    'growth-connections': {
      title: 'CPU per request against connections',
      x: { label: 'connections', log: true },
      y: costLabel,
      series: cost(connections),
    },
  }
}
