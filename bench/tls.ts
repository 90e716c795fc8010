import type { StartedContender } from './contenders/contender.ts'
import type { BenchOptions } from './options.ts'
import { markdownTable, writeReadme, writeResults } from './report.ts'
import type { BenchStage } from './stage.ts'
import { type Spread, spreadOf } from './statistics.ts'
import { checkDecisions, makeCertificate, TLS_CONTENDERS } from './tls-contenders.ts'
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

/** With these limits the part takes less than three minutes. */
const ROUNDS_MAX = 3
const SECONDS_MAX = 3
const HANDSHAKE_SECONDS_MAX = 2

/** Measures both protocols over TLS with the same load generator, and handshakes with and without resumption. */
export async function measureTls(stage: BenchStage, options: BenchOptions): Promise<void> {
  if (!(await hasH2load())) {
    process.stdout.write('TLS needs h2load (nghttp2-client).\n')
    return
  }
  const certificate = makeCertificate(stage.folder)
  const contenders = TLS_CONTENDERS.filter(({ needsNginx }) => !needsNginx || stage.machine.nginx !== null)
  const rows = new Map(contenders.map(({ title }) => [title, new Map<Kind, Figures[]>()]))
  for (let round = 1; round <= Math.min(ROUNDS_MAX, options.rounds); round++) {
    for (const contender of contenders) {
      const started = await contender.start(stage, certificate)
      try {
        await checkDecisions(stage, contender, started)
        for (const kind of KINDS) {
          const figures = await measureKind(stage, started, kind, options)
          const kinds = rows.get(contender.title)!
          kinds.set(kind, [...(kinds.get(kind) ?? []), figures])
          process.stderr.write(
            `round ${round}  ${contender.title}: ${kind} ${figures.perS.toFixed(0)}/s, ${figures.cpuUs.toFixed(1)} µs\n`,
          )
        }
      } finally {
        await started.stop()
      }
    }
  }
  const text = tlsTable(rows)
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  await writeReadme(new Map([['tls', text]]))
  await writeResults({
    tls: Object.fromEntries([...rows].map(([title, kinds]) => [title, Object.fromEntries(kinds)])),
  })
}

function tlsTable(rows: ReadonlyMap<string, ReadonlyMap<Kind, readonly Figures[]>>): string {
  const nginx = rows.get('nginx alone')
  return markdownTable(
    ['contender', 'what', 'per second', 'CPU µs', 'CPU : nginx'],
    KINDS.flatMap((kind) =>
      [...rows].map(([title, kinds]) => {
        const cpu = spreadOf(kinds.get(kind)!.map(({ cpuUs }) => cpuUs))
        const other = nginx === undefined ? null : spreadOf(nginx.get(kind)!.map(({ cpuUs }) => cpuUs))
        return [
          title,
          kind,
          formatSpread(spreadOf(kinds.get(kind)!.map(({ perS }) => perS)), 0),
          formatSpread(cpu, 1),
          other === null ? '' : (cpu.median / other.median).toFixed(2),
        ]
      }),
    ),
  )
}

function formatSpread({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}..${max.toFixed(digits)})`
}

async function measureKind(
  stage: BenchStage,
  { port, pids }: StartedContender,
  kind: Kind,
  options: BenchOptions,
): Promise<Figures> {
  const isHandshake = kind.endsWith('handshake')
  const seconds = Math.min(isHandshake ? HANDSHAKE_SECONDS_MAX : SECONDS_MAX, options.seconds)
  const run = (s: number) =>
    isHandshake
      ? runHandshakes(port, s, kind === 'resumed handshake')
      : runH2load(port, {
          seconds: s,
          protocol: kind as 'HTTP/1.1' | 'HTTP/2',
          token: stage.tokens.active.list[0]!,
        })
  await run(1)
  const before = usageOf(pids)
  const done = await run(seconds)
  return { perS: done / seconds, cpuUs: (usageOf(pids).cpuUs - before.cpuUs) / done }
}
