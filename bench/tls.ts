import { atMost, type Bound, judge } from './bounds.ts'
import type { StartedContender } from './contenders/contender.ts'
import type { BenchOptions } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { formatSpread, spreadOf } from './statistics.ts'
import { checkDecisions, makeCertificate, type SecureContender, TLS_CONTENDERS } from './tls-contenders.ts'
import { hasH2load, runH2load, runHandshakes } from './tls-load.ts'
import { usageOf } from './usage.ts'

const KINDS = ['HTTP/1.1', 'HTTP/2', 'full handshake', 'resumed handshake'] as const
type Kind = (typeof KINDS)[number]

interface Figures {
  /** Requests, or handshakes. */
  readonly perS: number
  /** CPU time of all the contender's processes, for each request or handshake. */
  readonly cpuUs: number
}

const HANDSHAKE_SECONDS_MAX = 2

/** Times nginx's CPU time, which asks nobody; for the gateway that looks every token up. */
const BOUNDS: Readonly<Partial<Record<Kind, Bound>>> = { 'HTTP/1.1': atMost(2), 'HTTP/2': atMost(3) }

/** What one contender did in all rounds. */
interface Row {
  readonly contender: SecureContender
  readonly kinds: Readonly<Record<Kind, Figures[]>>
}

/** Measures both protocols over TLS with the same load generator, and handshakes with and without resumption. */
export async function measureTls(stage: BenchStage, options: BenchOptions): Promise<void> {
  if (!(await hasH2load())) {
    process.stdout.write('TLS needs h2load (nghttp2-client).\n')
    return
  }
  const rows = await measureRounds(stage, options)
  const text = tlsTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['tls', text]]))
  await writeResults({
    tls: Object.fromEntries(rows.map(({ contender, kinds }) => [contender.title, kinds])),
  })
}

/** Measures all contenders in each round, on processes that are warmed up once and run through all rounds. */
async function measureRounds(stage: BenchStage, options: BenchOptions): Promise<Row[]> {
  const certificate = makeCertificate(stage.folder)
  const all: (Row & { readonly started: StartedContender })[] = []
  try {
    for (const contender of TLS_CONTENDERS) {
      if (contender.needsNginx && stage.machine.nginx === null) continue
      const started = await contender.start(stage, certificate)
      const kinds = { 'HTTP/1.1': [], 'HTTP/2': [], 'full handshake': [], 'resumed handshake': [] }
      all.push({ contender, started, kinds })
      await checkDecisions(stage, contender, started)
      for (const kind of KINDS) await runKind(stage, started, kind, options.warmupSeconds)
    }
    for (let round = 1; round <= options.rounds; round++) {
      for (const { contender, started, kinds } of all) {
        for (const kind of KINDS) {
          const figures = await measureKind(stage, started, kind, options)
          kinds[kind].push(figures)
          process.stderr.write(
            `round ${round}/${options.rounds}  ${contender.title}: ${kind} ${figures.perS.toFixed(0)}/s, ${figures.cpuUs.toFixed(1)} µs\n`,
          )
        }
      }
    }
    return all
  } finally {
    for (const { started } of all) await started.stop()
  }
}

async function measureKind(
  stage: BenchStage,
  started: StartedContender,
  kind: Kind,
  options: BenchOptions,
): Promise<Figures> {
  const before = usageOf(started.pids)
  const { done, seconds } = await runKind(stage, started, kind, options.seconds)
  return { perS: done / seconds, cpuUs: (usageOf(started.pids).cpuUs - before.cpuUs) / done }
}

interface Done {
  /** Requests or handshakes. */
  readonly done: number
  readonly seconds: number
}

async function runKind(
  stage: BenchStage,
  { port }: StartedContender,
  kind: Kind,
  secondsAsked: number,
): Promise<Done> {
  if (kind === 'HTTP/1.1' || kind === 'HTTP/2') {
    const load = { seconds: secondsAsked, protocol: kind, token: stage.tokens.active.list[0]! }
    return { done: await runH2load(port, load), seconds: secondsAsked }
  }
  const seconds = Math.min(HANDSHAKE_SECONDS_MAX, secondsAsked)
  return { done: await runHandshakes(port, seconds, kind === 'resumed handshake'), seconds }
}

function tlsTable(rows: readonly Row[]): string {
  const nginx = rows.find(({ contender }) => contender.needsNginx)
  return markdownTable(
    ['contender', 'what', 'per second', 'CPU µs', 'CPU : nginx', 'target', ''],
    KINDS.flatMap((kind) =>
      rows.map(({ contender, kinds }) => {
        const cpu = spreadOf(kinds[kind].map(({ cpuUs }) => cpuUs))
        const cells = [
          contender.title,
          kind,
          formatSpread(spreadOf(kinds[kind].map(({ perS }) => perS)), 0),
          formatSpread(cpu, 1),
        ]
        if (nginx === undefined) return [...cells, '', '', '']
        const ratio = cpu.median / spreadOf(nginx.kinds[kind].map(({ cpuUs }) => cpuUs)).median
        const { target, verdict } = judge(ratio, contender.authenticates ? (BOUNDS[kind] ?? null) : null)
        return [...cells, ratio.toFixed(2), target, verdict]
      }),
    ),
  )
}
