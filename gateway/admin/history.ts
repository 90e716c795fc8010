import { quantile } from '../telemetry/metrics/quantile.ts'
import {
  addCounts,
  addRecords,
  type Counts,
  countOf,
  mapNames,
  type NamedCounts,
  type RouteCounts,
  sumNamed,
  sumTotals,
  type Totals,
} from '../telemetry/metrics/totals.ts'
import { DURATION_BUCKETS } from '../telemetry/metrics/traffic-metrics.ts'
import { createRouteHistory, type RouteNumbers } from './route-history.ts'

/** What the plots of the status page show for one interval. Null means no value: no request, or no answer of a process. */
export interface Sample {
  /** The interval's end, milliseconds since the epoch. */
  readonly at: number
  readonly requestsPerSecond: number | null
  /** Share of answers of 5xx, 0 to 1. */
  readonly errorShare: number | null
  /** Milliseconds, estimated from the histogram's buckets; the last bound (60,000) stands for all that is longer. */
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  readonly lookupsPerQuery: number | null
  /** At the interval's end. */
  readonly inFlight: number | null
  /** How many of each decision were made. */
  readonly decisions: Counts
}

/** What the problems are found in. */
export interface Recent {
  /** Of the last minute. */
  readonly counts: NamedCounts
  /** Connections that were turned away in the last minute. */
  readonly turnedAway: number
  /** Null where a token was good, or could not be decided on, in the last two seconds, or none was refused lately. */
  readonly allRefused: AllRefused | null
}

/** Tokens have been refused, and none was good. */
export interface AllRefused {
  /** When that began, milliseconds since the epoch; ten minutes ago at most. */
  readonly since: number
  readonly forMs: number
  /** What was decided since then. */
  readonly decisions: Counts
}

/** A part of the history, as `status.json` has it. */
export interface HistoryPart {
  /** Seconds that one sample stands for. */
  readonly intervalS: number
  /** Asks for what comes after this part: `status.json?since=`. */
  readonly cursor: string
  /** True where this is all that is kept, false where it goes on from what the cursor stood for. */
  readonly whole: boolean
  readonly samples: readonly Sample[]
}

export interface History {
  /** Adds a sample of the counters of all processes that answered. */
  addSample(each: readonly Totals[]): void
  /** What came after the cursor; everything where it is none of this history's. */
  since(cursor: string | null): HistoryPart
  recent(): Recent
  /** What was counted on each route in the last ten minutes, by label. */
  routes(): ReadonlyMap<string, RouteNumbers>
}

export interface HistoryParts {
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number
  /** Tells this history from that of the process before. */
  readonly id: string
}

/** Ten minutes, a sample every two seconds. */
export const SAMPLE_MS = 2000
export const SAMPLES_MAX = 300

interface KeptSample extends Omit<Sample, 'at' | 'decisions'> {
  readonly takenAt: number
  readonly counts: NamedCounts
  readonly turnedAway: number
}

interface Before {
  readonly totals: Totals
  readonly takenAt: number
}

/**
 * The last ten minutes, in memory of a fixed size. Counters become rates for each process: a replaced one begins at 0,
 * and the counts of one that did not answer for some time are spread over that time.
 */
export function createHistory({ now, wallClock, id }: HistoryParts): History {
  const kept: KeptSample[] = []
  const before = new Map<number, Before>()
  let count = 0
  let lastAt = now()
  const routes = createRouteHistory(now)

  function forgetEndedProcesses(takenAt: number): void {
    for (const [pid, each] of before) {
      if (takenAt - each.takenAt > SAMPLES_MAX * SAMPLE_MS) before.delete(pid)
    }
  }

  function dated(samples: readonly KeptSample[]): Sample[] {
    // The wall clock may be set while the samples lie here: their age is what is known for sure.
    const offset = wallClock() - now()
    return samples.map(({ takenAt, counts, turnedAway: _, ...sample }) => ({
      at: Math.round(takenAt + offset),
      ...sample,
      decisions: counts.decisions,
    }))
  }

  function allRefused(): AllRefused | null {
    const last = kept.findLastIndex(({ counts }) => Object.keys(counts.decisions).some(isNoRefusal))
    const lately = kept.slice(last + 1)
    const first = lately.findIndex(({ counts }) => Object.keys(counts.decisions).some(isTokenRefusal))
    if (first === -1) return null
    const { takenAt } = lately[first]!
    return {
      since: Math.round(takenAt + wallClock() - now()),
      forMs: now() - takenAt,
      decisions: addRecords(lately.slice(first).map(({ counts }) => counts.decisions)),
    }
  }

  return {
    recent() {
      const samples = kept.filter(({ takenAt }) => now() - takenAt < 60_000)
      return {
        counts: sumNamed(samples.map(({ counts }) => counts)),
        turnedAway: samples.reduce((sum, { turnedAway }) => sum + turnedAway, 0),
        allRefused: allRefused(),
      }
    },
    routes: routes.numbers,
    addSample(each) {
      const takenAt = now()
      const growths = each.map((totals) => countsSince(totals, before.get(totals.pid), { takenAt, lastAt }))
      kept.push({ takenAt, ...toSample(growths) })
      for (const growth of growths)
        for (const [route, counts] of Object.entries(growth.routes)) routes.add(route, counts)
      if (kept.length > SAMPLES_MAX) kept.shift()
      count++
      lastAt = takenAt
      for (const totals of each) before.set(totals.pid, { totals, takenAt })
      forgetEndedProcesses(takenAt)
    },
    since(cursor) {
      const [of, text = ''] = cursor?.split('.') ?? []
      const from = of === id && /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
      const first = count - kept.length
      const whole = !(from >= first && from <= count)
      return {
        intervalS: SAMPLE_MS / 1000,
        cursor: `${id}.${count}`,
        whole,
        samples: dated(whole ? kept : kept.slice(from - first)),
      }
    },
  }
}

