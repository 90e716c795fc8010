import type { StreamKind } from '../core/stream-kinds.ts'

/** An open exchange, as far as it is counted. */
export interface CountedExchange {
  readonly exchange: {
    kind(): StreamKind
    /** The upstream whose answer it waits for, its whole request having arrived; null once the answer has begun. */
    awaitedUpstream(): string | null
  }
  /** When it was opened, in milliseconds of one monotonic clock. */
  readonly since: number
}

export interface LateAnswers {
  readonly count: number
  readonly longestMs: number
}

/** @param streamSince until when an exchange that is neither WebSocket nor SSE must have begun to count as a stream */
export function countStreams(open: Iterable<CountedExchange>, kind: StreamKind, streamSince: number): number {
  let count = 0
  for (const { exchange, since } of open)
    if (exchange.kind() === kind && (kind !== 'other' || since <= streamSince)) count++
  return count
}

/** How many exchanges have waited for the answer of each upstream since before `before`, and the longest wait by `now`. */
export function lateAnswers(
  open: Iterable<CountedExchange>,
  before: number,
  now: number,
): ReadonlyMap<string, LateAnswers> {
  const late = new Map<string, LateAnswers>()
  for (const { exchange, since } of open) {
    const upstream = since < before ? exchange.awaitedUpstream() : null
    if (upstream === null) continue
    const { count, longestMs } = late.get(upstream) ?? { count: 0, longestMs: 0 }
    late.set(upstream, { count: count + 1, longestMs: Math.max(longestMs, now - since) })
  }
  return late
}
