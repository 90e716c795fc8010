import { type StartedGateway, startGateway } from './contenders/gateway.ts'
import { activeTokens, ROWS, SESSIONS } from './database.ts'
import { lookupCounts } from './gateway-metrics.ts'
import { type Point, plotsOf, pointTable } from './growth-report.ts'
import { runOpenLoad } from './load.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { writePlot } from './plot.ts'
import { writeReadme, writeResults } from './report.ts'
import { type BenchStage, type Tokens, writeTokens } from './stage.ts'
import { usageOf } from './usage.ts'

const RATES = [100, 300, 1000, 2000, 4000, 6000, 8000, 10_000, 12_000]
const ROW_COUNTS = [10, 100, 1000, 10_000, 100_000, 1_000_000]
const CONNECTION_COUNTS = [1, 10, 100, 1000, 10_000]

/** With the default limits a part of ten thousand busy connections would be refused; here all have to be answered. */
const MAX_WAITING = 20_000
const LONG_WAIT_LIMITS = { LOOKUP_QUEUE_MAX: String(MAX_WAITING), LOOKUP_TIMEOUT_MS: '30000' }

type Traffic = Pick<Point, 'requestsPerS' | 'failed' | 'p50Ms' | 'p99Ms'> & { readonly requests: number }

/** Measures how the cost of a request changes with the rate, with the table's size and with the connections. */
export async function measureGrowth(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rates = await withGateway(stage, options, (gateway) => measureRates(stage, options, gateway))
  const connections = await withGateway(stage, options, (gateway) =>
    measureConnectionCounts(stage, options, gateway),
  )
  const rows = await measureTableSizes(stage, options)
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
  if (!options.recordsResults) return
  for (const [name, plot] of Object.entries(plotsOf(rates, rows, connections))) await writePlot(name, plot)
  await writeReadme(new Map([['growth', text]]))
  await writeResults({ growth: { rates, rows, connections } })
}

async function withGateway<T>(
  stage: BenchStage,
  options: BenchOptions,
  task: (gateway: StartedGateway) => Promise<T>,
): Promise<T> {
  const gateway = await startGateway(stage, { upstream: { maxPending: MAX_WAITING }, env: LONG_WAIT_LIMITS })
  try {
    await stage.generateLoad({
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

async function measureRates(
  stage: BenchStage,
  options: BenchOptions,
  gateway: StartedGateway,
): Promise<Point[]> {
  const points: Point[] = []
  for (const rate of RATES) {
    const point = await measurePoint(stage, gateway, rate, async () => {
      const { port } = gateway
      const { seconds } = options
      const tokens = stage.tokens.active.list
      const result = await runOpenLoad({ port, rate, seconds, connections: CONNECTIONS, tokens })
      return { ...result, requestsPerS: result.answeredPerS }
    })
    points.push(point)
    // Above this rate only the queue grows.
    if (point.requestsPerS < rate * 0.9) break
  }
  const saturated = await measurePoint(stage, gateway, 0, () =>
    runClosedLoop(stage, options, gateway, CONNECTIONS),
  )
  return [...points, { ...saturated, at: saturated.requestsPerS }]
}

async function measureConnectionCounts(
  stage: BenchStage,
  options: BenchOptions,
  gateway: StartedGateway,
): Promise<Point[]> {
  const points: Point[] = []
  for (const count of CONNECTION_COUNTS) {
    points.push(
      await measurePoint(stage, gateway, count, () => runClosedLoop(stage, options, gateway, count)),
    )
  }
  return points
}

/** Fills the table with different numbers of rows, and restores it. */
async function measureTableSizes(stage: BenchStage, options: BenchOptions): Promise<Point[]> {
  const points: Point[] = []
  for (const rows of ROW_COUNTS) {
    await stage.database.fillTable(rows)
    const count = Math.min(SESSIONS, rows / 2)
    const tokens = await writeTokens(stage.folder, `rows-${rows}`, await activeTokens(count, rows))
    const point = await withGateway(withTokens(stage, tokens), options, (gateway) =>
      measurePoint(stage, gateway, rows, () =>
        runClosedLoop(withTokens(stage, tokens), options, gateway, CONNECTIONS),
      ),
    )
    points.push(point)
  }
  await stage.database.fillTable(ROWS)
  return points
}

function withTokens(stage: BenchStage, active: Tokens): BenchStage {
  return { ...stage, tokens: { ...stage.tokens, active } }
}

function runClosedLoop(
  stage: BenchStage,
  options: BenchOptions,
  { port }: StartedGateway,
  connections: number,
): Promise<Traffic> {
  // Thousands of connections take seconds to open.
  const seconds = Math.max(options.seconds, connections / 500)
  return stage.generateLoad({ port, connections, seconds, tokensFile: stage.tokens.active.file, seed: 1 })
}

async function measurePoint(
  stage: BenchStage,
  gateway: StartedGateway,
  at: number,
  runTraffic: () => Promise<Traffic>,
): Promise<Point> {
  const readCounters = async () => ({
    ...(await lookupCounts(gateway.adminPort)),
    own: usageOf(gateway.pids).cpuUs,
    postgres: usageOf([stage.database.pid]).cpuUs,
  })
  const before = await readCounters()
  const { requests, requestsPerS, failed, p50Ms, p99Ms } = await runTraffic()
  if (requests === 0) throw new Error(`no request was answered at ${at}`)
  const after = await readCounters()
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
