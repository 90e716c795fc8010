import { atLeast, atMost, type Bound, type Judged, judge } from './bounds.ts'
import type { Rounds } from './rounds.ts'
import { type Spread, spreadOf } from './statistics.ts'

/** CPU time of one request, divided by that of another contender. */
export interface Ratio extends Judged {
  readonly of: string
  readonly to: string
  /** Of the medians. */
  readonly value: number
  /** Of the ratios of each single round. */
  readonly rounds: Spread
}

interface Comparison {
  readonly of: string
  /** Subtracted from `of`, and what the rest is. */
  readonly less?: { readonly name: string; readonly rest: string }
  readonly to: string
  readonly bound: Bound | null
}

/** Those that ask for no session are compared with the gateway that asks for none. */
const COMPARISONS: readonly Comparison[] = [
  { of: 'gateway', to: 'floor', bound: atMost(1.2) },
  { of: 'gateway-none', to: 'floor', bound: atMost(0.95) },
  {
    of: 'gateway',
    less: { name: 'gateway-none', rest: 'what a look-up adds' },
    to: 'floor',
    bound: atMost(0.3),
  },
  { of: 'http-proxy-3-auth', to: 'gateway', bound: atLeast(11) },
  { of: 'http-proxy-3-auth-tuned', to: 'gateway', bound: null },
  { of: 'fastify-auth', to: 'gateway', bound: atLeast(3.8) },
  { of: 'fastify-auth-tuned', to: 'gateway', bound: null },
  { of: 'auth-service', to: 'gateway', bound: atLeast(3.4) },
  { of: 'auth-service-not-kept', to: 'gateway', bound: null },
  { of: 'auth-service-batched', to: 'gateway', bound: atLeast(2.7) },
  { of: 'auth-service-batched-tuned', to: 'gateway', bound: null },
  { of: 'go-reverse-proxy-auth', to: 'gateway', bound: atLeast(3.6) },
  { of: 'go-reverse-proxy-auth-tuned', to: 'gateway', bound: null },
  { of: 'gateway-log', to: 'gateway', bound: atMost(1.1) },
  { of: 'gateway-workers', to: 'gateway', bound: null },
  { of: 'http-proxy-3', to: 'gateway-none', bound: null },
  { of: 'http-proxy-3-tuned', to: 'gateway-none', bound: null },
  { of: 'go-reverse-proxy', to: 'gateway-none', bound: null },
  { of: 'nginx', to: 'gateway-none', bound: null },
]

/** Every comparison whose contenders all ran. */
export function ratiosOf(rounds: Rounds): Ratio[] {
  const byName = new Map(
    [...rounds].map(([{ name, title }, measured]) => [
      name,
      { title, cpu: measured.map(({ cpuUs }) => cpuUs) },
    ]),
  )
  return COMPARISONS.flatMap(({ of: name, less, to: toName, bound }) => {
    const [whole, to] = [byName.get(name), byName.get(toName)]
    const part = less === undefined ? NOTHING : byName.get(less.name)
    if (whole === undefined || to === undefined || part === undefined) return []
    const value = (medianOf(whole.cpu) - medianOf(part.cpu)) / medianOf(to.cpu)
    return {
      of: less?.rest ?? whole.title,
      to: to.title,
      value,
      rounds: spreadOf(to.cpu.map((cpu, round) => (whole.cpu[round]! - (part.cpu[round] ?? 0)) / cpu)),
      ...judge(value, bound),
    }
  })
}

const NOTHING = { cpu: [] }

function medianOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : spreadOf(values).median
}
