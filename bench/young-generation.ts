import { startGateway } from './contenders/gateway.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { SEMI_SPACE } from './processes.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import { type Measured, measureLoad } from './rounds.ts'
import type { BenchStage } from './stage.ts'
import { spreadOf } from './statistics.ts'

/** Sizes of a semi-space in MiB; the others are compared with the first. */
const SIZES = [SEMI_SPACE, 32, 64, 128]
const CONNECTION_COUNTS = [CONNECTIONS, 1000]

interface Row {
  readonly connections: number
  readonly semiSpace: number
  readonly rounds: readonly Measured[]
}

/** Measures what a larger young generation saves in CPU time and costs in memory. */
export async function measureYoungGeneration(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rows: Row[] = []
  for (const connections of CONNECTION_COUNTS) rows.push(...(await measureSizes(stage, options, connections)))
  const text = markdownTable(
    ['connections', 'semi-space MiB', 'requests/s', 'CPU µs', `CPU : ${SEMI_SPACE} MiB`, 'p99 ms', 'RSS MiB'],
    rows.map(({ connections, semiSpace, rounds }) => {
      const median = (key: keyof Measured) => spreadOf(rounds.map((each) => each[key])).median
      const baseline = rows.find((row) => row.connections === connections)!
      const cpu = spreadOf(rounds.map((each) => each.cpuUs))
      return [
        String(connections),
        String(semiSpace),
        median('requestsPerS').toFixed(0),
        `${cpu.median.toFixed(1)} (${cpu.min.toFixed(1)}..${cpu.max.toFixed(1)})`,
        (cpu.median / spreadOf(baseline.rounds.map((each) => each.cpuUs)).median).toFixed(2),
        median('p99Ms').toFixed(1),
        median('rssMiB').toFixed(0),
      ]
    }),
  )
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['young', text]]))
  await writeResults({ young: rows })
}

/** Measures all sizes in each round, on processes that run through all rounds. */
async function measureSizes(stage: BenchStage, options: BenchOptions, connections: number): Promise<Row[]> {
  const { file: tokensFile } = stage.tokens.active
  const gateways = await Promise.all(SIZES.map((semiSpace) => startGateway(stage, { semiSpace })))
  try {
    for (const { port } of gateways)
      await stage.generateLoad({ port, connections, seconds: options.warmupSeconds, tokensFile, seed: 1 })
    const rounds: Measured[][] = SIZES.map(() => [])
    for (let round = 1; round <= options.rounds; round++) {
      for (const [i, gateway] of gateways.entries()) {
        const load = { port: gateway.port, connections, tokensFile, seed: round, seconds: options.seconds }
        const measured = await measureLoad(stage, gateway, load)
        rounds[i]!.push(measured)
        process.stderr.write(
          `young  ${connections} connections, ${SIZES[i]} MiB: ${measured.cpuUs.toFixed(1)} µs\n`,
        )
      }
    }
    return SIZES.map((semiSpace, i) => ({ connections, semiSpace, rounds: rounds[i]! }))
  } finally {
    await Promise.all(gateways.map((gateway) => gateway.stop()))
  }
}
