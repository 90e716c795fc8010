import { atMost, type Bound, judge } from './bounds.ts'
import type { Contender } from './contenders/contender.ts'
import { gateway, gatewayWithoutAuth } from './contenders/gateway.ts'
import { floor } from './contenders/node-proxies.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import { type Measured, measureLoad } from './rounds.ts'
import type { BenchStage } from './stage.ts'
import { formatSpread, type Spread, spreadOf } from './statistics.ts'

const MANY = 1000

/** What a request among many may cost, compared with one among few; the others are there for comparison. */
const CONTENDERS: readonly { readonly contender: Contender; readonly bound: Bound | null }[] = [
  { contender: gateway, bound: atMost(1.3) },
  { contender: gatewayWithoutAuth, bound: null },
  { contender: floor, bound: null },
]

interface Row {
  readonly title: string
  readonly bound: Bound | null
  readonly few: readonly Measured[]
  readonly many: readonly Measured[]
}

/** Measures what a request costs while many others are under way. */
export async function measureManyConnections(stage: BenchStage, options: BenchOptions): Promise<void> {
  const rows: Row[] = []
  for (const { contender, bound } of CONTENDERS) {
    if (options.only?.includes(contender.name) === false) continue
    rows.push({ title: contender.title, bound, ...(await measureContender(stage, options, contender)) })
  }
  const text = connectionsTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['connections', text]]))
  await writeResults({ connections: rows })
}

/** Both loads have their turns in every round, on one process that runs through all rounds. */
async function measureContender(
  stage: BenchStage,
  options: BenchOptions,
  contender: Contender,
): Promise<Pick<Row, 'few' | 'many'>> {
  const started = await contender.start(stage)
  try {
    const load = { port: started.port, tokensFile: stage.tokens.active.file }
    const measure = (connections: number, seed: number) =>
      measureLoad(stage, started, { ...load, connections, seed, seconds: options.seconds })
    for (const connections of [CONNECTIONS, MANY])
      await stage.generateLoad({ ...load, connections, seed: 1, seconds: options.warmupSeconds })
    const [few, many]: [Measured[], Measured[]] = [[], []]
    for (let round = 1; round <= options.rounds; round++) {
      few.push(await measure(CONNECTIONS, round))
      many.push(await measure(MANY, round))
      process.stderr.write(
        `round ${round}/${options.rounds}  ${contender.name}: ${few.at(-1)!.cpuUs.toFixed(1)} µs at ${CONNECTIONS}, ${many.at(-1)!.cpuUs.toFixed(1)} µs at ${MANY}\n`,
      )
    }
    return { few, many }
  } finally {
    await started.stop()
  }
}

function connectionsTable(rows: readonly Row[]): string {
  return markdownTable(
    [
      'contender',
      `CPU µs at ${CONNECTIONS}`,
      `CPU µs at ${MANY}`,
      `MiB at ${MANY}`,
      `${MANY} : ${CONNECTIONS}`,
      'target',
      '',
    ],
    rows.map(({ title, bound, few, many }) => {
      const [atFew, atMany] = [cpuOf(few), cpuOf(many)]
      const ratio = atMany.median / atFew.median
      const { target, verdict } = judge(ratio, bound)
      const mib = spreadOf(many.map(({ rssMiB }) => rssMiB)).median.toFixed(0)
      return [title, formatSpread(atFew, 1), formatSpread(atMany, 1), mib, ratio.toFixed(2), target, verdict]
    }),
  )
}

function cpuOf(rounds: readonly Measured[]): Spread {
  return spreadOf(rounds.map(({ cpuUs }) => cpuUs))
}
