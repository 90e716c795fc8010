import type { Measured, Rounds } from './rounds.ts'
import { spreadOf } from './statistics.ts'

export interface Ratio {
  readonly against: string
  readonly of: 'requests/s' | 'CPU per request'
  readonly value: number
  /** The same for the floor in place of the gateway; null where the floor did not run, or is what is compared with. */
  readonly floorValue: number | null
  /** Null where there is no target and the row is for comparison only. */
  readonly target: string | null
  readonly met: boolean | null
}

interface Target {
  readonly against: string
  readonly of: Ratio['of']
  /** At least this for requests/s, at most this for CPU; null where there is no target. */
  readonly bound: number | null
}

const TARGETS: readonly Target[] = [
  { against: 'http-proxy-3-auth', of: 'requests/s', bound: 5 },
  { against: 'http-proxy-3-auth-tuned', of: 'requests/s', bound: null },
  { against: 'fastify-auth', of: 'requests/s', bound: 4.5 },
  { against: 'fastify-auth-tuned', of: 'requests/s', bound: null },
  { against: 'http-proxy-3', of: 'requests/s', bound: 2 },
  { against: 'http-proxy-3-tuned', of: 'requests/s', bound: null },
  { against: 'auth-service', of: 'requests/s', bound: 3 },
  { against: 'auth-service-not-kept', of: 'requests/s', bound: null },
  { against: 'auth-service-batched', of: 'CPU per request', bound: 0.8 },
  { against: 'auth-service-batched-tuned', of: 'CPU per request', bound: null },
  { against: 'gateway-none', of: 'CPU per request', bound: 1.25 },
  { against: 'floor', of: 'CPU per request', bound: 1.8 },
]

/** The gateway's median divided by each other contender's, where both ran. */
export function ratiosOf(rounds: Rounds): Ratio[] {
  const byName = new Map(
    [...rounds].map(([contender, measured]) => [contender.name, { contender, measured }]),
  )
  const own = byName.get('gateway')
  const floor = byName.get('floor')
  return TARGETS.flatMap(({ against, of, bound }) => {
    const other = byName.get(against)
    if (own === undefined || other === undefined) return []
    const others = medianOf(other.measured, of)
    const value = medianOf(own.measured, of) / others
    const floorValue = floor === undefined || floor === other ? null : medianOf(floor.measured, of) / others
    const moreIsBetter = of === 'requests/s'
    return {
      against: other.contender.title,
      of,
      value,
      floorValue,
      target: bound === null ? null : `${moreIsBetter ? 'at least' : 'at most'} ${bound}`,
      met: bound === null ? null : moreIsBetter ? value >= bound : value <= bound,
    }
  })
}

function medianOf(measured: readonly Measured[], of: Ratio['of']): number {
  return spreadOf(measured.map((each) => (of === 'requests/s' ? each.requestsPerS : each.cpuUs))).median
}
