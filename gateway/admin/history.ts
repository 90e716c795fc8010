import { quantile } from '../telemetry/metrics/quantile.ts'
import { addCounts, addRecords, type Totals } from '../telemetry/metrics/totals.ts'
import { DURATION_BUCKETS } from '../telemetry/metrics/traffic-metrics.ts'

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
  readonly decisions: Readonly<Record<string, number>>
  /** Requests that were answered, by upstream. */
  readonly answers: Readonly<Record<string, number>>
  /** Requests that got no answer, by upstream. */
  readonly failures: Readonly<Record<string, number>>
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
  /** The samples of the last minute. */
  lastMinute(): Sample[]
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

type KeptSample = Omit<Sample, 'at'> & { readonly takenAt: number }

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

  function forgetEndedProcesses(takenAt: number): void {
    for (const [pid, each] of before) {
      if (takenAt - each.takenAt > SAMPLES_MAX * SAMPLE_MS) before.delete(pid)
    }
  }

  function dated(samples: readonly KeptSample[]): Sample[] {
    // The wall clock may be set while the samples lie here: their age is what is known for sure.
    const offset = wallClock() - now()
    return samples.map(({ takenAt, ...sample }) => ({ at: Math.round(takenAt + offset), ...sample }))
  }

  return {
    lastMinute: () => dated(kept.filter(({ takenAt }) => now() - takenAt < 60_000)),
    addSample(each) {
      const takenAt = now()
      const growths = each.map((totals) => countsSince(totals, before.get(totals.pid), { takenAt, lastAt }))
      kept.push({ takenAt, ...toSample(growths) })
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
    decisions: growthOf(totals.decisions, from?.decisions),
    answers: growthOf(totals.answers, from?.answers),
    failures: growthOf(totals.failures, from?.failures),
    inFlight: totals.inFlight,
  }
}

/** What has grown alone. */
function growthOf(now: Totals['decisions'], before: Totals['decisions'] = {}): Record<string, number> {
  const growth: Record<string, number> = {}
  for (const [name, value] of Object.entries(now)) {
    const grown = value - (before[name] ?? 0)
    if (grown > 0) growth[name] = grown
  }
  return growth
}

function toSample(growths: readonly Growth[]): Omit<Sample, 'at'> {
  const sum = (name: 'requests' | 'errors' | 'lookups' | 'queries' | 'inFlight') =>
    growths.reduce((total, each) => total + each[name], 0)
  const hasReports = growths.length > 0
  const [requests, queries] = [sum('requests'), sum('queries')]
  const durations = addCounts(growths.map((each) => each.durations))
  const ms = (q: number) => rounded(quantile(q, DURATION_BUCKETS, durations), 1000)
  return {
    requestsPerSecond: hasReports
      ? rounded(growths.reduce((total, each) => total + each.requests / each.seconds, 0))
      : null,
    errorShare: requests > 0 ? rounded(sum('errors') / requests) : null,
    p50Ms: ms(0.5),
    p99Ms: ms(0.99),
    lookupsPerQuery: queries > 0 ? rounded(sum('lookups') / queries) : null,
    inFlight: hasReports ? sum('inFlight') : null,
    decisions: addRecords(growths.map(({ decisions }) => decisions)),
    answers: addRecords(growths.map(({ answers }) => answers)),
    failures: addRecords(growths.map(({ failures }) => failures)),
  }
}

/** Four digits are more than a plot shows. */
function rounded(value: number | null, factor = 1): number | null {
  return value === null || !Number.isFinite(value) ? null : Number((value * factor).toPrecision(4))
}