interface Growth extends Omit<Totals, 'pid'> {
  readonly seconds: number
}

/** What a process counted since its last answer. */
function countsSince(
  totals: Totals,
  before: Before | undefined,
  { takenAt, lastAt }: { takenAt: number; lastAt: number },
): Growth {
  // Another process with the same number: its counters are behind.
  const known = before !== undefined && before.totals.requests <= totals.requests ? before : undefined
  const from = known?.totals
  return {
    seconds: (takenAt - (known?.takenAt ?? lastAt)) / 1000,
    requests: totals.requests - (from?.requests ?? 0),
    errors: totals.errors - (from?.errors ?? 0),
    durations: totals.durations.map((value, i) => value - (from?.durations[i] ?? 0)),
    lookups: totals.lookups - (from?.lookups ?? 0),
    queries: totals.queries - (from?.queries ?? 0),
    turnedAway: totals.turnedAway - (from?.turnedAway ?? 0),
    counts: mapNames((name) => growthOf(totals.counts[name], from?.counts[name])),
    routes: Object.fromEntries(
      Object.entries(totals.routes).map(([route, counts]) => [
        route,
        growthOfRoute(counts, from?.routes[route]),
      ]),
    ),
    inFlight: totals.inFlight,
  }
}

/** What has grown alone. */
function growthOf(now: Counts, before: Counts = {}): Counts {
  const growth: Record<string, number> = {}
  for (const [name, value] of Object.entries(now)) {
    const grown = value - countOf(before, name)
    if (grown > 0) growth[name] = grown
  }
  return growth
}

function growthOfRoute(now: RouteCounts, before: RouteCounts | undefined): RouteCounts {
  return {
    requests: now.requests - (before?.requests ?? 0),
    errors: now.errors - (before?.errors ?? 0),
    durations: now.durations.map((value, i) => value - (before?.durations[i] ?? 0)),
  }
}

function toSample(growths: readonly Growth[]): Omit<KeptSample, 'takenAt'> {
  const { requests, errors, lookups, queries, turnedAway, counts, inFlight } = sumTotals(growths)
  const hasReports = growths.length > 0
  const durations = addCounts(growths.map((each) => each.durations))
  const ms = (q: number) => rounded(quantile(q, DURATION_BUCKETS, durations), 1000)
  return {
    requestsPerSecond: hasReports
      ? rounded(growths.reduce((total, each) => total + each.requests / each.seconds, 0))
      : null,
    errorShare: requests > 0 ? rounded(errors / requests) : null,
    p50Ms: ms(0.5),
    p99Ms: ms(0.99),
    lookupsPerQuery: queries > 0 ? rounded(lookups / queries) : null,
    inFlight: hasReports ? inFlight : null,
    turnedAway,
    counts,
  }
}

/** Four digits are more than a plot shows. */
function rounded(value: number | null, factor = 1): number | null {
  return value === null || !Number.isFinite(value) ? null : Number((value * factor).toPrecision(4))
}

/** True of decisions on tokens that were good, or that nobody could decide on. */
function isNoRefusal(decision: string): boolean {
  return decision === 'authenticated' || decision === 'token_store_unavailable' || decision === 'overloaded'
}

/** True of the codes by which a token itself is refused. */
export function isTokenRefusal(decision: string): boolean {
  return /^token_/.test(decision) && decision !== 'token_store_unavailable'
}
