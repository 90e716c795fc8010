import { ALL, chooseContenders } from './contenders/all.ts'
import { GO_PACKAGES } from './go.ts'
import { machineLine } from './machine.ts'
import { type BenchOptions, CONNECTIONS } from './options.ts'
import { comparisonTable, ratioTable, writeReadme, writeResults } from './report.ts'
import { runRounds } from './rounds.ts'
import type { BenchStage } from './stage.ts'
import { ratiosOf } from './targets.ts'

/** Measures all contenders with the same load. */
export async function compareContenders(stage: BenchStage, options: BenchOptions): Promise<void> {
  const contenders = chooseContenders(options.only, stage.machine)
  if (stage.machine.go === null && asksForGo(options.only)) {
    process.stdout.write(`The contenders in Go are left out, since they need Debian's ${GO_PACKAGES}.\n`)
  }
  const rounds = await runRounds(stage, contenders, options)
  const ratios = ratiosOf(rounds)
  const text = `${comparisonTable(rounds)}\n\n${ratioTable(ratios)}\n`
  process.stdout.write(`\n${text}\n`)
  if (!options.recordsResults) return
  const how = `Medians (least..most) of ${options.rounds} rounds of ${options.seconds} s, ${CONNECTIONS} connections. ${machineLine(stage.machine)}; backend: ${stage.backend.name}.`
  await writeReadme(new Map([['compare', `${how}\n\n${text}`]]))
  await writeResults({
    machine: stage.machine,
    compare: {
      rounds: Object.fromEntries([...rounds].map(([contender, measured]) => [contender.name, measured])),
      ratios,
    },
  })
}

function asksForGo(only: BenchOptions['only']): boolean {
  return ALL.some(({ name, needs }) => needs === 'go' && (only?.includes(name) ?? true))
}
