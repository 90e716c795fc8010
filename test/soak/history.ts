/** A time span in which something was broken on purpose, by the same clock as the events. */
export interface Outage {
  readonly kind: string
  readonly from: number
  to: number
}

/** An open stream and its end. */
export interface StreamEnd {
  /** When its token's revocation had returned; null where it was not revoked. */
  readonly revokedAt: number | null
  readonly endedAt: number
}

export interface StreamVerdict {
  /** Milliseconds from the revocation to the end, sorted, without streams that an outage affected. */
  readonly closedAfterMs: readonly number[]
  readonly late: readonly StreamEnd[]
  /** Streams that ended although their token was not revoked and nothing was broken. */
  readonly unexpected: readonly StreamEnd[]
}

export function touched(from: number, to: number, outages: readonly Outage[]): boolean {
  return outages.some((outage) => from <= outage.to && to >= outage.from)
}

/** @param withinMs how soon a stream has to end once its token is revoked */
export function judgeStreams(
  ends: readonly StreamEnd[],
  outages: readonly Outage[],
  withinMs: number,
): StreamVerdict {
  const closedAfterMs: number[] = []
  const late: StreamEnd[] = []
  const unexpected: StreamEnd[] = []
  for (const end of ends) {
    if (end.revokedAt === null) {
      if (!touched(end.endedAt, end.endedAt, outages)) unexpected.push(end)
    } else if (!touched(end.revokedAt, end.endedAt, outages)) {
      closedAfterMs.push(end.endedAt - end.revokedAt)
      if (end.endedAt - end.revokedAt > withinMs) late.push(end)
    }
  }
  return { closedAfterMs: closedAfterMs.sort((a, b) => a - b), late, unexpected }
}
