import type { Contender, Started } from './contenders/contender.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import type { BenchStage } from './stage.ts'
import { usageOf } from './usage.ts'

/** One contender's figures of one round. */
export interface Measured {
  readonly requestsPerS: number
  /** Of all its processes, per request. */
  readonly cpuUs: number
  /** Of the postmaster and its children, per request. */
  readonly postgresUs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly rssMiB: number
}

export type Rounds = ReadonlyMap<Contender, readonly Measured[]>

/** Every contender has its turn in every round, so that what disturbs the machine disturbs them alike. */
export async function runRounds(
  stage: BenchStage,
  contenders: readonly Contender[],
  options: BenchOptions,
): Promise<Rounds> {
  const rounds = new Map(contenders.map((each) => [each, [] as Measured[]]))
  for (let round = 1; round <= options.rounds; round++) {
    for (const [contender, measured] of rounds) {
      const figures = await runOne(stage, contender, { ...options, round })
      measured.push(figures)
      process.stderr.write(
        `round ${round}/${options.rounds}  ${contender.name.padEnd(22)} ${figures.requestsPerS.toFixed(0)} requests/s, ${figures.cpuUs.toFixed(1)} µs\n`,
      )
    }
  }
  return rounds
}

async function runOne(
  stage: BenchStage,
  contender: Contender,
  { round, seconds, warmupSeconds }: BenchOptions & { readonly round: number },
): Promise<Measured> {
  const started = await contender.start(stage)
  try {
    await verify(stage, contender, started)
    const load = {
      port: started.port,
      connections: CONNECTIONS,
      tokensFile: stage.tokens.active.file,
      seed: round,
    }
    await stage.generate({ ...load, seconds: warmupSeconds })
    return await measure(stage, started, { ...load, seconds })
  } finally {
    await started.stop()
  }
}

export async function measure(
  stage: BenchStage,
  { pids }: Pick<Started, 'pids'>,
  load: Parameters<BenchStage['generate']>[0],
): Promise<Measured> {
  const before = { own: usageOf(pids), postgres: usageOf([stage.database.pid]) }
  const { requests, failed, ...figures } = await stage.generate(load)
  const after = { own: usageOf(pids), postgres: usageOf([stage.database.pid]) }
  if (failed > 0) throw new Error(`${failed} of ${requests} requests failed`)
  return {
    ...figures,
    cpuUs: (after.own.cpuUs - before.own.cpuUs) / requests,
    postgresUs: (after.postgres.cpuUs - before.postgres.cpuUs) / requests,
    rssMiB: after.own.rssBytes / 2 ** 20,
  }
}

/** A contender that admits everybody, or nobody, is fast for the wrong reason. */
async function verify(
  stage: BenchStage,
  { name, authenticates }: Contender,
  { port }: Started,
): Promise<void> {
  const { active, revoked, forged } = stage.tokens
  const asked = { active: active.list[0]!, revoked: revoked.list[0]!, forged: forged.list[0]! }
  for (const [kind, token] of Object.entries(asked)) {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: `auth_token=${token}` } })
    await answer.arrayBuffer()
    const expected = kind === 'active' || !authenticates ? 200 : 401
    if (answer.status !== expected) {
      throw new Error(`${name} answered ${answer.status} to the ${kind} token; expected ${expected}`)
    }
  }
}
