import { parseArgs } from 'node:util'

export interface BenchOptions {
  /** One short round of each contender, nothing else: shows that the suite works, not what is fast. */
  readonly quick: boolean
  /** False where a run is too short or too partial for its figures to be written down. */
  readonly keep: boolean
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

/** @throws Error where an option is unknown or not usable */
export function readOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      parts: { type: 'string' },
    },
  })
  const { quick } = values
  const asked = values.parts?.split(',') ?? (quick || values.only !== undefined ? PARTS.slice(0, 2) : PARTS)
  return {
    quick,
    keep: !quick && values.only === undefined,
    only: values.only?.split(',') ?? null,
    rounds: positive('rounds', values.rounds, quick ? 1 : 5),
    seconds: positive('seconds', values.seconds, quick ? 2 : 5),
    // V8 goes on compiling what is hot for some eight seconds.
    warmupSeconds: quick ? 1 : 8,
    parts: PARTS.filter((part) => asked.includes(part)),
  }
}

function positive(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: ${text}; expected a whole number`)
  return value
}
