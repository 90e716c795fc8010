import type { SetUp } from './set-ups.ts'
import type { Revocations, Seen } from './traffic.ts'

/** One line of the table. */
export interface Row {
  readonly fault: string
  readonly setUp: string
  /** The longest time without an answer of 200 to a good token, milliseconds. */
  readonly withoutMs: number
  /** From the new primary to the next such answer, milliseconds; null where there was no new primary. */
  readonly backMs: number | null
  /** How many answers of each status; 0 is none at all. */
  readonly statuses: ReadonlyMap<number, number>
  /** Requests that were admitted though they began after their revocation had returned, and how long after. */
  readonly staleMs: readonly number[]
  /** Good tokens that were refused. */
  readonly wrong: number
  readonly connections: number
}

export interface Period {
  readonly fault: string
  readonly from: number
  readonly to: number
  readonly newPrimaryAt: number | null
}

export function rowOf(
  { fault, from, to, newPrimaryAt }: Period,
  setUp: SetUp,
  history: {
    readonly seen: readonly Seen[]
    readonly revocations: Revocations
    readonly good: ReadonlySet<string>
  },
  connections: number,
): Row {
  const mine = history.seen.filter((each) => each.setUp === setUp && each.began >= from && each.began < to)
  const served = mine.filter(({ tokenId, status }) => status === 200 && history.good.has(tokenId))
  const statuses = new Map<number, number>()
  for (const { status } of mine) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  const ends = [from, ...served.map(({ ended }) => ended).sort((a, b) => a - b), to]
  const back = served.filter(({ began }) => newPrimaryAt !== null && began >= newPrimaryAt)
  return {
    fault,
    setUp: setUp.name,
    withoutMs: Math.max(...ends.slice(1).map((end, n) => end - ends[n]!)),
    backMs: newPrimaryAt === null ? null : Math.min(...back.map(({ ended }) => ended - newPrimaryAt)),
    statuses,
    staleMs: mine.flatMap(({ tokenId, status, began }) => {
      const returned = history.revocations.get(tokenId) ?? Number.POSITIVE_INFINITY
      return status === 200 && began > returned ? [began - returned] : []
    }),
    wrong: mine.filter(({ tokenId, status }) => status === 401 && history.good.has(tokenId)).length,
    connections,
  }
}

const HEAD = [
  'fault',
  'set-up',
  'without a 200',
  'back after the new primary',
  'answers',
  'stale',
  'connections',
]

/** The table in Markdown. */
export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map((row) => [
    row.fault,
    row.setUp,
    seconds(row.withoutMs),
    row.backMs === null ? '–' : seconds(row.backMs),
    [...row.statuses]
      .sort(([a], [b]) => a - b)
      .map(([status, count]) => `${count} × ${status}`)
      .join(', '),
    row.staleMs.length === 0 ? '0' : `${row.staleMs.length}, up to ${seconds(Math.max(...row.staleMs))}`,
    String(row.connections),
  ])
  return [HEAD, HEAD.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function seconds(ms: number): string {
  return Number.isFinite(ms) ? `${(ms / 1000).toFixed(1)} s` : 'never'
}
