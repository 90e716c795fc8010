import { parseArgs } from 'node:util'

export interface BenchOptions {
  /** One short round of each contender, which shows that the suite works and not what is fast. */
  readonly quick: boolean
  /** False where a run is too short, or leaves out contenders, so that its figures are printed only. */
  readonly recordsResults: boolean
  /** Names of contenders; null for all. */
  readonly only: readonly string[] | null
  readonly rounds: number
  /** Length of one measured round. */
  readonly seconds: number
  readonly warmupSeconds: number
  /** Parts of the suite to run. */
  readonly parts: readonly Part[]
}

const PARTS = [
  'compare',
  'latency',
  'connections',
  'growth',
  'flood',
  'memory',
  'young',
  'streams',
  'scaling',
  'tls',
] as const
export type Part = (typeof PARTS)[number]

export const CONNECTIONS = 64

const HELP = `Measures what a request through the gateway costs, and what it costs through alternatives.

  npm run bench -- [OPTIONS]

  --quick           one short round of each contender: checks that the benchmark works; nothing is recorded
  --only NAMES      only these contenders, such as gateway,floor; nothing is recorded
  --rounds NUMBER   rounds of each contender, 5 by default
  --seconds NUMBER  length of a round, 5 by default
  --parts NAMES     only these parts: ${PARTS.join(',')}
  --help            this text

bench/README.md describes the parts.
`

/** @returns the options, or the text to print for `--help`. @throws Error where an option is unknown or not usable */
export function readOptions(args: readonly string[]): BenchOptions | string {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      parts: { type: 'string' },
    },
  })
  if (values.help) return HELP
  const { quick } = values
  const partNames =
    values.parts?.split(',') ?? (quick || values.only !== undefined ? PARTS.slice(0, 2) : PARTS)
  return {
    quick,
    recordsResults: !quick && values.only === undefined,
    only: values.only?.split(',') ?? null,
    rounds: readPositive('rounds', values.rounds, quick ? 1 : 5),
    seconds: readPositive('seconds', values.seconds, quick ? 2 : 5),
    // V8 compiles hot functions for about the first eight seconds.
    warmupSeconds: quick ? 1 : 8,
    parts: PARTS.filter((part) => partNames.includes(part)),
  }
}

function readPositive(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: ${text}; expected a whole number`)
  return value
}
