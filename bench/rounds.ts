import type { Contender, StartedContender } from './contenders/contender.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import type { BenchStage } from './stage.ts'
import { usageOf } from './usage.ts'

/** One contender's figures of one round. */
export interface Measured {
  readonly requestsPerS: number
  /** CPU time of all its processes, per request. */
  readonly cpuUs: number
  /** CPU time of the postmaster and its children, per request. */
  readonly postgresUs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly rssMiB: number
}

export type Rounds = ReadonlyMap<Contender, readonly Measured[]>

/** Measures every contender in every round, so that a disturbance of the machine affects all of them. */
export async function runRounds(
  stage: BenchStage,
  contenders: readonly Contender[],
  options: BenchOptions,
): Promise<Rounds> {
  const rounds = new Map(contenders.map((each) => [each, [] as Measured[]]))
  for (let round = 1; round <= options.rounds; round++) {
    for (const [contender, measured] of rounds) {
      const figures = await measureContender(stage, contender, { ...options, round })
      measured.push(figures)
      process.stderr.write(
        `round ${round}/${options.rounds}  ${contender.name.padEnd(22)} ${figures.requestsPerS.toFixed(0)} requests/s, ${figures.cpuUs.toFixed(1)} µs\n`,
      )
    }
  }
  return rounds
}

async function measureContender(
  stage: BenchStage,
  contender: Contender,
  { round, seconds, warmupSeconds }: BenchOptions & { readonly round: number },
): Promise<Measured> {
  const started = await contender.start(stage)
  try {
    await checkDecisions(stage, contender, started)
    const load = {
      port: started.port,
      connections: CONNECTIONS,
      tokensFile: stage.tokens.active.file,
      seed: round,
    }
    await stage.generateLoad({ ...load, seconds: warmupSeconds })
    return await measureLoad(stage, started, { ...load, seconds })
  } finally {
    await started.stop()
  }
}

export async function measureLoad(
  stage: BenchStage,
  { pids }: Pick<StartedContender, 'pids'>,
  load: Parameters<BenchStage['generateLoad']>[0],
): Promise<Measured> {
  const before = { own: usageOf(pids), postgres: usageOf([stage.database.pid]) }
  const { requests, failed, ...figures } = await stage.generateLoad(load)
  const after = { own: usageOf(pids), postgres: usageOf([stage.database.pid]) }
  if (failed > 0) throw new Error(`${failed} of ${requests} requests failed`)
  return {
    ...figures,
    cpuUs: (after.own.cpuUs - before.own.cpuUs) / requests,
    postgresUs: (after.postgres.cpuUs - before.postgres.cpuUs) / requests,
    rssMiB: after.own.rssBytes / 2 ** 20,
  }
}

/** A contender that admits or refuses every request would be fast for the wrong reason. @throws Error for those */
async function checkDecisions(
  stage: BenchStage,
  { name, authenticates }: Contender,
  { port }: StartedContender,
): Promise<void> {
  const { active, revoked, forged } = stage.tokens
  const tokens = { active: active.list[0]!, revoked: revoked.list[0]!, forged: forged.list[0]! }
  for (const [kind, token] of Object.entries(tokens)) {
    const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { cookie: `auth_token=${token}` } })
    await answer.arrayBuffer()
    const expected = kind === 'active' || !authenticates ? 200 : 401
    if (answer.status !== expected) {
      throw new Error(`${name} answered ${answer.status} to the ${kind} token; expected ${expected}`)
    }
  }
}
